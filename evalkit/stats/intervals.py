"""Intervals and tests for benchmark numbers whose rows come in clusters (several questions about one image).

numpy and scipy are imported inside the functions.  Values are numbers, clusters any hashable labels, one a value.
Reference: Miller 2024, "Adding error bars to evals", arXiv 2411.00640.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
ONE_CLUSTER = "undefined: one cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval and how it was made; no bounds where it is undefined."""

    low: float | None
    high: float | None
    method: str


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable], level: float = LEVEL, *, bounded: bool = True
) -> Interval | None:
    """Confidence interval of the mean of `values` (n numbers), of which those with equal `clusters` belong together.

    None for no values; no bounds for one cluster.  Otherwise, in this order:

    - every value 0, or every value 1, bounded: exact (Clopper-Pearson) with the number of clusters as the sample
      size.  The variance estimate is 0 there and says nothing, and the effective sample size lies between the number
      of clusters (rows of an image all agree) and n (they know nothing of each other); the smaller one errs
      towards the wider interval;
    - some cluster has several members: cluster-robust standard error with the factor K/(K-1), t with K-1 degrees;
    - all values 0 or 1: Wilson; else the ordinary t interval.

    bounded: the values lie in [0, 1], and so does the interval.  Raises ConfigError when the lengths differ.
    """
    code, k = _codes(values, clusters)
    if not values:
        return None
    if k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    n = len(values)
    kinds = set(values)
    if bounded and kinds in ({0.0}, {1.0}):
        return _exact_at_the_edge(1.0 in kinds, k, level, clustered=k < n)
    if k == n and kinds <= {0.0, 1.0}:
        return wilson(round(sum(values)), n, level)
    mean, error = _mean_and_error(values, code, k)
    half = _t_quantile(level, k - 1) * error
    low, high = mean - half, mean + half
    if bounded:
        low, high = max(0.0, low), min(1.0, high)
    return Interval(low=low, high=high, method="t" if k == n else f"cluster-robust t, {k} clusters")


def cluster_standard_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Standard error of the mean, robust to dependence within clusters, with the factor K/(K-1).

    Raises ConfigError for fewer than two clusters.
    """
    code, k = _codes(values, clusters)
    if k < 2:
        raise ConfigError("a cluster-robust standard error needs at least two clusters (images).")
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


def _codes(values: Sequence[object], clusters: Sequence[Hashable]) -> tuple[list[int], int]:
    """Clusters as 0..K-1 in order of appearance, and K."""
    if len(values) != len(clusters):
        raise ConfigError(f"{len(values)} values but {len(clusters)} cluster labels: one label a value is needed.")
    seen: dict[Hashable, int] = {}
    code = [seen.setdefault(cluster, len(seen)) for cluster in clusters]
    return code, len(seen)


def _cluster_sums(values: Any, code: Sequence[int], k: int) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.bincount(code, weights=values, minlength=k)


def _mean_and_error(values: Sequence[float], code: Sequence[int], k: int) -> tuple[float, float]:
    import numpy as np

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    residual = _cluster_sums(array - mean, code, k)
    return mean, math.sqrt(k / (k - 1) * float(residual @ residual)) / len(array)


def _t_quantile(level: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


Aggregate = Callable[[Sequence[float], Sequence[Hashable]], tuple[float | None, Interval | None]]


def mean(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float | None, Interval | None]:
    """Mean of fractions in [0, 1], with its interval; None for no values."""
    if not values:
        return None, None
    return math.fsum(values) / len(values), mean_interval(values, clusters)


def unbounded_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float | None, Interval | None]:
    """Mean of numbers on any scale, with its interval; None for no values."""
    if not values:
        return None, None
    return math.fsum(values) / len(values), mean_interval(values, clusters, bounded=False)


AGGREGATES: dict[str, Aggregate] = {"mean": mean, "unbounded_mean": unbounded_mean}


def design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """How many times the clustered variance of the mean is the naive one; None where either is undefined or 0."""
    code, k = _codes(values, clusters)
    if k < 2 or len(set(values)) < 2:
        return None
    naive = _mean_and_error(values, range(len(values)), len(values))[1]
    return (_mean_and_error(values, code, k)[1] / naive) ** 2


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = LEVEL,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of the mean when whole clusters are drawn with replacement; None for no values."""
    import numpy as np

    if not values:
        return None
    code, k = _codes(values, clusters)
    if k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER)
    means = resampled_means(np.asarray(values, dtype=float)[None, :], code, k, resamples, seed)[0]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), method=f"cluster bootstrap, {k} clusters, {resamples} resamples")


def resampled_means(
    rows: np.ndarray[Any, Any], code: Sequence[int], k: int, resamples: int, seed: int
) -> np.ndarray[Any, Any]:
    """Bootstrap means, models x resamples, of `rows`, models x n: every model sees the same drawn clusters.

    A resample is a vector of multinomial weights over the clusters, a few hundred thousand of them at a time.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    sums = np.stack([_cluster_sums(row, code, k) for row in rows])
    sizes = np.bincount(code, minlength=k).astype(float)
    step = max(1, 1_000_000 // k)
    parts = []
    for start in range(0, resamples, step):
        weights = rng.multinomial(k, np.full(k, 1 / k), size=min(step, resamples - start)).astype(float)
        parts.append(sums @ weights.T / (weights @ sizes))
    return np.concatenate(parts, axis=1)
