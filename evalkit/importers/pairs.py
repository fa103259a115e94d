"""Pairs of the answers of a file and the samples of a task."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalkit.importers.packed_answers import NOWHERE, AnswerFile

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a join, and what is to be said about them.

    samples: for each answer, the index of its sample, or NOWHERE.  answers: for each sample, the index of its answer.
    """

    samples: array[int]
    answers: array[int]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def none(cls, file: AnswerFile, task: LoadedTask) -> Pairs:
        """No pair yet."""
        n_answers, n_samples = len(file.answers), len(task.samples)
        return cls(array("q", [NOWHERE]) * n_answers, array("q", [NOWHERE]) * n_samples)

    def add(self, answer: int, sample: int) -> None:
        """Pair an answer with a sample."""
        self.samples[answer] = sample
        self.answers[sample] = answer

    def has(self, sample: int) -> bool:
        """Whether a sample has an answer."""
        return self.answers[sample] != NOWHERE

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.answers) - self.answers.count(NOWHERE)

    @property
    def left(self) -> list[int]:
        """The answers without a sample."""
        return [k for k, sample in enumerate(self.samples) if sample == NOWHERE]
