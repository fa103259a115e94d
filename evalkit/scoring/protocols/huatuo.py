"""HuatuoGPT-Vision's closed questions as multiple choice (Chen et al. 2024, arXiv 2406.19280)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, references

_LETTERS = "ABCDEFGHIJK"
# a letter a to n that is preceded by something other than a letter, and is not the article "a "
_LONE_LETTER = re.compile(r"(?:is |是|\*|\W|\(|为|^|'|\"|#)(?![aA] )([a-nA-N])(?:\W|$)", re.DOTALL)
_ABORTS = "no letter stands alone in it: the authors' script stops here"


class HuatuoGptVision(RowProtocol):
    """Rows with choices, lettered A to K in their order: the first isolated letter of the answer is its choice.

    The gold answer is the letter of the choice that it equals, whatever their case.  A letter in lower case is wrong,
    and "I think B" names option I.  The authors' fallback for an answer without a letter raises an error, so such an
    answer is unscored here.
    """

    metrics = (Metric(name="closed_accuracy", rows="closed"),)

    rule = "choices"
    norm = "letter"
    reads_letters = True

    def is_closed(self, sample: Sample) -> bool | None:
        return True if _right_letters(sample) else None

    def uncounted(self, sample: Sample) -> str:
        if _right_letters(sample):
            return ""
        return "its gold answer is none of its options" if sample.choices else "it offers no options"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        found = _LONE_LETTER.search(answer)
        if not found:
            return {"closed_accuracy": MetricResult(value=None, reason=_ABORTS)}
        return {"closed_accuracy": MetricResult(value=float(found[1] in _right_letters(sample)), extracted=found[1])}


def _right_letters(sample: Sample) -> set[str]:
    """The letters of the choices that a gold answer equals; empty where none does."""
    golds = {gold.strip().casefold() for gold in references(sample)}
    options = zip(_LETTERS, sample.choices, strict=False)
    return {letter for letter, option in options if option.strip().casefold() in golds}
