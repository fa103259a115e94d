"""Text metrics for captions, evalkit's own definitions: no smoothing, no stemming, one reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from evalkit.scoring.text.overlap import ngram_precision


def cumulative_bleu(predicted: Sequence[str], gold: Sequence[str]) -> tuple[float, float, float, float]:
    """Sentence BLEU-1 to BLEU-4 (Papineni 2002): brevity penalty times the geometric mean of the n-gram precisions.

    0 if an n-gram order has no hit, where nltk without smoothing gives about 1e-231.

    >>> cumulative_bleu("a red polyp".split(), "a red polyp".split())
    (1.0, 1.0, 1.0, 0.0)
    """
    if not predicted or not gold:
        return 0.0, 0.0, 0.0, 0.0
    brevity = 1.0 if len(predicted) > len(gold) else math.exp(1 - len(gold) / len(predicted))
    values, log_sum, no_hit = [], 0.0, False
    for n in range(1, 5):
        hits, total = ngram_precision(predicted, gold, n)
        no_hit = no_hit or not hits
        log_sum += math.log(hits / total) if hits else 0.0
        values.append(0.0 if no_hit else brevity * math.exp(log_sum / n))
    return values[0], values[1], values[2], values[3]


def rouge_l(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004) with beta 1: the F1 of the longest common subsequence of words.

    >>> rouge_l("a small red polyp".split(), "a red polyp".split())
    0.8571428571428571
    """
    common = lcs_length(predicted, gold)
    return 2 * common / (len(predicted) + len(gold)) if common else 0.0


def token_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """F1 over words, each counted as often as it occurs in both texts.

    >>> token_f1("polyp polyp".split(), "a polyp".split())
    0.5
    """
    common = (Counter(predicted) & Counter(gold)).total()
    return 2 * common / (len(predicted) + len(gold)) if common else 0.0


def lcs_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence; each row of the table is one integer (bit-parallel, Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    return (full ^ row).bit_count()
