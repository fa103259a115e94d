"""Text-only baselines: answers without an image, for comparison with every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, Sample

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
    for answer, n in Counter(answers).items():  # in order of appearance; most answers of a split repeat
        counts[key := fold_text(answer)] += n
        written.setdefault(key, answer)
    return written[max(counts, key=lambda key: counts[key])]  # max takes the first of equals, in order of appearance


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """Most frequent answer in the train split for the question's answer type (OPEN, CLOSED), else overall.

    For multiple choice (CHOICE) the most frequent right letter.
    """

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
            overall=most_frequent(_overall_answers(train)),
            by_type=_most_frequent_by(train, lambda s: s.answer_type or "", _letters_or_text),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """Return the answer for the question's type."""
        del question
        return self.by_type.get(answer_type or "", self.overall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Most frequent answer in the train split for the same question text, else for its first two words, else overall.

    For multiple choice the texts of options are looked up, and the last resort is the most frequent right letter.
    Uses neither the image nor the question's label: its score shows how much the wording of a data set reveals.
    """

    overall: str = ""
    letter: str = ""
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
            overall=most_frequent(_overall_answers(train)),
            letter=most_frequent_letter(train),
            by_question=_most_frequent_by(train, lambda s: fold_text(s.question)),
            by_words=_most_frequent_by(train, lambda s: leading_words(s.question)),
        )

    def answer(self, question: str, answer_type: str | None) -> str:
        """Return the most frequent answer of the train split for this wording."""
        found = self.by_question.get(fold_text(question))
        if found is None and answer_type == CHOICE and self.letter:
            return self.letter  # two words say nothing about the options of a question
        return self.by_words.get(leading_words(question), self.overall) if found is None else found


def leading_words(question: str) -> str:
    """First two words of a question, after normalising case and white space."""
    return " ".join(fold_text(question).split()[:LEADING_WORDS])


def most_frequent_letter(samples: Iterable[Sample]) -> str:
    """The most frequent right letters of multiple-choice questions, as in "B" or "A, C"; empty where there are none."""
    letters = [_letters_or_text(sample) for sample in samples if sample.answer_type == CHOICE]
    return most_frequent(letters) if letters else ""


def _letters_or_text(sample: Sample) -> str:
    return ", ".join(sample.letters) or sample.references[0]


def _overall_answers(train: Sequence[Sample]) -> list[str]:
    """The answers of questions that are no multiple choice; of all where there are no others."""
    return [s.references[0] for s in train if s.answer_type != CHOICE] or [_letters_or_text(s) for s in train]


def _most_frequent_by(
    train: Sequence[Sample], key: Callable[[Sample], str], answer: Callable[[Sample], str] = lambda s: s.references[0]
) -> AnswerByKey:
    groups: dict[str, list[str]] = {}
    for sample in train:
        groups.setdefault(key(sample), []).append(answer(sample))
    return {name: most_frequent(answers) for name, answers in groups.items()}
