"""Answers without an image: what a table must show beside every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.core.errors import DataError
from evalkit.core.types import Sample

Counts = Mapping[str, str]
# Words of a question that stand for its kind: "is the", "what is" (the shorter key of the lookup baseline).
LEADING_WORDS = 2


def wording_key(text: str) -> str:
    """Key under which two texts count as the same wording: lower case, white space as single spaces."""
    return " ".join(text.lower().split())


def most_frequent(answers: Iterable[str]) -> str:
    """The most frequent answer, case and white space aside, as it was first written; a tie goes to the first seen."""
    counts: Counter[str] = Counter()
    written: dict[str, str] = {}
    for answer in answers:
        counts[wording_key(answer)] += 1
        written.setdefault(wording_key(answer), answer)
    return written[max(counts, key=lambda key: counts[key])]  # max takes the first of equals, in order of appearance


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """The most frequent train answer of the question's answer type (OPEN, CLOSED), else of all."""

    overall: str = ""
    by_type: Counts = field(default_factory=dict)

    def fit(self, train: Sequence[Sample]) -> Majority:
        """Learn from a train split.

        Raises:
            DataError: the split is empty.
        """
        if not train:
            raise DataError("The train split has no rows, so there is no most frequent answer.")
        return Majority(
            overall=most_frequent(s.references[0] for s in train),
            by_type=_by(train, lambda s: s.answer_type or ""),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """The same answer to every question of a type."""
        del question
        return self.by_type.get(answer_type or "", self.overall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The most frequent train answer for that very question text, else for its first two words, else of all.

    Knows nothing of the image and of the question's label: what it scores, a data set gives away by its wording.
    """

    overall: str = ""
    by_question: Counts = field(default_factory=dict)
    by_words: Counts = field(default_factory=dict)

    def fit(self, train: Sequence[Sample]) -> Lookup:
        """Learn from a train split.

        Raises:
            DataError: the split is empty.
        """
        if not train:
            raise DataError("The train split has no rows, so there is nothing to look up.")
        return Lookup(
            overall=most_frequent(s.references[0] for s in train),
            by_question=_by(train, lambda s: wording_key(s.question)),
            by_words=_by(train, lambda s: leading(s.question)),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """What the train split says most often to this wording."""
        del answer_type
        found = self.by_question.get(wording_key(question))
        return self.by_words.get(leading(question), self.overall) if found is None else found


def leading(question: str) -> str:
    """The first two words."""
    return " ".join(wording_key(question).split()[:LEADING_WORDS])


def _by(train: Sequence[Sample], key: Callable[[Sample], str]) -> Counts:
    groups: dict[str, list[str]] = {}
    for sample in train:
        groups.setdefault(key(sample), []).append(sample.references[0])
    return {name: most_frequent(answers) for name, answers in groups.items()}
