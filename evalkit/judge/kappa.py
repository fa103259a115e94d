"""Agreement between raters: raw, Cohen's kappa (plain and quadratic, scikit-learn's), Krippendorff's alpha."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from evalkit.stats import Interval


class LabelPair(NamedTuple):
    """The labels of one answer by two raters."""

    first: float
    second: float


def raw_agreement(pairs: Sequence[LabelPair]) -> float | None:
    """Share of equal pairs; None without pairs."""
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def cohen_kappa(pairs: Sequence[LabelPair], labels: Sequence[float], *, quadratic: bool = False) -> float | None:
    """Cohen's kappa of two raters over `labels` in their order; None where it is undefined (all labels are equal)."""
    from sklearn.metrics import cohen_kappa_score

    if len({value for pair in pairs for value in pair}) < 2:
        return None
    first, second = zip(*pairs, strict=True)
    code = {label: position for position, label in enumerate(labels)}
    weights = "quadratic" if quadratic else None
    value = float(
        cohen_kappa_score(
            [code[v] for v in first], [code[v] for v in second], labels=list(range(len(labels))), weights=weights
        )
    )
    return value if math.isfinite(value) else None


def krippendorff_alpha(units: Sequence[Sequence[float]], *, interval: bool = False) -> float | None:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    Args:
        units: for each unit the values of its raters, any number of them; a unit with one value has no effect.
        interval: the distance is the squared difference of the values; else 0 for equal values and 1 for others.

    Returns:
        1 for perfect agreement, 0 for chance, below 0 for worse; None where it is undefined (no pairs, or one value).
    """
    coincidences: defaultdict[tuple[float, float], float] = defaultdict(float)
    for values in units:
        if len(values) > 1:
            for pair in permutations(values, 2):
                coincidences[pair] += 1 / (len(values) - 1)
    totals: defaultdict[float, float] = defaultdict(float)
    for (first, _), weight in coincidences.items():
        totals[first] += weight
    n = math.fsum(totals.values())
    if len(totals) < 2:
        return None

    def distance(a: float, b: float) -> float:
        return (a - b) ** 2 if interval else float(a != b)

    observed = math.fsum(w * distance(*pair) for pair, w in coincidences.items())
    expected = math.fsum(totals[a] * totals[b] * distance(a, b) for a in totals for b in totals)
    return 1 - (n - 1) * observed / expected


def jackknife_interval(
    statistic: Callable[[Sequence[Any]], float | None],
    rows: Sequence[Any],
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    low: float = -1.0,
    high: float = 1.0,
) -> Interval | None:
    """Interval of a statistic of rows by leaving out one cluster at a time, t with K-1 degrees, clipped to [low, high].

    None where the statistic is undefined; no bounds where it is undefined without some cluster, or K < 3.
    Reference: Efron and Tibshirani 1993, chapter 11.
    """
    from scipy.special import stdtrit

    estimate = statistic(rows)
    if estimate is None:
        return None
    members: dict[Hashable, list[int]] = {}
    for index, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(index)
    k = len(members)
    if k < 3:
        return Interval(low=None, high=None, method="undefined: fewer than three clusters")
    without: list[float] = []
    for left_out in members.values():
        omitted = set(left_out)
        value = statistic([row for index, row in enumerate(rows) if index not in omitted])
        if value is None:
            return Interval(low=None, high=None, method="undefined: rests on one cluster")
        without.append(value)
    mean = math.fsum(without) / k
    error = math.sqrt((k - 1) / k * math.fsum((v - mean) ** 2 for v in without))
    half = float(stdtrit(k - 1, (1 + level) / 2)) * error
    method = f"cluster jackknife, {k} clusters"
    return Interval(low=max(low, estimate - half), high=min(high, estimate + half), method=method)
