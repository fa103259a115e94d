"""Ranking with uncertainty: simultaneous intervals of all ranks, and the models that may be the best.

Every pair of models is compared at once: the error is that any of the intervals is wrong.  References: Al Mohamad,
van Zwet & Goeman 2017, arXiv 1708.02729, and Mogstad, Romano, Shaikh & Wilhelm 2023, doi 10.1093/restud/rdad006 (ranks
from simultaneous comparisons of all pairs); Hansen, Lunde & Nason 2011, Econometrica 79:453 (the set of models of which
none is worse than another).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import Codes, cluster_codes, cluster_sums, finite_numbers
from evalkit.stats.differences import different_pairs
from evalkit.stats.fraction_interval import check_level
from evalkit.stats.intervals import LEVEL, resampled_weights

if TYPE_CHECKING:
    import numpy as np

# Resampled means that are ranked at a time.
_BLOCK = 1 << 21
# Two means this close are equal: they differ by rounding only.
_EQUAL = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Rank of one model.

    rank: 1 is best; equal values share the better rank.  low, high: simultaneous interval of the rank: one more than
    the models that are significantly better, and as many as are not significantly worse.  p_best: share of resamples of
    clusters in which no model is better, NaN without resamples.  tied: no model is significantly better.
    """

    name: str
    value: float
    rank: int
    low: int
    high: int
    p_best: float
    tied: bool


def rank_models(
    scores: Mapping[str, Sequence[float] | np.ndarray[Any, Any]],
    clusters: Sequence[Hashable],
    level: float = LEVEL,
    *,
    higher_is_better: bool = True,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Rank]:
    """Rank models by their mean over the same rows, best first.

    With probability `level` no pair of equal models is called different, over all pairs (`different_pairs`), so that
    all intervals of ranks hold together.  Raises ConfigError if the models have different numbers of rows, or none, or
    a score is no finite number.

    Args:
        resamples: for `p_best` alone, and of thousands of models most of the time; 0 where it is not used.
    """
    import numpy as np

    check_level(level)
    if len({len(values) for values in scores.values()} | {len(clusters)}) != 1 or not len(clusters):
        raise ConfigError("A ranking needs the values of every model on the same rows, and at least one row.")
    names = list(scores)
    numbers = np.stack([finite_numbers(scores[name]) for name in names])
    rows = numbers * (1 if higher_is_better else -1)
    code, k = cluster_codes(clusters, clusters)
    means = rows.mean(axis=1)
    best = (_resampled_ranks(rows, code, k, resamples, seed) == 1).mean(axis=1) if resamples else [math.nan] * len(rows)
    sums = np.stack([cluster_sums(row, code, k) for row in rows])
    better, worse = different_pairs(sums, level, seed=seed)
    found = [
        Rank(
            name=name,
            value=float(numbers[place].mean()),
            rank=1 + int((means > means[place] + 1e-12).sum()),
            low=1 + int(better[place]),
            high=len(names) - int(worse[place]),
            p_best=float(best[place]),
            tied=not better[place],
        )
        for place, name in enumerate(names)
    ]
    return sorted(found, key=lambda rank: (rank.rank, rank.name))


def _resampled_ranks(
    rows: np.ndarray[Any, Any], code: Codes, k: int, resamples: int, seed: int
) -> np.ndarray[Any, Any]:
    """The rank of each model in each bootstrap resample of the clusters, shape (models, resamples).

    A rank is 1 and the number of models with a higher mean.  Comparing every pair of models would need memory and time
    with the square of their number; here each resample is sorted, or counted where the scores are whole numbers.
    """
    import numpy as np

    sums = np.stack([cluster_sums(row, code, k) for row in rows])
    sizes = np.bincount(code, minlength=k).astype(float)
    whole = bool((sums == np.rint(sums)).all())
    ranks = np.empty((resamples, len(rows)), dtype=np.int16 if len(rows) < 1 << 15 else np.int32)
    size, done = max(1, _BLOCK // len(rows)), 0
    for weights in resampled_weights(k, resamples, seed):
        for start in range(0, len(weights), size):
            part = weights[start : start + size]
            drawn = part @ sums.T
            ranked = ranks[done : done + len(part)]
            if whole:
                _rank_whole(drawn, ranked)
            else:
                _rank_means(drawn / (part @ sizes)[:, None], ranked)
            done += len(part)
    return np.ascontiguousarray(ranks.T)


def _rank_means(drawn: np.ndarray[Any, Any], ranks: np.ndarray[Any, Any]) -> None:
    """Rank the means of each resample, a row each, into `ranks`; means within _EQUAL share a rank."""
    import numpy as np

    for place, (means, order) in enumerate(zip(drawn, np.argsort(drawn, axis=1), strict=True)):
        ordered = means[order]
        limits = ordered + _EQUAL
        reached = np.arange(1, len(means) + 1)  # how many means are not above each; most equal no other one
        equal = np.flatnonzero(ordered[1:] <= limits[:-1])
        reached[equal] = ordered.searchsorted(limits[equal], side="right")
        ranks[place, order] = len(means) + 1 - reached


def _rank_whole(drawn: np.ndarray[Any, Any], ranks: np.ndarray[Any, Any]) -> None:
    """Rank sums that are whole numbers, a resample a row, into `ranks`, by counting how many models have each sum."""
    import numpy as np

    lowest = drawn.min(axis=1, keepdims=True)
    for place, sums in enumerate((drawn - lowest).astype(np.int64)):
        reached = np.bincount(sums).cumsum()
        ranks[place] = len(sums) + 1 - reached[sums]
