"""Power of comparisons of two models on the same clustered rows, before any model is run.

The difference of two scores on a row is -1, 0 or 1.  With the discordance d (share of rows on which exactly one model
is correct), a true difference delta and the intraclass correlation r of the differences within a cluster, the variance
of the mean difference over clusters of m_1 .. m_K rows, n in all, is

    (d - delta^2) / n * (1 + r (sum m_i^2 / n - 1))

(Kish 1965, Survey Sampling, chapter 5).  The mean is taken as normal.  The test is that of `evalkit.stats.restricted`:
its variance is the one under the null value, here the median over drawn sets, and it rejects beyond t with K - 1
degrees of freedom.  Several metrics that must all pass: the probability of an orthant of a multivariate normal
distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import ClusterCodes, Codes
from evalkit.stats.restricted import group_by_cluster, restricted_t

if TYPE_CHECKING:
    import numpy as np

# Images that a plan asks for at most; beyond, the aim is out of reach.
MOST_CLUSTERS = 10_000_000
# Drawn sets that the variance under a null value is taken from.
DRAWN_SETS = 25


# Compared by identity: the arrays of two metrics may be equal.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedRows:
    """The rows of one metric: the numbers of their places in the set, and the number of rows in each of its clusters.

    places: sorted.  sizes: over all clusters of the set, 0 where the metric has no row, so that the arrays of several
    metrics of a set belong together.
    """

    name: str
    places: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.places)

    @property
    def k(self) -> int:
        """Number of clusters that have a row."""
        return int((self.sizes > 0).sum())

    @property
    def effective_clusters(self) -> float:
        """Kish's number of equal clusters, n^2 / sum m_i^2: few where some clusters hold most of the rows."""
        return self.n**2 / float(self.sizes @ self.sizes)

    def design_effect(self, icc: float) -> float:
        """Factor on the variance of the mean, against independent rows."""
        return 1 + icc * (float(self.sizes @ self.sizes) / self.n - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Assumptions about two models and their answers.

    icc: intraclass correlation of the differences within a cluster.  discordance: share of rows on which exactly one
    model is correct.  correlation: of the differences of two metrics on one row.
    """

    icc: float
    discordance: float
    correlation: float = 0.0


def planned_rows(name: str, places: Sequence[int], codes: Codes, k: int) -> PlannedRows:
    """The rows at some places of a set whose rows have the cluster numbers `codes`, 0 to k - 1.

    Raises ConfigError for rows of fewer than two clusters: no variance can be estimated from one.
    """
    import numpy as np

    at = np.unique(np.asarray(places, dtype=np.intp))
    sizes = np.bincount(np.asarray(codes)[at], minlength=k).astype(float)
    rows = PlannedRows(name=name, places=at, sizes=sizes)
    if rows.k < 2:
        raise ConfigError(f"A plan needs rows of at least two images; {name} has {rows.n} rows of {rows.k}.")
    return rows


def equal_clusters(n: int, k: int, name: str = "all") -> PlannedRows:
    """n rows spread over k clusters as evenly as possible.  Raises ConfigError unless 2 <= k <= n."""
    if not 2 <= k <= n:
        raise ConfigError(f"{n} questions on {k} images are not possible: expected from 2 images to one a question.")
    return planned_rows(name, range(n), [place % k for place in range(n)], k)


def standard_error(rows: PlannedRows, given: Assumptions, difference: float = 0.0, growth: float = 1.0) -> float:
    """Standard error of the mean difference; growth: as many times the clusters, with the same rows in each."""
    variance = max(0.0, given.discordance - difference**2)
    return math.sqrt(variance * rows.design_effect(given.icc) / (rows.n * growth))


def half_width(rows: PlannedRows, accuracy: float, icc: float, level: float) -> float:
    """Half the width of the interval of one model's accuracy."""
    error = math.sqrt(accuracy * (1 - accuracy) * rows.design_effect(icc) / rows.n)
    return _critical((1 - level) / 2, rows.k) * error


def difference_power(
    rows: PlannedRows, given: Assumptions, difference: float, alpha: float = 0.05, growth: float = 1.0
) -> float:
    """Probability that a two-sided test at alpha finds a true difference, in its direction.

    Raises ConfigError for a difference above the discordance, which no two models can have.
    """
    if abs(difference) > given.discordance:
        raise ConfigError(
            f"A difference of {abs(difference):g} with a discordance of {given.discordance:g} is not possible: models "
            "differ at most by the share of rows on which exactly one of them is correct. Give a larger discordance=."
        )
    return _normal_share(_reach(rows, given, abs(difference), 0.0, alpha / 2, growth))


def pass_power(
    rows: Sequence[PlannedRows], given: Assumptions, margin: float, alpha: float, loss: float = 0.0, growth: float = 1.0
) -> float:
    """Probability that a candidate passes: of every metric, the lower bound at one-sided alpha is above -margin.

    loss: how much worse the candidate truly is, in every metric.
    """
    import numpy as np
    from scipy.stats import multivariate_normal

    reach = [_reach(r, given, -loss, -margin, alpha, growth) for r in rows]
    if len(rows) == 1:
        return _normal_share(reach[0])
    # A seed, because the integral over more than two dimensions is a quasi-random sum.
    normal = multivariate_normal(cov=correlations(rows, given), allow_singular=True, seed=0)
    return float(np.clip(normal.cdf(np.array(reach)), 0.0, min(map(_normal_share, reach))))


def correlations(rows: Sequence[PlannedRows], given: Assumptions) -> np.ndarray[Any, Any]:
    """Correlation matrix of the mean differences of several metrics of a set.

    Two metrics share the rows that both have, and the images of all their rows.
    """
    import numpy as np

    def covariance(a: PlannedRows, b: PlannedRows) -> float:
        shared = len(np.intersect1d(a.places, b.places, assume_unique=True))
        return ((1 - given.icc) * shared + given.icc * float(a.sizes @ b.sizes)) / (a.n * b.n)

    own = np.eye(len(rows)) * (1 - given.correlation) + given.correlation
    matrix = own * np.array([[covariance(a, b) for b in rows] for a in rows])
    scale = np.sqrt(np.diag(matrix))
    found: np.ndarray[Any, Any] = matrix / np.outer(scale, scale)
    return found


def detectable_difference(rows: PlannedRows, given: Assumptions, power: float, alpha: float = 0.05) -> float | None:
    """The smallest true difference that is found with the power; None where none up to the discordance is."""
    return _smallest(lambda x: difference_power(rows, given, x, alpha), power, given.discordance)


def smallest_joint_margin(
    rows: Sequence[PlannedRows], given: Assumptions, power: float, alpha: float, loss: float = 0.0
) -> float | None:
    """The smallest common margin with which a candidate passes all metrics with the power; None for none below 1."""
    return _smallest(lambda margin: pass_power(rows, given, margin, alpha, loss), power, 1.0)


def needed_growth(power_at: Callable[[float], float], power: float, k: int) -> float | None:
    """The factor by which the images of a set must grow to reach the power, with the rows of each image as they are.

    Args:
        power_at: the power of a set with so many times the images, increasing.
        k: images of the set; the growth is rounded up to whole images, at least 2.

    Returns:
        None where MOST_CLUSTERS images are too few.
    """
    low, high = 1, 2  # images: too few (1 shows no variance), and perhaps enough
    while power_at(high / k) < power:
        low, high = high, high * 2
        if high > MOST_CLUSTERS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle / k) >= power else (middle, high)
    return high / k


