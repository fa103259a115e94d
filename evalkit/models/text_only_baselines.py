"""Text-only baselines: answers without an image, for comparison with every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.core.errors import DataError
from evalkit.core.types import Sample

AnswerByKey = Mapping[str, str]
# Number of leading words that characterise a question ("is the", "what is"): the lookup baseline's shorter key.
LEADING_WORDS = 2


def fold_text(text: str) -> str:
    """Normalise case and white space, so that texts that differ only in these are equal."""
    return " ".join(text.lower().split())


def most_frequent(answers: Iterable[str]) -> str:
    """Most frequent answer after normalising case and white space, in its first spelling; ties go to the first seen."""
    counts: Counter[str] = Counter()
    written: dict[str, str] = {}
    for answer in answers:
        counts[fold_text(answer)] += 1
        written.setdefault(fold_text(answer), answer)
    return written[max(counts, key=lambda key: counts[key])]  # max takes the first of equals, in order of appearance


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """Most frequent answer in the train split for the question's answer type (OPEN, CLOSED), else overall."""

    overall: str = ""
    by_type: AnswerByKey = field(default_factory=dict)

    def fit(self, train: Sequence[Sample]) -> Majority:
        """Fit to a train split and return the fitted baseline.

        Raises:
            DataError: the split is empty.
        """
        if not train:
            raise DataError("The train split has no rows, so there is no most frequent answer.")
        return Majority(
            overall=most_frequent(s.references[0] for s in train),
            by_type=_most_frequent_by(train, lambda s: s.answer_type or ""),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """Return the answer for the question's type."""
        del question
        return self.by_type.get(answer_type or "", self.overall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Most frequent answer in the train split for the same question text, else for its first two words, else overall.

    Uses neither the image nor the question's label: its score shows how much the wording of a data set reveals.
    """

    overall: str = ""
    by_question: AnswerByKey = field(default_factory=dict)
    by_words: AnswerByKey = field(default_factory=dict)

    def fit(self, train: Sequence[Sample]) -> Lookup:
        """Fit to a train split and return the fitted baseline.

        Raises:
            DataError: the split is empty.
        """
        if not train:
            raise DataError("The train split has no rows, so there is nothing to look up.")
        return Lookup(
            overall=most_frequent(s.references[0] for s in train),
            by_question=_most_frequent_by(train, lambda s: fold_text(s.question)),
            by_words=_most_frequent_by(train, lambda s: leading_words(s.question)),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """Return the most frequent answer of the train split for this wording."""
        del answer_type
        found = self.by_question.get(fold_text(question))
        return self.by_words.get(leading_words(question), self.overall) if found is None else found


def leading_words(question: str) -> str:
    """First two words of a question, after normalising case and white space."""
    return " ".join(fold_text(question).split()[:LEADING_WORDS])


def _most_frequent_by(train: Sequence[Sample], key: Callable[[Sample], str]) -> AnswerByKey:
    groups: dict[str, list[str]] = {}
    for sample in train:
        groups.setdefault(key(sample), []).append(sample.references[0])
    return {name: most_frequent(answers) for name, answers in groups.items()}
