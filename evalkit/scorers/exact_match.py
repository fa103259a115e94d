"""Plain exact match: equality after lower-casing and without punctuation."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from evalkit.scorers.rows import Mark, RowProtocol, answers_yes_or_no, best_of, labelled_closed, one_of, references
from evalkit.types import Metric, Sample

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ExactMatch(RowProtocol):
    """Right when answer and a reference are equal after lower-casing and stripping outer white space.

    punctuation: "delete" takes every ASCII punctuation mark off first ("x-ray" equals "xray"), "keep" does not.

    closed: "label" (the row's own label) or "yesno" (the gold answer is yes or no, every other row is open).
    """

    metrics = (
        Metric(name="exact_match"),
        Metric(name="closed_exact_match", rows="closed"),
        Metric(name="open_exact_match", rows="open"),
    )

    def __init__(self, *, closed: str = "yesno", punctuation: str = "delete", **common: Any) -> None:
        super().__init__(**common)
        self.closed = one_of("closed", closed, ("label", "yesno"))
        self.punctuation = one_of("punctuation", punctuation, ("delete", "keep"))

    def settings(self) -> dict[str, str]:
        return {"rule": self.closed, "norm": f"lower-strip-{self.punctuation}-punctuation"} | super().settings()

    def is_closed(self, sample: Sample) -> bool | None:
        return labelled_closed(sample) if self.closed == "label" else answers_yes_or_no(sample)

    def marks(self, sample: Sample, answer: str, closed: bool | None) -> Mapping[str, Mark]:
        said = self._plain(answer)
        kind = "closed_exact_match" if closed else "open_exact_match"
        hits = (float(said == self._plain(reference)) for reference in references(sample))
        return best_of(({"exact_match": hit, kind: hit} for hit in hits), said)

    def _plain(self, text: str) -> str:
        text = text.lower()
        return (text.translate(_NO_PUNCTUATION) if self.punctuation == "delete" else text).strip()
