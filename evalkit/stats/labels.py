"""Metrics over classes (macro accuracy, macro F1): aggregates of the same hits that also need the class labels.

`values` are hits (1.0 or 0.0), `labels` pairs of (correct class, predicted class), compared in lower case, `clusters`
as in `evalkit.stats.intervals`.  "The classes" are those that occur as the correct class.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

from evalkit.stats.corpus_bleu import corpus_bleu
from evalkit.stats.intervals import LEVEL, NO_ESTIMATE, ONE_CLUSTER, Estimate, Interval, mean_interval

Labels = Sequence[tuple[str, str]]
LabelAggregate = Callable[
    [Sequence[float], Labels, Sequence[Hashable]],
    Estimate,
]


def macro_accuracy(values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]) -> Estimate:
    """Mean over the classes of the share of hits in each (unweighted average recall); None for no values."""
    if not values:
        return NO_ESTIMATE
    correct = [gold.lower() for gold, _ in labels]
    support = Counter(correct)
    hits: dict[str, float] = defaultdict(float)
    for gold, value in zip(correct, values, strict=True):
        hits[gold] += value
    rate = {gold: hits[gold] / n for gold, n in support.items()}
    k = len(support)
    influence = [(v - rate[g]) / (k * support[g]) for g, v in zip(correct, values, strict=True)]
    value = math.fsum(rate.values()) / k
    return Estimate(value, _interval(value, values, influence, clusters))


def macro_f1(values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]) -> Estimate:
    """Mean over the classes of F1 = 2 hits / (occurrences as correct class + as predicted class); None for no values.

    A prediction that is none of the classes counts only as a miss of the correct class.
    """
    if not values:
        return NO_ESTIMATE
    correct, predicted = [gold.lower() for gold, _ in labels], [text.lower() for _, text in labels]
    total = Counter(correct)
    k = len(total)
    hits: dict[str, float] = defaultdict(float)
    for gold, value in zip(correct, values, strict=True):
        hits[gold] += value
    total.update(text for text in predicted if text in total)
    f1 = {gold: 2 * hits[gold] / n for gold, n in total.items()}
    influence = [
        ((2 * v - f1[g]) / total[g] - (f1[s] / total[s] if s in total else 0.0)) / k
        for g, s, v in zip(correct, predicted, values, strict=True)
    ]
    value = math.fsum(f1.values()) / k
    return Estimate(value, _interval(value, values, influence, clusters))


def constant_answer(values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]) -> Estimate:
    """Accuracy of the best constant answer: the share of the most frequent class, whatever the predictions."""
    del values
    if not labels:
        return NO_ESTIMATE
    correct = [gold.lower() for gold, _ in labels]
    counts = Counter(correct)
    best = min(counts, key=lambda gold: (-counts[gold], gold))
    share = [float(gold == best) for gold in correct]
    return Estimate(math.fsum(share) / len(share), mean_interval(share, clusters))


LABEL_AGGREGATES: dict[str, LabelAggregate] = {
    "macro_accuracy": macro_accuracy,
    "macro_f1": macro_f1,
    "constant_answer": constant_answer,
    "corpus_bleu": corpus_bleu,
}


def _interval(
    value: float, values: Sequence[float], influence: Sequence[float], clusters: Sequence[Hashable]
) -> Interval | None:
    """Delta-method interval of a smooth function of counts, from the first-order influence of each row on it.

    With the factor K/(K-1) over K clusters and t with K-1 degrees of freedom, clipped to [0, 1]; if all rows hit or all
    miss, as for a mean.  A class with one row shows no variance, so intervals over very rare classes are too narrow.
    """
    from scipy.special import stdtrit

    if set(values) in ({0.0}, {1.0}):
        return mean_interval(values, clusters)
    sums: dict[Hashable, float] = defaultdict(float)
    for cluster, part in zip(clusters, influence, strict=True):
        sums[cluster] += part
    k = len(sums)
    if k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    error = math.sqrt(k / (k - 1) * math.fsum(u * u for u in sums.values()))
    half = float(stdtrit(k - 1, (1 + LEVEL) / 2)) * error
    return Interval(low=max(0.0, value - half), high=min(1.0, value + half), method=f"delta method, {k} clusters")
