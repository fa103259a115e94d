"""Methods that the tests and benchmarks compare the package's statistics with, and that the package does not use."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.stats.intervals import Interval, cluster_codes, resampled_means


def bootstrap_interval(
    values: Sequence[float], clusters: Sequence[Hashable], *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """95 % percentile interval of the mean from resampling whole clusters with replacement."""
    code, k = cluster_codes(values, clusters)
    means = resampled_means(np.asarray(values, dtype=float)[None, :], code, k, resamples, seed)[0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(low=float(low), high=float(high), method=f"cluster bootstrap, {k} clusters, {resamples} resamples")


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Counts of correct answers of two models on the same rows, and the exact two-sided p value of the test."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float


def mcnemar(first: Sequence[float], second: Sequence[float]) -> McNemar:
    """McNemar's exact test for values of 0 and 1; it assumes independent rows."""
    from scipy.special import bdtr

    cells = [
        sum((a, b) == cell for a, b in zip(first, second, strict=True))
        for cell in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    ]
    discordant = cells[1] + cells[2]
    p = min(1.0, 2 * float(bdtr(min(cells[1], cells[2]), discordant, 0.5))) if discordant else 1.0
    return McNemar(both=cells[0], only_first=cells[1], only_second=cells[2], neither=cells[3], p=p)
