"""Paired comparison of two models on the same rows: differences, tests, and minimum detectable effects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import Clusters, Values, cluster_codes, finite_numbers
from evalkit.stats.intervals import LEVEL, Interval, mean_interval

if TYPE_CHECKING:
    import numpy as np

# Pairs that are tested at a time.
_PAIRS = 256
# Signs that are multiplied at a time: so many stay in a processor's cache.
_SIGNS = 200_000
_PERMUTATIONS = 10_000
# The least p value of random patterns: the observed one among them.
PERMUTATION_FLOOR = 1 / (_PERMUTATIONS + 1)
_EXACT_UP_TO = 13  # clusters with a difference; 2^13 sign patterns are fewer than the 10,000 random ones


def paired_interval(first: Values, second: Values, clusters: Clusters, level: float = LEVEL) -> Interval | None:
    """Interval of mean(second) - mean(first) for values in [0, 1] on the same rows; None for no rows.

    Cluster-robust, with t.  If no row differs, the variance is uninformative: the share of rows that may differ is then
    bounded as in `mean_interval` for all-zero values, and the interval extends that far in both directions.
    """
    differences = _differences(first, second)
    if not differences.any():
        bound = mean_interval(differences, clusters, level)
        if bound is None or bound.high is None:
            return bound
        return Interval(low=-bound.high, high=bound.high, method=f"{bound.method}, no row differs")
    found = mean_interval(differences, clusters, level, bounded=False)
    if found is None or found.low is None or found.high is None:
        return found
    return Interval(low=max(-1.0, found.low), high=min(1.0, found.high), method=found.method)


def sign_flip_p(
    first: Values,
    second: Values,
    clusters: Clusters,
    *,
    permutations: int = _PERMUTATIONS,
    seed: int = 0,
) -> float:
    """Two-sided p value of the hypothesis that the models are interchangeable within every cluster (sign-flip test).

    The signs of whole clusters are flipped: exact over all sign patterns for up to 13 clusters with a difference, else
    from seeded random patterns plus the observed one.  1.0 if no row differs.
    """
    import numpy as np

    code, k = cluster_codes(first, clusters)
    sums = np.bincount(code, weights=_differences(first, second), minlength=k) if k else np.zeros(0)
    return sign_flip_p_of_sums([sums], permutations=permutations, seed=seed)[0]


def sign_flip_p_values(
    first: np.ndarray[Any, Any],
    others: np.ndarray[Any, Any],
    clusters: Clusters,
    *,
    permutations: int = _PERMUTATIONS,
    seed: int = 0,
) -> list[float]:
    """`sign_flip_p` of a model against each of several others, of shape (models, rows)."""
    import numpy as np

    code, k = cluster_codes(first, clusters)
    sums = (np.bincount(code, weights=other - first, minlength=k) if k else np.zeros(0) for other in others)
    return sign_flip_p_of_sums(sums, permutations=permutations, seed=seed)


def sign_flip_p_of_sums(
    differences: Iterable[np.ndarray[Any, Any]], *, permutations: int = _PERMUTATIONS, seed: int = 0
) -> list[float]:
    """`sign_flip_p` of several pairs at once, each given by the sum of its differences in each cluster."""
    import numpy as np

    by_size: dict[int, list[tuple[int, np.ndarray[Any, Any]]]] = {}
    p_values: list[float] = []
    for place, of_pair in enumerate(differences):
        p_values.append(1.0)
        sums = of_pair[np.abs(of_pair) > 1e-12]
        if len(sums):
            by_size.setdefault(len(sums), []).append((place, sums))
    for size, found in by_size.items():
        # Pairs with as many clusters that differ share their patterns.
        for start in range(0, len(found), _PAIRS):
            part = found[start : start + _PAIRS]
            matrix = np.stack([sums for _, sums in part])
            observed = np.abs(matrix.sum(axis=1)) - 1e-9
            # Sums of whole numbers of this size are exact in half the memory.
            whole = (matrix == np.rint(matrix)).all() and np.abs(matrix).sum(axis=1).max() < 1 << 23
            kind = np.float32 if whole else np.float64
            weights: np.ndarray[Any, Any] = np.ascontiguousarray(matrix.T, dtype=kind)
            totals = matrix.sum(axis=1).astype(kind)
            extreme, n = np.zeros(len(part), dtype=int), 0
            step = max(1, _SIGNS // size)
            for flips in _sign_patterns(size, permutations, seed):
                for first_row in range(0, len(flips), step):
                    signs = flips[first_row : first_row + step].astype(kind)
                    # For whole numbers the shorter way is exact too.
                    sums = 2 * (signs @ weights) - totals if whole else (2 * signs - 1) @ weights
                    extreme += np.sum(np.abs(sums) >= observed, axis=0)
                n += len(flips)
            for (place, _), count in zip(part, extreme.tolist(), strict=True):
                p_values[place] = count / n if size <= _EXACT_UP_TO else (1 + count) / (1 + n)
    return p_values


def _sign_patterns(size: int, permutations: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Blocks of shape (patterns, size), 1 for +, 0 for -: all patterns for few clusters, else seeded random ones."""
    import numpy as np

    if size <= _EXACT_UP_TO:
        yield (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.uint8)
        return
    rng = np.random.default_rng(seed)
    step = max(1, 4_000_000 // size)
    for start in range(0, permutations, step):
        shape = min(step, permutations - start), size
        # The numbers of `rng.integers(0, 2, shape, dtype=np.int8)`, which published p values come from, in less time.
        yield (np.frombuffer(rng.bytes(shape[0] * shape[1]), dtype=np.uint8) >> 7).reshape(shape)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, largest)
    return adjusted


def paired_minimum_detectable_effect(
    n: int, discordance: float, *, design_effect: float = 1.0, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> float:
    """The smallest true difference that a paired comparison of n rows detects with the given power.

    discordance: the share of rows on which exactly one of the models is correct.  With sides=1 the result is the
    smallest margin that a non-inferiority test at alpha can certify for two equal models.
    """
    return _z_sum(alpha / sides, power) * math.sqrt(discordance * design_effect / n)


def unpaired_minimum_detectable_effect(
    n: int, p: float, *, design_effect: float = 1.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Minimum detectable effect for two models on n different rows each, both with an accuracy near p."""
    return _z_sum(alpha / 2, power) * math.sqrt(2 * p * (1 - p) * design_effect / n)


def _z_sum(tail: float, power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(1 - tail) + ndtri(power))


def _differences(first: Values, second: Values) -> np.ndarray[Any, Any]:
    if len(first) != len(second):
        raise ConfigError(f"A paired comparison needs the same rows: {len(first)} values against {len(second)}.")
    found: np.ndarray[Any, Any] = finite_numbers(second) - finite_numbers(first)
    return found
