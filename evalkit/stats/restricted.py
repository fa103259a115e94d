"""Test and interval of a paired difference whose variance is estimated under the null value.

The plain t statistic estimates the variance from the observed data.  If a model loses a few answers and wins none, the
runs that by chance lost fewer answers also show a smaller variance, and a model that is worse by the margin passes
twice as often as it should.  Here the variance is that of the distribution closest to the data (nonparametric maximum
likelihood over the clusters: Owen 1988, Biometrika 75:237) among those whose mean is the null value.  For independent
rows with values 0 and 1 this is Tango's score test (1998, Stat. Med. 17:891); it also covers clusters and any scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import Clusters, Values, cluster_codes, cluster_sums, finite_numbers
from evalkit.stats.fraction_interval import t_quantile
from evalkit.stats.intervals import LEVEL, ONE_CLUSTER, Interval, exact_sum

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class ClusteredDifferences:
    """Differences grouped by cluster.

    totals, sizes, counts: arrays over the distinct pairs (sum of differences, number of rows) of a cluster, with the
    number of clusters that have each pair.  k: clusters.  n: rows.  mean: mean difference over rows.
    largest: the largest absolute total of a cluster, at least 1 (one row changed from correct to wrong).
    furthest: the largest absolute difference of a row, at least 1.
    """

    totals: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    counts: np.ndarray[Any, Any]
    k: int
    n: int
    mean: float
    largest: float
    furthest: float


def group_by_cluster(differences: Values, clusters: Clusters) -> ClusteredDifferences:
    """Group the differences (at least one) by cluster.  Raises ConfigError for one that is no finite number."""
    import numpy as np

    differences = finite_numbers(differences)
    code, k = cluster_codes(differences, clusters)
    totals = np.round(cluster_sums(differences, code, k), 12)
    sizes = np.bincount(code, minlength=k).astype(float)
    pairs, counts = np.unique(np.stack([totals, sizes], axis=1), axis=0, return_counts=True)
    n = len(differences)
    return ClusteredDifferences(
        totals=pairs[:, 0],
        sizes=pairs[:, 1],
        counts=counts.astype(float),
        k=k,
        n=n,
        mean=exact_sum(differences) / n,
        largest=max(1.0, float(np.abs(totals).max())),
        furthest=max(1.0, float(np.abs(differences).max())),
    )


def restricted_t(data: ClusteredDifferences, null: float) -> float:
    """Distance of the mean difference above `null`, in standard errors under the null.

    Needs at least two clusters.  Decreasing in `null`; 0.0 if the mean equals the null value.
    """
    distance = (data.mean - null) * data.n
    if abs(distance) < 1e-9:
        return 0.0
    steps = data.totals - null * data.sizes
    return distance / math.sqrt(data.k * data.k / (data.k - 1) * _second_moment(steps, data, distance > 0))


def _second_moment(steps: np.ndarray[Any, Any], data: ClusteredDifferences, above: bool) -> float:
    """E[step^2] under the distribution with mean step 0 that maximises the likelihood of the observed clusters.

    A cluster's probability is 1 / (k (1 + tilt * step)).  A change as large as the largest observed one is considered
    possible in both directions, even if none was observed in that direction: it gets the remaining probability if the
    observed clusters alone cannot have mean 0.
    """
    edge = min(float(steps.min()), -data.largest) if above else max(float(steps.max()), data.largest)
    outer = -1.0 / edge
    observed_at_edge = bool((abs(steps - edge) < 1e-12).any())
    inside = observed_at_edge or (_drift(steps, data, outer)[0] > 0) != above
    tilt = _tilt(steps, data, outer, above) if inside else outer
    weights = data.counts / (data.k * (1 + tilt * steps))
    remaining = max(0.0, 1.0 - float(weights.sum()))
    return float(weights @ (steps * steps)) + remaining * edge * edge


def _tilt(steps: np.ndarray[Any, Any], data: ClusteredDifferences, outer: float, above: bool) -> float:
    """The root of the drift between 0 and `outer`: Newton steps, with bisection where a step leaves the bracket."""
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


def _drift(steps: np.ndarray[Any, Any], data: ClusteredDifferences, tilt: float) -> tuple[float, float]:
    """Sum of the tilted steps, and its derivative with respect to the tilt (always negative)."""
    tilted = steps / (1 + tilt * steps)
    return float(data.counts @ tilted), -float(data.counts @ (tilted * tilted))


def restricted_interval(differences: Values, clusters: Clusters, level: float = LEVEL) -> Interval | None:
    """The null values that `restricted_t` does not reject at `level`: two-sided, t with K - 1 degrees of freedom.

    None for no rows; no bounds for a single cluster.  Bounds are limited to the largest absolute difference of a row,
    or 1 if that is larger.
    """
    if not len(differences):
        return None
    data = group_by_cluster(differences, clusters)
    if data.k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    critical = t_quantile(level, data.k - 1)
    low, high = (_bound(data, critical, sign) for sign in (-1, 1))
    return Interval(low=low, high=high, method=f"restricted t, {data.k} clusters")


def equivalence_p(differences: Values, clusters: Clusters, margin: float) -> float:
    """p of the hypothesis that the mean difference is not within (-margin, margin): two one-sided tests (TOST).

    The larger of both p values (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657), each by the restricted t
    statistic with K - 1 degrees of freedom.  1.0 for no rows and for a single cluster.  Raises ConfigError for a
    margin that is not above 0.
    """
    from scipy.special import stdtr

    if not margin > 0:
        raise ConfigError(f"A margin of equivalence of {margin} is not possible; expected a number above 0.")
    if not len(differences):
        return 1.0
    data = group_by_cluster(differences, clusters)
    if data.k < 2:
        return 1.0
    above, below = restricted_t(data, -margin), -restricted_t(data, margin)
    return float(stdtr(data.k - 1, -min(above, below)))


def _bound(data: ClusteredDifferences, critical: float, sign: int) -> float:
    """Null value below (sign -1) or above (sign 1) the mean at which the statistic is `critical` (Illinois method)."""
    inside, outside = data.mean, sign * data.furthest
    at_inside, at_outside = -critical, -sign * restricted_t(data, outside) - critical
    if at_outside <= 0:
        return outside
    middle = inside
    for _ in range(100):
        middle = (inside * at_outside - outside * at_inside) / (at_outside - at_inside)
        at_middle = -sign * restricted_t(data, middle) - critical
        if abs(at_middle) < 1e-9 or abs(outside - inside) < 1e-12:
            break
        if at_middle > 0:
            outside, at_outside = middle, at_middle
            at_inside /= 2
        else:
            inside, at_inside = middle, at_middle
            at_outside /= 2
    return middle
