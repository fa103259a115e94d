"""Confidence intervals of means over clustered rows (several questions about one image).

numpy and scipy are imported inside the functions.  `values` are numbers, `clusters` hashable labels, one per value.
Reference: Miller 2024, "Adding error bars to evals", arXiv 2411.00640.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import (
    ClusterCodes,
    Clusters,
    Codes,
    Values,
    cluster_codes,
    cluster_sums,
    effective_clusters,
    finite_numbers,
)
from evalkit.stats.fraction_interval import FEWEST_CLUSTERS, fraction_bounds, normal_quantile, t_quantile, wilson_bounds

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
ONE_CLUSTER = "undefined: one cluster"
ALL_EQUAL = "undefined: all values are equal"
# Of intervals from resamples.  Without a spread the data say nothing about other images.
FEW_CLUSTERS = f"undefined: fewer than {FEWEST_CLUSTERS} clusters"
NO_SPREAD = "undefined: all resamples have the same value"
_ROUNDING = 1e-9  # by which sums of fractions may leave [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval and its method; the bounds are None if it is undefined.

    effective: Kish's effective number of clusters of a mean; None where the interval is of something else.
    """

    low: float | None
    high: float | None
    method: str
    effective: float | None = field(default=None, compare=False)


def mean_interval(values: Values, clusters: Clusters, level: float = LEVEL, *, bounded: bool = True) -> Interval | None:
    """Confidence interval of the mean of `values` (n numbers); values with equal `clusters` may be dependent.

    None for no values; no bounds for a single cluster.

    bounded: the values are in [0, 1]; see `evalkit.stats.fraction_interval`.  Else the scale is unknown: t with K - 1
    degrees of freedom and the cluster-robust standard error, and no bounds where all values are equal.  Raises
    ConfigError if the lengths differ, a value is not finite, or a bounded one is not in [0, 1].
    """
    import numpy as np

    coded = cluster_codes(values, clusters)
    if not len(values):
        return None
    array = finite_numbers(values)
    if bounded:
        _check_fractions(array)
    units = effective_clusters(np.bincount(coded.code, minlength=coded.k))
    if coded.k == 1:
        return Interval(low=None, high=None, method=ONE_CLUSTER, effective=units)
    if bounded:
        found = fraction_bounds(array, coded, level)
        return Interval(low=found.low, high=found.high, method=found.method, effective=units)
    return _t_interval(array, coded, level, units)


def _check_fractions(array: np.ndarray[Any, Any]) -> None:
    """Refuse numbers whose interval would be of something else."""
    import numpy as np

    inside = (array >= -_ROUNDING) & (array <= 1 + _ROUNDING)
    if not inside.all():
        wrong = int(np.argmin(inside))
        raise ConfigError(
            f"An interval of a mean of fractions is not possible: value {wrong} is {array[wrong]:g}; expected numbers "
            "in [0, 1] (bounded=False takes other scales)."
        )


def _t_interval(array: np.ndarray[Any, Any], clusters: ClusterCodes, level: float, units: float) -> Interval:
    import numpy as np

    if (array == array[0]).all():
        return Interval(low=None, high=None, method=ALL_EQUAL, effective=units)
    mean, error = _mean_and_error(array, *clusters)
    if error < _ROUNDING * float(np.abs(array - mean).max()):
        # In each cluster the deviations cancel, which is no evidence of a mean without error: that of independent rows.
        error = _mean_and_error(array, range(len(array)), len(array))[1]
    half = t_quantile(level, clusters.k - 1) * error
    method = "t" if clusters.k == len(array) else f"cluster-robust t, {clusters.k} clusters"
    return Interval(low=mean - half, high=mean + half, method=method, effective=units)


def cluster_standard_error(values: Values, clusters: Clusters) -> float:
    """Standard error of the mean, robust to dependence within clusters, with the factor K/(K-1).

    Raises ConfigError for fewer than two clusters.
    """
    code, k = cluster_codes(values, clusters)
    if k < 2:
        raise ConfigError("A cluster-robust standard error needs at least two clusters (images).")
    return _mean_and_error(values, code, k)[1]


def wilson(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion, hits out of n > 0 independent rows.  Raises ConfigError for others."""
    if not 0 <= hits <= n or n < 1:
        raise ConfigError(f"{hits} hits of {n} rows are not possible; expected 0 to n hits of at least one row.")
    low, high = wilson_bounds(hits / n, n, normal_quantile(level))
    return Interval(low=low, high=high, method="Wilson")


def _mean_and_error(values: Values, code: Codes, k: int) -> tuple[float, float]:
    array = finite_numbers(values)
    mean = float(array.mean())
    residual = cluster_sums(array - mean, code, k)
    return mean, math.sqrt(k / (k - 1) * float(residual @ residual)) / len(array)


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
