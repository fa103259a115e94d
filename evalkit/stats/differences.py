"""Tests of all pairs of several models at once, with one error rate for all of them (max-T test by sign flips).

If all models are equal and interchangeable within every cluster, flipping the sign of whole clusters changes nothing.
The statistic of a pair is its difference over the root of the sum of its squared cluster differences, which no flip
changes; the critical value is the quantile of the largest statistic of any pair (Westfall & Young 1993,
Resampling-based Multiple Testing, chapter 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_FLIPS = 4_000
# Above so many models the quantile is Bonferroni's: it would need minutes.
MOST_MODELS = 100
# Pairs times flips that are compared at a time.
_BLOCK = 1 << 22


class Different(NamedTuple):
    """Of each model, how many others are significantly better, and how many significantly worse."""

    better: np.ndarray[Any, Any]
    worse: np.ndarray[Any, Any]


def different_pairs(sums: np.ndarray[Any, Any], level: float, *, flips: int = _FLIPS, seed: int = 0) -> Different:
    """The significant differences among models by their scores' sums in each cluster, shape (models, clusters)."""
    import numpy as np

    m, k = sums.shape
    centred = sums - sums.mean(axis=0)
    totals, squares = centred.sum(axis=1), centred @ centred.T
    own = np.diag(squares)
    spread = np.sqrt(np.maximum(own[:, None] + own[None] - 2 * squares, 0.0))
    # Pairs whose scores are the same differ by rounding only.
    spread[spread < 1e-9 * max(1.0, float(np.abs(centred).max(initial=0.0)))] = math.inf
    statistic = (totals[:, None] - totals[None]) / spread
    critical = _critical(centred, spread, level, flips, seed) if m <= MOST_MODELS else _bonferroni(m, k, level)
    return Different(better=(statistic < -critical).sum(axis=1), worse=(statistic > critical).sum(axis=1))


def _critical(
    centred: np.ndarray[Any, Any], spread: np.ndarray[Any, Any], level: float, flips: int, seed: int
) -> float:
    """The quantile of the largest statistic of any pair under sign flips, the observed one among them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    one, two = np.triu_indices(len(centred), 1)
    scale = 1 / spread[one, two]
    if not len(one):
        return math.inf
    step = max(1, _BLOCK // len(one))
    signs = (rng.integers(0, 2, size=(min(step, flips - start), centred.shape[1])) for start in range(0, flips, step))
    largest = [np.abs((centred.sum(axis=1)[one] - centred.sum(axis=1)[two]) * scale).max(keepdims=True)]
    for drawn in signs:
        flipped = (2.0 * drawn - 1.0) @ centred.T
        largest.append(np.abs((flipped[:, one] - flipped[:, two]) * scale).max(axis=1))
    # Equal values are not above the critical one, so that a pattern that is as extreme as the observed one counts.
    return float(np.quantile(np.concatenate(largest), level, method="higher")) * (1 + 1e-9)


def _bonferroni(models: int, clusters: int, level: float) -> float:
    """The same by Bonferroni's inequality over all pairs, from t with K - 1 degrees of freedom.

    With x = difference / root of the sum of squares, t = x sqrt(K - 1) / sqrt(K - x^2).
    """
    from scipy.special import stdtrit

    if clusters < 2:
        return math.inf
    pairs = models * (models - 1) / 2
    t = float(stdtrit(clusters - 1, 1 - (1 - level) / (2 * pairs)))
    return t * math.sqrt(clusters / (clusters - 1 + t * t))
