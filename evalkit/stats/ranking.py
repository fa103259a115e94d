"""Ranking with uncertainty: interval of each model's rank, and models not distinguishable from the best."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.core.errors import ConfigError
from evalkit.stats.intervals import LEVEL, cluster_codes, resampled_means
from evalkit.stats.paired import holm, sign_flip_p


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Rank of one model.

    rank: 1 is best; equal values share the better rank.  low, high: interval of the rank under resampling of
    clusters.  p_best: share of resamples in which no model is better.  tied: not significantly different from the
    first.
    """

    name: str
    value: float
    rank: int
    low: int
    high: int
    p_best: float
    tied: bool


def rank_models(
    scores: Mapping[str, Sequence[float]],
    clusters: Sequence[Hashable],
    level: float = LEVEL,
    *,
    higher_is_better: bool = True,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Rank]:
    """Rank models by their mean over the same rows, best first.

    A model is tied with the first if the sign-flip p value of their difference, adjusted by Holm's method over all
    other models, is at least 1 - level.  Raises ConfigError if the models have different numbers of rows, or none.
    """
    import numpy as np

    if len({len(values) for values in scores.values()} | {len(clusters)}) != 1 or not len(clusters):
        raise ConfigError("A ranking needs the values of every model on the same rows, and at least one row.")
    names = list(scores)
    rows = np.asarray([scores[name] for name in names], dtype=float) * (1 if higher_is_better else -1)
    code, k = cluster_codes(clusters, clusters)
    means = rows.mean(axis=1)
    drawn = resampled_means(rows, code, k, resamples, seed)
    ranks = 1 + (drawn[None, :, :] > drawn[:, None, :] + 1e-12).sum(axis=1)
    first = int(means.argmax())
    others = [place for place in range(len(names)) if place != first]
    p_values = holm([sign_flip_p(rows[first].tolist(), rows[other].tolist(), clusters, seed=seed) for other in others])
    tied = {first} | {other for other, p in zip(others, p_values, strict=True) if p >= 1 - level}
    tail = (1 - level) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=1, method="inverted_cdf")
    found = [
        Rank(
            name=name,
            value=float(np.mean(scores[name])),
            rank=1 + int((means > means[place] + 1e-12).sum()),
            low=int(low[place]),
            high=int(high[place]),
            p_best=float((ranks[place] == 1).mean()),
            tied=place in tied,
        )
        for place, name in enumerate(names)
    ]
    return sorted(found, key=lambda rank: (rank.rank, rank.name))
