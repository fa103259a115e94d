"""Meaning of a score where some of the reference answers are wrong.

With a share e of wrong references, a score of p stands for a true score somewhere in [p - e, p + e], and a model
without a mistake gets 1 - e.  If references are wrong independently of the model, the true score is
(p - e) / (1 - 2 e) for two possible answers, where a mistake agrees with a wrong reference, and p / (1 - e) for open
answers, where it hardly ever does; differences of two models are too small by the factor 1 - 2 e, or 1 - e.

A lower bound of e is in the data themselves where rows about the same image and question have different references:
one answer to the question equals at most the most frequent of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.errors import ConfigError

SHARES = (0.01, 0.03, 0.05)


class TrueScore(NamedTuple):
    """The true score behind an observed one: bounds without any assumption, and under independent mistakes.

    two_answers: of yes/no rows.  open_answers: of rows where a mistake never agrees with a wrong reference.  highest:
    the score that a model without a mistake gets.
    """

    low: float
    high: float
    two_answers: float
    open_answers: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradictions:
    """Questions whose rows have different references.

    pairs: such questions (each of one image).  rows: their rows.  unmatched: those of them that differ from the most
    frequent reference of their question.  n: all rows.
    """

    pairs: int
    rows: int
    unmatched: int
    n: int

    @property
    def share(self) -> float:
        """The least share of wrong references, for any answer to be right by equality; 0.0 for no rows."""
        return self.unmatched / self.n if self.n else 0.0


def contradictions(questions: Sequence[Hashable], references: Sequence[Hashable]) -> Contradictions:
    """The contradictions among rows, each with the question (and image) that it asks and its reference.

    >>> contradictions(["a", "a", "a", "b"], ["yes", "yes", "no", "no"])
    Contradictions(pairs=1, rows=3, unmatched=1, n=4)
    """
    counted: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for question, reference in zip(questions, references, strict=True):
        counted[question][reference] += 1
    several = [of for of in counted.values() if len(of) > 1]
    return Contradictions(
        pairs=len(several),
        rows=sum(of.total() for of in several),
        unmatched=sum(of.total() - max(of.values()) for of in several),
        n=len(references),
    )


def true_score(score: float, wrong: float) -> TrueScore:
    """The true score behind one in [0, 1] with a share `wrong` of wrong references.

    Raises ConfigError unless 0 <= wrong < 0.5.
    """
    if not 0 <= wrong < 0.5 or not 0 <= score <= 1:
        raise ConfigError(f"A score of {score:g} with a share of {wrong:g} wrong references is not possible.")
    return TrueScore(
        low=max(0.0, score - wrong),
        high=min(1.0, score + wrong),
        two_answers=min(1.0, max(0.0, (score - wrong) / (1 - 2 * wrong))),
        open_answers=min(1.0, score / (1 - wrong)),
        highest=1 - wrong,
    )
