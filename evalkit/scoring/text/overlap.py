"""Word overlap and BLEU between an answer and a reference, as the published protocols compute them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple


class Overlap(NamedTuple):
    """Precision, recall and F1 over words."""

    precision: float
    recall: float
    f1: float


NO_OVERLAP = Overlap(0.0, 0.0, 0.0)


def counted_overlap(answer: Sequence[str], gold: Sequence[str]) -> Overlap:
    """LLaVA-Med's overlap, in which each repetition of a correct word in the answer is another hit.

    Gold words that the answer lacks are misses, each occurrence counted; so "left left left" against "left lung" has
    3 hits and 1 miss, a recall of 0.75.

    >>> counted_overlap("left left left".split(), "left lung".split()).recall
    0.75
    """
    answer_words, gold_words = set(answer), set(gold)
    hits = sum(word in gold_words for word in answer)
    if not hits:
        return NO_OVERLAP
    missed = sum(word not in answer_words for word in gold)
    precision, recall = hits / len(answer), hits / (hits + missed)
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


def set_overlap(answer: Sequence[str], gold: Sequence[str]) -> Overlap:
    """Overlap of the sets of distinct words.

    >>> set_overlap("left left left".split(), "left lung".split())
    Overlap(precision=1.0, recall=0.5, f1=0.6666666666666666)
    """
    answer_words, gold_words = set(answer), set(gold)
    hits = len(answer_words & gold_words)
    if not hits:
        return NO_OVERLAP
    precision, recall = hits / len(answer_words), hits / len(gold_words)
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


BLEU_WEIGHTS = {
    "bleu": (0.25, 0.25, 0.25, 0.25),
    "bleu_1": (1.0, 0.0, 0.0, 0.0),
    "bleu_2": (0.0, 1.0, 0.0, 0.0),
    "bleu_3": (0.0, 0.0, 1.0, 0.0),
    "bleu_4": (0.0, 0.0, 0.0, 1.0),
}
METHOD1_EPSILON = 0.1


class NgramPrecision(NamedTuple):
    """Clipped n-gram hits of an answer, and its number of n-grams but at least 1."""

    hits: int
    total: int


def ngram_precision(answer: Sequence[str], gold: Sequence[str], n: int) -> NgramPrecision:
    """BLEU's modified n-gram precision as counts, by nltk."""
    from nltk.translate.bleu_score import modified_precision

    found = modified_precision([gold], answer, n)
    return NgramPrecision(found.numerator, found.denominator)


def sentence_bleu(
    answer: Sequence[str], gold: Sequence[str], names: Sequence[str], *, epsilon: float | None = None
) -> dict[str, float]:
    """`bleu` for some of the orders in BLEU_WEIGHTS."""
    return bleu(answer, gold, {name: BLEU_WEIGHTS[name] for name in names}, epsilon=epsilon)


def bleu(
    answer: Sequence[str],
    gold: Sequence[str],
    weights: Mapping[str, Sequence[float]],
    *,
    epsilon: float | None = None,
) -> dict[str, float]:
    """nltk's sentence BLEU with one reference, for each named weighting of n = 1 to 4.

    epsilon=None is nltk's default, no smoothing: an n-gram order without hits counts as the smallest float, so a value
    is 1e-231 where one would expect 0.  epsilon=0.1 is its `method1`.
    """
    if set(answer).isdisjoint(gold):  # nltk's value for no hits and for an empty answer, without importing it
        return dict.fromkeys(weights, 0.0)
    from nltk.translate import bleu_score

    smoothing = _no_smoothing if epsilon is None else bleu_score.SmoothingFunction(epsilon=epsilon).method1
    values = bleu_score.sentence_bleu([gold], answer, list(weights.values()), smoothing)
    return dict(zip(weights, values if len(weights) > 1 else [values], strict=True))


def _no_smoothing(precisions: Sequence[Fraction], **_: object) -> list[Fraction | float]:
    """nltk's `method0` without its warning about n-gram orders that have no hits."""
    return [p if p.numerator else sys.float_info.min for p in precisions]
