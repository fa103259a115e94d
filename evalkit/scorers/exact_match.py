"""Plain exact match: lower-cased, stripped equality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.scorers.rows import Mark, RowProtocol, answers_yes_or_no, best_of, labelled_closed, one_of, references
from evalkit.types import Metric, Sample


class ExactMatch(RowProtocol):
    """Right when answer and a reference are equal after lower-casing and stripping.

    closed: "label" (the row's own label) or "yesno" (the gold answer is yes or no, every other row is open).
    """

    metrics = (
        Metric(name="exact_match"),
        Metric(name="closed_exact_match", rows="closed"),
        Metric(name="open_exact_match", rows="open"),
    )

    def __init__(self, *, closed: str = "yesno", **common: Any) -> None:
        super().__init__(**common)
        self.closed = one_of("closed", closed, ("label", "yesno"))

    def settings(self) -> dict[str, str]:
        return {"rule": self.closed, "norm": "lower-strip"} | super().settings()

    def is_closed(self, sample: Sample) -> bool | None:
        return labelled_closed(sample) if self.closed == "label" else answers_yes_or_no(sample)

    def marks(self, sample: Sample, answer: str, closed: bool | None) -> Mapping[str, Mark]:
        said = answer.strip().lower()
        kind = "closed_exact_match" if closed else "open_exact_match"
        hits = (float(said == reference.strip().lower()) for reference in references(sample))
        return best_of(({"exact_match": hit, kind: hit} for hit in hits), said)
