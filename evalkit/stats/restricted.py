"""A paired difference held against a null value, with the variance that the data would have were that value true.

The plain t statistic takes the variance from what was seen.  Where a model loses a few answers and wins none, the runs
that by luck lost fewer also show a smaller variance, and a model that is worse by the margin passes twice as often as
it should.  Here the variance is that of the distribution nearest to the data (nonparametric maximum likelihood over
the clusters: Owen 1988, Biometrika 75:237) among those whose mean is the null value.  For independent rows of right
and wrong this is Tango's score test (1998, Stat. Med. 17:891); clusters and scores of any kind need nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.stats.intervals import LEVEL, ONE_CLUSTER, Interval, _cluster_sums, _codes, _t_quantile

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Clusters:
    """Differences by cluster: total and size of each distinct (total, size), how often it occurs, and the whole.

    largest: the greatest change that one cluster shows either way, at least 1 (one row turned from right to wrong).
    """

    totals: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    k: int
    n: int
    mean: float
    largest: float
    furthest: float


def gather(differences: Sequence[float], clusters: Sequence[Hashable]) -> Clusters:
    """The differences (at least one) by cluster."""
    import numpy as np

    code, k = _codes(differences, clusters)
    totals = np.round(_cluster_sums(differences, code, k), 12)
    sizes = np.bincount(code, minlength=k).astype(float)
    (both, counts) = np.unique(np.stack([totals, sizes], axis=1), axis=0, return_counts=True)
    n = len(differences)
    return Clusters(
        totals=both[:, 0],
        sizes=both[:, 1],
        counts=counts.astype(float),
        k=k,
        n=n,
        mean=math.fsum(differences) / n,
        largest=max(1.0, float(np.abs(totals).max())),
        furthest=max(1.0, max(abs(d) for d in differences)),
    )


def restricted_t(data: Clusters, null: float) -> float:
    """How many standard errors the mean difference lies above `null`, the error being that under the null.

    Needs two clusters or more.  Decreases in `null`; 0.0 where the mean is the null value itself.
    """
    distance = (data.mean - null) * data.n
    if abs(distance) < 1e-9:
        return 0.0
    steps = data.totals - null * data.sizes
    return distance / math.sqrt(data.k * data.k / (data.k - 1) * _second_moment(steps, data, distance > 0))


def _second_moment(steps: np.ndarray[Any, Any], data: Clusters, above: bool) -> float:
    """E[step^2] under the distribution of mean step 0 that makes the seen clusters likeliest.

    A cluster's probability is 1 / (k (1 + tilt * step)).  A change as large as the largest that was seen, in either
    direction, is held possible even where none was seen that way: it gets the rest of the probability when the seen
    clusters cannot carry the mean to 0 by themselves.
    """
    edge = min(float(steps.min()), -data.largest) if above else max(float(steps.max()), data.largest)
    outer = -1.0 / edge
    seen_at_edge = bool((abs(steps - edge) < 1e-12).any())
    inside = seen_at_edge or (_drift(steps, data, outer)[0] > 0) != above
    tilt = _tilt(steps, data, outer, above) if inside else outer
    weights = data.counts / (data.k * (1 + tilt * steps))
    rest = max(0.0, 1.0 - float(weights.sum()))
    return float(weights @ (steps * steps)) + rest * edge * edge


def _tilt(steps: np.ndarray[Any, Any], data: Clusters, outer: float, above: bool) -> float:
    """Where the drift is 0, between 0 and `outer`: Newton's steps, halving wherever one leaves the bracket."""
    inner, tilt, width = 0.0, 0.0, abs(outer)
    for _ in range(100):
        drift, slope = _drift(steps, data, tilt)
        if (drift > 0) == above:
            inner = tilt
        else:
            outer = tilt
        new = tilt - drift / slope
        if not min(inner, outer) < new < max(inner, outer):
            new = (inner + outer) / 2
        if abs(new - tilt) < 1e-13 * width:
            break
        tilt = new
    return new


def _drift(steps: np.ndarray[Any, Any], data: Clusters, tilt: float) -> tuple[float, float]:
    """Sum of the tilted steps, and how it changes with the tilt (always for the less)."""
    tilted = steps / (1 + tilt * steps)
    return float(data.counts @ tilted), -float(data.counts @ (tilted * tilted))


def restricted_interval(
    differences: Sequence[float], clusters: Sequence[Hashable], level: float = LEVEL
) -> Interval | None:
    """The null values that `restricted_t` does not reject at `level`: two-sided, t with K - 1 degrees of freedom.

    None for no rows; no bounds for one cluster.  No bound lies beyond the largest difference that a row
    shows, or 1 where that is less.
    """
    if not differences:
        return None
    data = gather(differences, clusters)
    if data.k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    wanted = _t_quantile(level, data.k - 1)
    low, high = (_bound(data, wanted, sign) for sign in (-1, 1))
    return Interval(low=low, high=high, method=f"restricted t, {data.k} clusters")


def _bound(data: Clusters, wanted: float, sign: int) -> float:
    """Where the statistic reaches `wanted` below (sign -1) or above (sign 1) the mean, by regula falsi (Illinois)."""
    inside, outside = data.mean, sign * data.furthest
    at_inside, at_outside = -wanted, -sign * restricted_t(data, outside) - wanted
    if at_outside <= 0:
        return outside
    middle = inside
    for _ in range(100):
        middle = (inside * at_outside - outside * at_inside) / (at_outside - at_inside)
        at_middle = -sign * restricted_t(data, middle) - wanted
        if abs(at_middle) < 1e-9 or abs(outside - inside) < 1e-12:
            break
        if at_middle > 0:
            outside, at_outside = middle, at_middle
            at_inside /= 2
        else:
            inside, at_inside = middle, at_middle
            at_outside /= 2
    return middle
