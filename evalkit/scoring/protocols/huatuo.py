"""HuatuoGPT-Vision's closed questions as multiple choice (Chen et al. 2024, arXiv 2406.19280)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import Mark, RowProtocol, references

_LETTERS = "ABCDEFGHIJK"
# a letter a to n with something before it that is no letter, and not the article "a "
_LONE_LETTER = re.compile(r"(?:is |是|\*|\W|\(|为|^|'|\"|#)(?![aA] )([a-nA-N])(?:\W|$)", re.DOTALL)
_ABORTS = "no letter stands alone in it: the authors' script stops here"


class HuatuoGptVision(RowProtocol):
    """Rows with choices, lettered A to K in their order: the first letter that stands alone is the answer.

    A letter in lower case is wrong, and "I think B" names option I.  The authors' fallback for an answer without a
    letter raises an exception, so such an answer is unscored here.
    """

    metrics = (Metric(name="closed_accuracy", rows="closed"),)

    rule = "choices"
    norm = "letter"

    def is_closed(self, sample: Sample) -> bool | None:
        known = any(gold in sample.choices[: len(_LETTERS)] for gold in references(sample))
        return True if known else None

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        found = _LONE_LETTER.search(answer)
        if not found:
            return {"closed_accuracy": Mark(value=None, reason=_ABORTS)}
        right = {_LETTERS[sample.choices.index(gold)] for gold in references(sample) if gold in sample.choices}
        return {"closed_accuracy": Mark(value=float(found[1] in right), extracted=found[1])}
