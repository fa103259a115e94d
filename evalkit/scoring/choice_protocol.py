"""Base class of the protocols that score multiple-choice rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from evalkit.core.types import CHOICE, LETTERS, Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowKind, RowProtocol

METRIC = "choice_accuracy"
RIGHT, WRONG = 1.0, 0.0
NO_OPTION = "no option found; wrong, as in the authors' code"


class ChoiceProtocol(RowProtocol):
    """Scores CHOICE rows alone.  A subclass reads the answer in `result`.

    several: rows with several right options.  "all": all of them must be named, and no other; "any": one of them is
    enough; "none": the authors' code knows one right option only, so such rows are not counted, and are named.
    """

    metrics = (Metric(name=METRIC, rows="choice"),)
    rule = "choices"
    rules = ("choices",)
    norm = "letter"
    reads_letters = True
    several: Literal["all", "any", "none"] = "none"

    def result(self, sample: Sample, answer: str) -> MetricResult:
        """The result of choice_accuracy for one answer."""
        raise NotImplementedError

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        return {METRIC: self.result(sample, answer)}

    def is_closed(self, sample: Sample) -> bool | None:
        del sample
        return None

    def row_kind(self, sample: Sample) -> RowKind | None:
        return "choice" if sample.answer_type == CHOICE and not self.uncounted(sample) else None

    def uncounted(self, sample: Sample) -> str:
        is_uncounted = self.several == "none" and len(sample.references) > 1 and sample.answer_type == CHOICE
        return "several of its options are right, and the authors' code knows one" if is_uncounted else ""


def hit_of(letter: str, sample: Sample, note: str = "") -> MetricResult:
    """Result of a published rule that reads one letter: right if it is that of a right option."""
    return MetricResult(value=RIGHT if letter in sample.letters else WRONG, extracted=letter, note=note)


def letter_result(letter: str, sample: Sample, note: str = "") -> MetricResult:
    """As `hit_of`, with a note where the letter is that of no option: the authors count such an answer as wrong."""
    known = bool(letter) and LETTERS.find(letter) in range(len(sample.choices))
    return hit_of(letter, sample, note if known else NO_OPTION)
