"""How far the values of a column lie apart: by protocol, and by which questions were drawn.

Every protocol scores the same answers, so their values share most of the sampling error.  With the clustered covariance
matrix C of the P values, a common error cancels in their variance:

    protocol variance = variance of the P values - (mean of the diagonal of C - mean of the rest of C)
    sampling variance = mean of the diagonal of C
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.stats import ClusterCodes, Interval, cluster_sums
from evalkit.stats.fraction_interval import t_quantile
from evalkit.stats.intervals import LEVEL

if TYPE_CHECKING:
    import numpy as np

# Below this a difference has no sampling error to speak of: no answer is treated differently.
_NONE = 1e-12


class Components(NamedTuple):
    """Standard deviations of a column's values, as fractions, over n_protocols that differ."""

    protocol: float
    sampling: float
    n_protocols: int


def influences(levels: Sequence[float | None], images: ClusterCodes) -> np.ndarray[Any, Any] | None:
    """The influence of each image on the mean of the scores of a protocol, shape (k,); None without scores.

    levels: of each sample, None where it is not counted.
    """
    import numpy as np

    counted = np.array([v is not None for v in levels])
    if not counted.any():
        return None
    values = np.array([v or 0.0 for v in levels])
    mean = values[counted].mean()
    return cluster_sums(np.where(counted, values - mean, 0.0) / counted.sum(), images.code, images.k)


def difference_interval(
    first: np.ndarray[Any, Any] | None, second: np.ndarray[Any, Any] | None, difference: float
) -> Interval | None:
    """The interval of the difference of two protocols' values; None where it has no sampling error."""
    if first is None or second is None or len(first) < 2:
        return None
    step, k = second - first, len(first)
    error = math.sqrt(k / (k - 1) * float(step @ step))
    if error < _NONE:
        return None
    half = t_quantile(LEVEL, k - 1) * error
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return Interval(low=low, high=high, method=f"cluster-robust t, {k} clusters")


def components(values: Mapping[str, float], of: Mapping[str, np.ndarray[Any, Any] | None]) -> Components | None:
    """The components of a column; None for fewer than two protocols or a single image."""
    import numpy as np

    found = {name: of[name] for name in values if of[name] is not None}
    if len(found) < 2:
        return None
    matrix = np.stack([row for row in found.values() if row is not None])
    p, k = matrix.shape
    if k < 2:
        return None
    covariance = k / (k - 1) * matrix @ matrix.T
    sampling = float(np.trace(covariance)) / p
    shared = float(covariance.sum() - np.trace(covariance)) / (p * (p - 1))
    observed = float(np.var([values[name] for name in found], ddof=1))
    return Components(math.sqrt(max(0.0, observed - (sampling - shared))), math.sqrt(sampling), p)
