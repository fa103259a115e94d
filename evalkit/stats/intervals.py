"""Confidence intervals of means over clustered rows (several questions about one image).

numpy and scipy are imported inside the functions.  `values` are numbers, `clusters` hashable labels, one per value.
Reference: Miller 2024, "Adding error bars to evals", arXiv 2411.00640.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
ONE_CLUSTER = "undefined: one cluster"


class ClusterCodes(NamedTuple):
    """Cluster labels as numbers 0..K-1 in order of appearance, an array with one per value, and the number K."""

    code: np.ndarray[Any, Any]
    k: int

    def at(self, places: np.ndarray[Any, Any]) -> ClusterCodes:
        """The labels of some of the values, numbered in order of their appearance among these."""
        import numpy as np

        code = self.code[places]
        first = np.full(self.k, len(code))
        first[code[::-1]] = np.arange(len(code))[::-1]  # of several places of a cluster the last written, the first
        present = np.flatnonzero(first < len(code))
        number = np.empty(self.k, dtype=np.intp)
        number[present[np.argsort(first[present])]] = np.arange(len(present))
        return ClusterCodes(number[code], len(present))


# Numbers, one a row; labels of clusters, one a row, or their numbers.
Values: TypeAlias = "Sequence[float] | np.ndarray[Any, Any]"
Clusters: TypeAlias = "Sequence[Hashable] | ClusterCodes"
Codes: TypeAlias = "Sequence[int] | np.ndarray[Any, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval and its method; the bounds are None if it is undefined."""

    low: float | None
    high: float | None
    method: str


def mean_interval(values: Values, clusters: Clusters, level: float = LEVEL, *, bounded: bool = True) -> Interval | None:
    """Confidence interval of the mean of `values` (n numbers); values with equal `clusters` may be dependent.

    None for no values; no bounds for a single cluster.  Otherwise, in this order:

    - all values 0, or all values 1, and bounded: exact (Clopper-Pearson) with the number of clusters as the sample
      size.  The variance estimate is 0 there and uninformative, and the effective sample size is between the number
      of clusters (rows of an image all agree) and n (rows are independent); the smaller one gives the wider, safer
      interval;
    - a cluster has several members: cluster-robust standard error with the factor K/(K-1), t with K-1 degrees of
      freedom;
    - all values 0 or 1: Wilson; else the ordinary t interval.

    bounded: the values are in [0, 1], and the interval is clipped to it.  Raises ConfigError if the lengths differ.
    """
    import numpy as np

    code, k = cluster_codes(values, clusters)
    n = len(values)
    if not n:
        return None
    if k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    array = np.asarray(values, dtype=float)
    zeros, ones = int((array == 0).sum()), int((array == 1).sum())
    if bounded and n in (zeros, ones):
        return _exact_at_the_edge(ones == n, k, level, clustered=k < n)
    if k == n and zeros + ones == n:
        return wilson(ones, n, level)
    mean, error = _mean_and_error(array, code, k)
    half = t_quantile(level, k - 1) * error
    low, high = mean - half, mean + half
    if bounded:
        low, high = max(0.0, low), min(1.0, high)
    return Interval(low=low, high=high, method="t" if k == n else f"cluster-robust t, {k} clusters")


def cluster_standard_error(values: Values, clusters: Clusters) -> float:
    """Standard error of the mean, robust to dependence within clusters, with the factor K/(K-1).

    Raises ConfigError for fewer than two clusters.
    """
    code, k = cluster_codes(values, clusters)
    if k < 2:
        raise ConfigError("A cluster-robust standard error needs at least two clusters (images).")
    return _mean_and_error(values, code, k)[1]


