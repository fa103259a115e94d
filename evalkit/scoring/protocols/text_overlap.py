"""Text metrics for captions in closed form: no smoothing, no stemming, one reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from evalkit.scoring.text.overlap import ngram_precision


def cumulative_bleu(said: Sequence[str], gold: Sequence[str]) -> tuple[float, float, float, float]:
    """Sentence BLEU-1 to BLEU-4 (Papineni 2002): brevity times the geometric mean of the n-gram precisions.

    0 where an order has no hit.

    >>> cumulative_bleu("a red polyp".split(), "a red polyp".split())
    (1.0, 1.0, 1.0, 0.0)
    """
    if not said or not gold:
        return 0.0, 0.0, 0.0, 0.0
    brevity = 1.0 if len(said) > len(gold) else math.exp(1 - len(gold) / len(said))
    result, logs, dead = [], 0.0, False
    for n in range(1, 5):
        hits, total = ngram_precision(said, gold, n)
        dead = dead or not hits
        logs += math.log(hits / total) if hits else 0.0
        result.append(0.0 if dead else brevity * math.exp(logs / n))
    return result[0], result[1], result[2], result[3]


def rouge_l(said: Sequence[str], gold: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004) with beta 1: the F1 of the longest common subsequence of words.

    >>> rouge_l("a small red polyp".split(), "a red polyp".split())
    0.8571428571428571
    """
    common = lcs_length(said, gold)
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def token_f1(said: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of words, each counted as often as both have it.

    >>> token_f1("polyp polyp".split(), "a polyp".split())
    0.5
    """
    common = (Counter(said) & Counter(gold)).total()
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def lcs_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table as one integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    return (full ^ row).bit_count()
