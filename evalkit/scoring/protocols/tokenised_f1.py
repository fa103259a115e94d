"""Token F1 of MedGemma's report in its two public readings, which differ in articles, signs and letters.

Google has published neither code nor normaliser.  KARMA (eka-care/KARMA-OpenMedEvalKit) keeps articles and all letters,
RadHarmony (f10409/RadHarmony) drops articles and everything that is not an ASCII letter or digit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from evalkit.core.remembered import remembered
from evalkit.core.types import Metric, Sample
from evalkit.scoring.protocols.text_overlap import token_f1
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, best_of, one_of, references

_WORD = re.compile(r"\w+")
_NOT_ASCII_WORD = re.compile(r"[^a-z0-9 ]")
_ARTICLES = frozenset({"a", "an", "the"})
_MARK = "Final Answer:"
_NO_WORD = "the gold answer has no word of ASCII letters or digits but articles"


class Karma(RowProtocol):
    """KARMA: equality without regard to case, and the F1 over multisets of words; all rows.

    reading: "whole" takes the answer as it is (VQA-RAD); "final-answer" what follows the first "Final Answer:", up to
    the next one, and the empty text where there is none (SLAKE).
    closed_accuracy, over rows whose gold is yes or no, is the same equality; KARMA itself prints none.
    """

    metrics = (Metric(name="exact_match"), Metric(name="f1"), Metric(name="closed_accuracy", rows="closed"))

    rule = "yesno"
    norm = "karma"

    def __init__(self, *, reading: str = "whole", **common: Any) -> None:
        super().__init__(**common)
        self.reading = one_of("reading", reading, ("whole", "final-answer"))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"reading": self.reading}

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        said = _after_mark(answer) if self.reading == "final-answer" else answer
        return best_of((_karma(said, gold) for gold in references(sample)), said)


def _after_mark(answer: str) -> str:
    """The text between the first mark and the next one; empty where there is no mark."""
    return answer.split(_MARK)[1].strip() if _MARK in answer else ""


def _karma(said: str, gold: str) -> dict[str, float]:
    same = float(said.lower() == gold.lower())
    return {"exact_match": same, "closed_accuracy": same, "f1": token_f1(karma_words(said), karma_words(gold))}


@remembered
def karma_words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case; full stops and line breaks are deleted, which joins what they divide.

    >>> karma_words("The T2-weighted MRI.\\nNo"), karma_words("5.5 cm")
    (('the', 't2', 'weighted', 'mrino'), ('55', 'cm'))
    """
    return tuple(_WORD.findall(text.replace("\n", "").replace(".", "").lower()))


class RadHarmony(RowProtocol):
    """RadHarmony: F1 over multisets of words without articles, and the first word yes or no of closed rows.

    closed_accuracy: rows whose gold is yes or no; an answer with neither word is wrong.  open_recall: the share of the
    gold's words that the answer has, repetitions counted.

    A gold without an ASCII word (a Chinese one) is unscored: for the authors' code it equals every such answer.
    """

    metrics = (
        Metric(name="f1"),
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_recall", rows="open"),
    )

    rule = "yesno"
    norm = "squad-ascii"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        words = radharmony_words(answer)
        first = next((word for word in words if word in ("yes", "no")), "")
        golds = [gold for gold in references(sample) if radharmony_words(gold)]
        if not golds:
            return {metric.name: MetricResult(value=None, reason=_NO_WORD) for metric in self.metrics}
        return best_of((_radharmony(words, first, gold) for gold in golds), first or " ".join(words))


def _radharmony(words: tuple[str, ...], first: str, gold: str) -> dict[str, float]:
    gold_words = radharmony_words(gold)
    return {
        "f1": token_f1(words, gold_words),
        "closed_accuracy": float(first == gold.strip().lower()),
        "open_recall": (Counter(words) & Counter(gold_words)).total() / len(gold_words),
    }


@remembered
def radharmony_words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case without articles; every other sign than a to z and 0 to 9 divides words.

    >>> radharmony_words("The T2-weighted MRI."), radharmony_words("是")
    (('t2', 'weighted', 'mri'), ())
    """
    return tuple(word for word in _NOT_ASCII_WORD.sub(" ", text.lower()).split() if word not in _ARTICLES)
