"""Word overlap and BLEU between an answer and a reference, as the published protocols compute them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Overlap(NamedTuple):
    """Precision, recall and F1 of words."""

    precision: float
    recall: float
    f1: float


NOTHING = Overlap(0.0, 0.0, 0.0)


def counted_overlap(answer: Sequence[str], gold: Sequence[str]) -> Overlap:
    """LLaVA-Med's overlap: each repetition of a right word in the answer is another hit.

    A gold word counts as often as the gold holds it only where the answer lacks it, so "left left left" has recall
    0.75 of "left lung".

    >>> counted_overlap("left left left".split(), "left lung".split()).recall
    0.75
    """
    said, wanted = Counter(answer), Counter(gold)
    hits = sum(count for word, count in said.items() if word in wanted)
    if not hits:
        return NOTHING
    extra = sum(said.values()) - hits
    missed = sum(count for word, count in wanted.items() if word not in said)
    precision, recall = hits / (hits + extra), hits / (hits + missed)
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


def set_overlap(answer: Sequence[str], gold: Sequence[str]) -> Overlap:
    """Overlap of distinct words.

    >>> set_overlap("left left left".split(), "left lung".split())
    Overlap(precision=1.0, recall=0.5, f1=0.6666666666666666)
    """
    said, wanted = set(answer), set(gold)
    hits = len(said & wanted)
    if not hits:
        return NOTHING
    precision, recall = hits / len(said), hits / len(wanted)
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


BLEU_WEIGHTS = {
    "bleu": (0.25, 0.25, 0.25, 0.25),
    "bleu_1": (1.0, 0.0, 0.0, 0.0),
    "bleu_2": (0.0, 1.0, 0.0, 0.0),
    "bleu_3": (0.0, 0.0, 1.0, 0.0),
    "bleu_4": (0.0, 0.0, 0.0, 1.0),
}
METHOD1_EPSILON = 0.1


def ngram_precisions(answer: Sequence[str], gold: Sequence[str]) -> list[tuple[int, int]]:
    """(clipped hits, number of n-grams but at least 1) for n = 1 to 4."""
    result = []
    for n in range(1, 5):
        said = Counter(zip(*(answer[i:] for i in range(n)), strict=False))
        wanted = Counter(zip(*(gold[i:] for i in range(n)), strict=False))
        hits = sum(min(count, wanted[gram]) for gram, count in said.items())
        result.append((hits, max(1, sum(said.values()))))
    return result


def sentence_bleu(
    answer: Sequence[str], gold: Sequence[str], names: Sequence[str], *, epsilon: float | None = None
) -> dict[str, float]:
    """Sentence BLEU with one reference, equal to nltk's to the last bit; `names` are keys of BLEU_WEIGHTS.

    epsilon=None is nltk's default, no smoothing: an n-gram order without hits counts as the smallest float, so a
    value is 1e-231 where one would expect 0.  epsilon=0.1 is its `method1`.
    """
    if not answer:
        return dict.fromkeys(names, 0.0)
    precisions = ngram_precisions(answer, gold)
    if precisions[0][0] == 0:
        return dict.fromkeys(names, 0.0)
    brevity = 1.0 if len(answer) > len(gold) else math.exp(1 - len(gold) / len(answer))
    floor = sys.float_info.min
    logs = [
        math.log(hits / total if hits else floor if epsilon is None else epsilon / total) for hits, total in precisions
    ]
    return {
        name: brevity * math.exp(math.fsum(w * log for w, log in zip(BLEU_WEIGHTS[name], logs, strict=True)))
        for name in names
    }
