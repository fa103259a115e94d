"""Interval of the mean of fractions over clusters: exact bounds at the effective sample size.

`docs/statistics.md` has the formulas, and how often the interval covers on the shapes of the data sets.

- Variance of the mean: CR2 (Bell & McCaffrey 2002, Survey Methodology 28:169), t with their degrees of freedom, which
  are fewer where few clusters carry the rows.
- Interval: Clopper and Pearson's exact bounds (1934, Biometrika 26:404) with p(1-p)/variance, times (z/t)^2, as the
  sample size (Korn & Graubard 1998, Survey Methodology 24:193), so that it never leaves [0, 1].
- Outer bound: neither bound is closer to 0 or 1 than the exact one of as many agreeing clusters without an exception.
  Where almost all answers are right, the few clusters with wrong ones say hardly anything about the variance.
- Fewer than five clusters: exact with clusters as units.
- Independent right or wrong answers: Wilson's interval (1927, JASA 22:209), for few of them the exact one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import ClusterCodes, cluster_sums, effective_clusters

if TYPE_CHECKING:
    import numpy as np

METHOD = "exact at the effective sample size"
# With fewer clusters than this no variance is estimated.
FEWEST_CLUSTERS = 5
# With fewer independent rows than this Wilson's interval covers less than 93 % at 0.99.
FEWEST_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of an interval and how they were made."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredFractions:
    """Scores in [0, 1], summed over each cluster.

    totals, sizes: sum of the scores, and rows, of each cluster, shape (K,).  squares: sum of the squared distances of
    the scores from their mean.  lowest, highest: of the scores.  hits: all scores are 0 or 1.
    """

    totals: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]
    squares: float
    lowest: float
    highest: float
    hits: bool


def fraction_bounds(values: np.ndarray[Any, Any], clusters: ClusterCodes, level: float) -> Bounds:
    """Bounds for the mean of `values` in [0, 1] over at least two clusters."""
    import numpy as np

    residuals = values - values.mean()
    return bounds_of(
        ClusteredFractions(
            totals=cluster_sums(values, clusters.code, clusters.k),
            sizes=np.bincount(clusters.code, minlength=clusters.k),
            squares=float(residuals @ residuals),
            lowest=float(values.min()),
            highest=float(values.max()),
            hits=bool(((values == 0) | (values == 1)).all()),
        ),
        level,
    )


def bounds_of(scores: ClusteredFractions, level: float) -> Bounds:
    """Bounds for a mean from what is known of each cluster."""
    check_level(level)
    sizes, n, k = scores.sizes, int(scores.sizes.sum()), len(scores.sizes)
    units, mean = effective_clusters(sizes), float(scores.totals.sum()) / n
    inner_low, inner_high = outermost_bounds(scores.lowest, scores.highest, units, level)
    if scores.lowest == scores.highest:
        return _named(inner_low, inner_high, "exact", k, n)
    if k < FEWEST_CLUSTERS or (k == n and scores.hits and n < FEWEST_ROWS):
        return _named(*exact_bounds(mean, units, level), "exact", k, n)
    if k == n and scores.hits:
        low, high = wilson_bounds(mean, n, normal_quantile(level))
        return Bounds(low=low, high=high, method="Wilson")
    # Clusters that agree by chance more than independent rows would are no evidence of more rows.
    variance = max(cr2_variance(scores.totals - mean * sizes, sizes), scores.squares / n**2)
    if not variance:  # below the smallest number
        return _named(min(mean, inner_low), max(mean, inner_high), METHOD, k, n)
    low, high = effective_bounds(mean, variance, degrees_of_freedom(sizes), level)
    return _named(min(low, inner_low), max(high, inner_high), METHOD, k, n)


def effective_bounds(mean: float, variance: float, degrees: float, level: float) -> tuple[float, float]:
    """Korn and Graubard's bounds of a mean between 0 and 1 with an estimated variance above 0."""
    ratio = normal_quantile(level) / t_quantile(level, degrees)
    return exact_bounds(mean, mean * (1 - mean) / variance * ratio * ratio, level)


def _named(low: float, high: float, method: str, k: int, n: int) -> Bounds:
    return Bounds(low=max(0.0, low), high=min(1.0, high), method=method if k == n else f"{method}, {k} clusters")


def outermost_bounds(lowest: float, highest: float, units: float, level: float) -> tuple[float, float]:
    """The largest lower and the smallest upper bound for scores between `lowest` and `highest`.

    A share of 1 - tail^(1/units) of the population may lie outside of what `units` clusters show; it may score 0 or 1.
    For hits alone these are the exact bounds of `units` out of `units` and of none.
    """
    seen = float(((1 - level) / 2) ** (1 / units))
    return seen * highest, 1 - seen * (1 - lowest)


def exact_bounds(share: float, size: float, level: float) -> tuple[float, float]:
    """Clopper-Pearson bounds of a share over `size` units; the size and the number of hits may be fractions."""
    from scipy.special import betaincinv

    tail, hits = (1 - level) / 2, share * size
    misses = size - hits
    low = float(betaincinv(hits, misses + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if misses > 0 else 1.0
    # Where hits or misses are far below one unit, the Beta quantile underflows.
    return (low if math.isfinite(low) else 0.0), (high if math.isfinite(high) else 1.0)


def wilson_bounds(share: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's score bounds of a share over `size` independent rows, clipped to [0, 1]."""
    square = quantile * quantile
    middle = (share * size + square / 2) / (size + square)
    half = quantile * math.sqrt(size * share * (1 - share) + square / 4) / (size + square)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def cr2_variance(residuals: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> float:
    """CR2 variance of a mean, from each cluster's sum of residuals and its number of rows."""
    import numpy as np

    n = float(sizes.sum())
    return float(np.sum(residuals * residuals / (1 - sizes / n))) / (n * n)


def degrees_of_freedom(sizes: np.ndarray[Any, Any]) -> float:
    """Bell and McCaffrey's degrees of freedom of `cr2_variance`; K - 1 for K clusters of equal size.

    Satterthwaite's formula tr(B)^2 / tr(B^2) of the variance as a quadratic form of independent rows; of a mean it
    needs the clusters' shares of the rows alone.
    """
    import numpy as np

    share = sizes / float(sizes.sum())
    across = share * share / (1 - share)
    total = np.sum(share * share) + np.sum(across) ** 2 - np.sum(across * across)
    return 1 / float(total)


def check_level(level: object) -> None:
    """Check the level of an interval.  Raises ConfigError if it is not a share between 0 and 1, such as 0.95."""
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ConfigError(f"A level of {level} is not possible; expected a share between 0 and 1, such as 0.95.")


def normal_quantile(level: float) -> float:
    """Half-width of a two-sided normal interval in standard errors."""
    from scipy.special import ndtri

    check_level(level)
    return float(ndtri((1 + level) / 2))


def t_quantile(level: float, degrees: float) -> float:
    """Half-width of a two-sided t interval in standard errors."""
    from scipy.special import stdtrit

    check_level(level)
    return float(stdtrit(degrees, (1 + level) / 2))
