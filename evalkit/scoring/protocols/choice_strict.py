"""evalkit's own reading of multiple-choice answers: what the answer states, and no guess."""

from __future__ import annotations

from typing import Any

from evalkit.core.types import Sample
from evalkit.scoring.choice_protocol import RIGHT, WRONG, ChoiceProtocol
from evalkit.scoring.choices import read_choice
from evalkit.scoring.row_protocol import MetricResult, one_of

# Characters of an unread answer that its score quotes.
SHOWN = 80


class ChoiceStrict(ChoiceProtocol):
    """Right when the answer states the right option by its letter or its text, alone or after an answer mark.

    labels: "letters", "numbers" (the prompt numbers the options: a number is a label, a letter is none), or None for
    the labels that the task's prompt shows.  Where several options are right, all must be named and no other.
    An answer that states two different options, or none, an empty one among them, is unscored with the reason.
    """

    norm = "choices.1"
    several = "all"

    def __init__(self, *, labels: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.labels = one_of("labels", labels or "letters", ("letters", "numbers"))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"labels": self.labels}

    def result(self, sample: Sample, answer: str) -> MetricResult:
        right = sample.letters
        reading = read_choice(answer, sample.choices, several=len(right) > 1, numbered=self.labels == "numbers")
        if not reading.labels:
            return MetricResult(value=None, reason=reading.reason, extracted=answer.strip()[:SHOWN])
        hit = set(reading.labels) == set(right)
        return MetricResult(value=RIGHT if hit else WRONG, extracted=",".join(reading.labels), note=reading.rule)