def wilson(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion, hits out of n > 0 independent rows."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(low=max(0.0, middle - half), high=min(1.0, middle + half), method="Wilson")


def _exact_at_the_edge(ones: bool, k: int, level: float, *, clustered: bool) -> Interval:
    tail = ((1 - level) / 2) ** (1 / k)
    method = f"exact, {k} clusters" if clustered else "exact"
    return Interval(low=tail, high=1.0, method=method) if ones else Interval(low=0.0, high=1 - tail, method=method)


def cluster_codes(values: Sequence[object] | np.ndarray[Any, Any], clusters: Clusters) -> ClusterCodes:
    """Number the clusters.  Raises ConfigError if there is not one label per value."""
    import numpy as np

    given = clusters.code if isinstance(clusters, ClusterCodes) else clusters
    if len(values) != len(given):
        raise ConfigError(f"{len(values)} values but {len(given)} cluster labels: expected one label per value.")
    if isinstance(clusters, ClusterCodes):
        return clusters
    seen: dict[Hashable, int] = {}
    code = [seen.setdefault(cluster, len(seen)) for cluster in clusters]
    return ClusterCodes(np.array(code, dtype=np.intp), len(seen))


def cluster_sums(values: Any, code: Codes, k: int) -> np.ndarray[Any, Any]:
    """Sum of the values of each cluster, shape (k,)."""
    import numpy as np

    return np.bincount(code, weights=values, minlength=k)


def _mean_and_error(values: Values, code: Codes, k: int) -> tuple[float, float]:
    import numpy as np

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    residual = cluster_sums(array - mean, code, k)
    return mean, math.sqrt(k / (k - 1) * float(residual @ residual)) / len(array)


def t_quantile(level: float, degrees: int) -> float:
    """Half-width of a two-sided t interval in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


class Estimate(NamedTuple):
    """An aggregated value and its confidence interval; both None for no rows."""

    value: float | None
    interval: Interval | None


NO_ESTIMATE = Estimate(None, None)
Aggregate: TypeAlias = "Callable[[Values, Clusters], Estimate]"


def mean(values: Values, clusters: Clusters) -> Estimate:
    """Mean of fractions in [0, 1], with its interval; None for no values."""
    return _mean(values, clusters, bounded=True)


def unbounded_mean(values: Values, clusters: Clusters) -> Estimate:
    """Mean of numbers on any scale, with its interval; None for no values."""
    return _mean(values, clusters, bounded=False)


def _mean(values: Values, clusters: Clusters, *, bounded: bool) -> Estimate:
    if not len(values):
        return NO_ESTIMATE
    return Estimate(exact_sum(values) / len(values), mean_interval(values, clusters, bounded=bounded))


def exact_sum(values: Values) -> float:
    """The sum of numbers, rounded once."""
    import numpy as np

    if isinstance(values, Sequence):
        return math.fsum(values)
    # Whole numbers of this size, such as hits, have exact sums in any order.
    if len(values) < 1 << 30 and (values == np.rint(values)).all() and np.abs(values).max(initial=0) < 1 << 20:
        return float(values.sum()) + 0.0
    return math.fsum(values.tolist())


AGGREGATES: dict[str, Aggregate] = {"mean": mean, "unbounded_mean": unbounded_mean}


def design_effect(values: Sequence[float], clusters: Clusters) -> float | None:
    """Ratio of the cluster-robust to the naive variance of the mean; None if either is undefined or 0."""
    code, k = cluster_codes(values, clusters)
    if k < 2 or len(set(values)) < 2:
        return None
    naive = _mean_and_error(values, range(len(values)), len(values))[1]
    return (_mean_and_error(values, code, k)[1] / naive) ** 2


def resampled_means(rows: np.ndarray[Any, Any], code: Codes, k: int, resamples: int, seed: int) -> np.ndarray[Any, Any]:
    """Bootstrap means of shape (models, resamples) for `rows` of shape (models, n); all models share the resamples."""
    import numpy as np

    sums = np.stack([cluster_sums(row, code, k) for row in rows])
    sizes = np.bincount(code, minlength=k).astype(float)
    means = [sums @ weights.T / (weights @ sizes) for weights in resampled_weights(k, resamples, seed)]
    return np.concatenate(means, axis=1)


def resampled_weights(k: int, resamples: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Blocks of resamples, about a million weights each: a row of multinomial weights over k clusters a resample."""
    import numpy as np

    rng = np.random.default_rng(seed)
    step = max(1, 1_000_000 // k)
    for start in range(0, resamples, step):
        yield rng.multinomial(k, np.full(k, 1 / k), size=min(step, resamples - start)).astype(float)