def _smallest(power_at: Callable[[float], float], power: float, highest: float) -> float | None:
    """The smallest argument in (0, highest] with the power, for an increasing function; None where there is none."""
    if power_at(highest) < power:
        return None
    low, high = 0.0, highest
    while high - low > 5e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def _critical(tail: float, k: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(1.0, k - 1), 1 - tail))


def _reach(rows: PlannedRows, given: Assumptions, mean: float, null: float, tail: float, growth: float) -> float:
    """Standard errors by which the expected mean is beyond the point where the test rejects the null value below it."""
    error = standard_error(rows, given, mean, growth)
    if not error:
        return math.copysign(40.0, mean - null)
    return (mean - null) / error - _critical(tail, rows.k * growth) * _null_ratio(rows, given, mean, null)


@lru_cache(maxsize=4096)
def _null_ratio(rows: PlannedRows, given: Assumptions, mean: float, null: float) -> float:
    """Ratio of the standard error under the null value to the plain one: its median over drawn sets."""
    import numpy as np

    if abs(mean - null) < 1e-6:
        return 1.0
    up, down = (given.discordance + mean) / 2, (given.discordance - mean) / 2
    ratios = []
    for uniform, codes in _draws(rows, given.icc):
        data = group_by_cluster((uniform < up).astype(float) - (uniform > 1 - down), codes)
        residual = data.totals - data.mean * data.sizes
        plain = math.sqrt(data.k / (data.k - 1) * float(data.counts @ (residual * residual))) / data.n
        if plain:  # the null value at the assumed distance from the drawn mean
            ratios.append((mean - null) / restricted_t(data, data.mean - (mean - null)) / plain)
    return float(np.median(ratios)) if ratios else 1.0


@lru_cache(maxsize=64)
def _draws(rows: PlannedRows, icc: float) -> tuple[tuple[np.ndarray[Any, Any], ClusterCodes], ...]:
    """Uniform numbers of sets of clusters of these sizes, and the clusters.

    A row takes the number of its cluster with the probability sqrt(icc), else one of its own.
    """
    import numpy as np

    sizes = rows.sizes[rows.sizes > 0].astype(np.intp)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWN_SETS):
        takes = rng.random(len(codes)) < math.sqrt(icc)
        uniform = np.where(takes, rng.random(len(sizes))[codes], rng.random(len(codes)))
        found.append((uniform, ClusterCodes(codes, len(sizes))))
    return tuple(found)


def _normal_share(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(z))
