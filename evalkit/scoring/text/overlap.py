"""Word overlap and BLEU between an answer and a reference, as the published protocols compute them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """BLEU's modified n-gram precision as counts (Papineni 2002): an n-gram hits at most as often as the gold has it.

    >>> ngram_precision("left left left".split(), "left lung".split(), 1)
    NgramPrecision(hits=1, total=3)
    """
    found = _ngrams(answer, n)
    return NgramPrecision((found & _ngrams(gold, n)).total(), max(1, found.total()))


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[k:] for k in range(n)), strict=False))


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
    """nltk's sentence BLEU with one reference, to the last bit, for each named weighting of n = 1 to 4.

    epsilon=None is nltk's default, no smoothing: an n-gram order without hits counts as the smallest float, so a value
    is 1e-231 where one would expect 0.  epsilon=0.1 is its `method1`.  Computed here because importing nltk takes
    longer than scoring a data set; the tests compare the two.
    """
    if set(answer).isdisjoint(gold):  # nltk's value for no hits and for an empty answer
        return dict.fromkeys(weights, 0.0)
    logs = [math.log(_smoothed(ngram_precision(answer, gold, n), epsilon)) for n in range(1, 5)]
    brevity = 1.0 if len(answer) > len(gold) else math.exp(1 - len(gold) / len(answer))
    return {
        name: brevity * math.exp(math.fsum(w * log for w, log in zip(order_weights, logs, strict=False)))
        for name, order_weights in weights.items()
    }


def _smoothed(precision: NgramPrecision, epsilon: float | None) -> float:
    """A precision as a number above 0, see `bleu`."""
    if precision.hits:
        return precision.hits / precision.total
    return sys.float_info.min if epsilon is None else epsilon / precision.total
