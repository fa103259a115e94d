"""Metrics over classes (macro accuracy, macro F1): aggregates of the same hits that also need the class labels.

`values` are hits (1.0 or 0.0), `labels` pairs of (correct class, predicted class), compared in lower case, `clusters`
as in `evalkit.stats.intervals`.  "The classes" are those that occur as the correct class.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.stats.clusters import cluster_codes, cluster_sums, effective_clusters
from evalkit.stats.corpus_bleu import corpus_bleu
from evalkit.stats.fraction_interval import effective_bounds, outermost_bounds
from evalkit.stats.intervals import LEVEL, NO_ESTIMATE, ONE_CLUSTER, Estimate, Interval, mean_interval

if TYPE_CHECKING:
    import numpy as np

# Rows at the mean rate of all classes by which a class's variance is smoothed.
_PRIOR_ROWS = 2.0
# Classes with fewer rows than this are named in a note.
FEW_ROWS = 5
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
    value = math.fsum(rate.values()) / len(support)
    return Estimate(value, _interval(value, values, correct, class_influence(values, labels), clusters))


def class_influence(values: Sequence[float], labels: Labels) -> list[float]:
    """First-order influence of each row on `macro_accuracy`."""
    correct = [gold.lower() for gold, _ in labels]
    support = Counter(correct)
    hits: dict[str, float] = defaultdict(float)
    for gold, value in zip(correct, values, strict=True):
        hits[gold] += value
    return [(v - hits[g] / support[g]) / (len(support) * support[g]) for g, v in zip(correct, values, strict=True)]


def macro_f1(values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]) -> Estimate:
    """Mean over the classes of F1 = 2 hits / (occurrences as correct class + as predicted class); None for no values.

    A prediction that is none of the classes counts only as a miss of the correct class.
    """
    if not values:
        return NO_ESTIMATE
    correct = [gold.lower() for gold, _ in labels]
    f1, _ = _class_f1(values, labels)
    value = math.fsum(f1.values()) / len(f1)
    return Estimate(value, _interval(value, values, correct, f1_influence(values, labels), clusters))


def _class_f1(values: Sequence[float], labels: Labels) -> tuple[dict[str, float], Counter[str]]:
    """F1 of each class, and its occurrences as correct and as predicted class together."""
    total = Counter(gold.lower() for gold, _ in labels)
    hits: dict[str, float] = defaultdict(float)
    for (gold, _), value in zip(labels, values, strict=True):
        hits[gold.lower()] += value
    total.update(text.lower() for _, text in labels if text.lower() in total)
    return {gold: 2 * hits[gold] / n for gold, n in total.items()}, total


def f1_influence(values: Sequence[float], labels: Labels) -> list[float]:
    """First-order influence of each row on `macro_f1`."""
    correct, predicted = [gold.lower() for gold, _ in labels], [text.lower() for _, text in labels]
    f1, total = _class_f1(values, labels)
    return [
        ((2 * v - f1[g]) / total[g] - (f1[s] / total[s] if s in total else 0.0)) / len(f1)
        for g, s, v in zip(correct, predicted, values, strict=True)
    ]


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

# Those that are means over the classes.
MACRO_AGGREGATES = frozenset({"macro_accuracy", "macro_f1"})


def _interval(
    value: float,
    values: Sequence[float],
    correct: Sequence[str],
    influence: Sequence[float],
    clusters: Sequence[Hashable],
) -> Interval | None:
    """Interval of a mean over classes: exact bounds at its effective sample size, as for a mean over rows.

    The variance is the cluster-robust one of the first-order influence of each row, plus what it lacks where classes
    are small: a class of few rows that are all right shows no variance (`small_class_variance`).  Neither bound is
    closer to 0 or 1 than the exact one of as many agreeing clusters, each with the weight of its rows.
    """
    import numpy as np

    code, k = cluster_codes(values, clusters)
    sizes = np.bincount(code, minlength=k)
    units = effective_clusters(_class_weights(correct, code, k))
    if k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER, effective=units)
    low, high = (value, 1.0) if value == 1 else (0.0, value)
    if 0 < value < 1:
        sums = cluster_sums(influence, code, k)
        small = small_class_variance(values, correct, code, sizes)
        variance = k / (k - 1) * float(sums @ sums) + small.lacking
        low, high = effective_bounds(value, variance, small.degrees, LEVEL)
    # A hit is 1 and a miss 0, so the most that the clusters can show is what as many of one kind would.
    most, least = outermost_bounds(0.0, 1.0, units, LEVEL)
    low, high = min(low, most), max(high, least)
    return Interval(low=low, high=high, method=f"delta method, smoothed classes, {k} clusters", effective=units)


def _class_weights(correct: Sequence[str], code: np.ndarray[Any, Any], k: int) -> np.ndarray[Any, Any]:
    """The weight of each cluster in a mean over classes: every class weighs the same."""
    import numpy as np

    support = Counter(correct)
    return np.bincount(code, weights=[1 / (len(support) * support[gold]) for gold in correct], minlength=k)


class SmallClassVariance(NamedTuple):
    """Variance of a mean of class rates that the observed rates do not show, and the degrees of freedom of it all."""

    lacking: float
    degrees: float


def small_class_variance(
    values: Sequence[float], correct: Sequence[str], code: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]
) -> SmallClassVariance:
    """The variance that smoothed rates of hits add to that of the mean over the classes.

    A class with h hits in n rows has the rate h / n, and smoothed (h + 2 m) / (n + 2), m the mean over the classes;
    its variance is rate (1 - rate) / n times 1 + icc (rows of a row's cluster - 1), with one intraclass correlation for
    all classes, estimated from pairs of rows of a cluster and at least 0.  Degrees of freedom by Satterthwaite's
    formula.

    Args:
        code, sizes: the cluster of each row, and the rows of each cluster.
    """
    import numpy as np

    hits = np.asarray(values, dtype=float)
    label, classes = cluster_codes(hits, correct)
    rows = np.bincount(label, minlength=classes)
    right = cluster_sums(hits, label, classes)
    rate = (right + _PRIOR_ROWS * float((right / rows).mean())) / (rows + _PRIOR_ROWS)
    spread = rate * (1 - rate)
    residual = hits - (right / rows)[label]
    standard = residual / np.sqrt(spread[label])
    sums, pairs = cluster_sums(standard, code, len(sizes)), float((sizes * (sizes - 1.0)).sum())
    icc = min(1.0, max(0.0, (float(sums @ sums) - float(standard @ standard)) / pairs)) if pairs else 0.0
    neighbours = cluster_sums(sizes[code].astype(float), label, classes) / rows
    units = rows / (1 + icc * (neighbours - 1))
    parts = spread / units
    # A class on one cluster shows no variance at all: its residuals add up to 0.
    found, pair = np.unique(label * len(sizes) + code, return_inverse=True)
    shown = cluster_sums(cluster_sums(residual, pair, len(found)) ** 2, found // len(sizes), classes) / rows**2
    return SmallClassVariance(
        lacking=float(np.maximum(0.0, parts - shown).sum()) / classes**2,
        degrees=float(parts.sum()) ** 2 / float((parts * parts / units).sum()),
    )
