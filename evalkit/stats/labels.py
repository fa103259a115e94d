"""Numbers over classes: each is another aggregate of the same hits, and needs to know what was right and what was said.

values are hits (1.0 or 0.0), labels pairs of (right class, said class) compared in lower case, clusters as in
`evalkit.stats.intervals`.  "The classes" are those that occur as the right one.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

from evalkit.stats.intervals import LEVEL, ONE_CLUSTER, Interval, mean_interval

Labels = Sequence[tuple[str, str]]
LabelAggregate = Callable[
    [Sequence[float], Labels, Sequence[Hashable]],
    tuple[float | None, Interval | None],
]


def macro_accuracy(
    values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]
) -> tuple[float | None, Interval | None]:
    """Mean over the classes of the share of hits within each (unweighted average recall); None for no values."""
    if not values:
        return None, None
    right = [gold.lower() for gold, _ in labels]
    support = Counter(right)
    hits: dict[str, float] = defaultdict(float)
    for gold, value in zip(right, values, strict=True):
        hits[gold] += value
    rate = {gold: hits[gold] / n for gold, n in support.items()}
    k = len(support)
    influence = [(v - rate[g]) / (k * support[g]) for g, v in zip(right, values, strict=True)]
    value = math.fsum(rate.values()) / k
    return value, _interval(value, values, influence, clusters)


def macro_f1(
    values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]
) -> tuple[float | None, Interval | None]:
    """Mean over the classes of F1 = 2 hits / (times right + times said); None for no values.

    What is said and is none of the classes is a miss of the right class and nothing else.
    """
    if not values:
        return None, None
    right, said = [gold.lower() for gold, _ in labels], [text.lower() for _, text in labels]
    total = Counter(right)
    k = len(total)
    hits: dict[str, float] = defaultdict(float)
    for gold, value in zip(right, values, strict=True):
        hits[gold] += value
    total.update(text for text in said if text in total)
    f1 = {gold: 2 * hits[gold] / n for gold, n in total.items()}
    influence = [
        ((2 * v - f1[g]) / total[g] - (f1[s] / total[s] if s in total else 0.0)) / k
        for g, s, v in zip(right, said, values, strict=True)
    ]
    value = math.fsum(f1.values()) / k
    return value, _interval(value, values, influence, clusters)


def constant_answer(
    values: Sequence[float], labels: Labels, clusters: Sequence[Hashable]
) -> tuple[float | None, Interval | None]:
    """What the best constant answer would get: the share of the most frequent class, whatever was said."""
    del values
    if not labels:
        return None, None
    right = [gold.lower() for gold, _ in labels]
    counts = Counter(right)
    best = min(counts, key=lambda gold: (-counts[gold], gold))
    share = [float(gold == best) for gold in right]
    return math.fsum(share) / len(share), mean_interval(share, clusters)


LABEL_AGGREGATES: dict[str, LabelAggregate] = {
    "macro_accuracy": macro_accuracy,
    "macro_f1": macro_f1,
    "constant_answer": constant_answer,
}


def _interval(
    value: float, values: Sequence[float], influence: Sequence[float], clusters: Sequence[Hashable]
) -> Interval | None:
    """The interval of a smooth function of counts, from how much each row moves it (first-order, the delta method).

    With the factor K/(K-1) over K clusters and t with K-1 degrees, cut to [0, 1]; where all hit or all miss, as for a
    mean.  A class of one row has no spread to be seen, so intervals over very rare classes are too narrow.
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
