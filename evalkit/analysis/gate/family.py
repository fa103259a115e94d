"""The family of metrics that a gate decides by default, and the chance that an equal candidate passes them all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis.paired import ASSUMED_DISCORDANCE
from evalkit.analysis.run_scores import RunScores
from evalkit.core.types import MetricKey
from evalkit.stats import effective_clusters

if TYPE_CHECKING:
    import numpy as np

# Metrics of two protocols whose scores are correlated like this over the same rows are copies: a second one adds no
# question, and makes the adjustment of p values harder on all.  A share of equal scores would not do: where almost all
# answers are right, any two metrics are equal on almost all rows.
COPY = 0.9
# A judge's scores are a measurement of their own, and are never a copy.
JUDGED = "judge:"
# The protocol without known faults.
PREFERRED = "strict"


def near_copies(run: RunScores, keys: Sequence[MetricKey]) -> dict[MetricKey, MetricKey]:
    """The metrics with nearly the scores of one of another protocol over the same rows, each with the one that stays.

    Of copies the one of PREFERRED stays, else the first.
    """
    import numpy as np

    kept: list[MetricKey] = []
    copies: dict[MetricKey, MetricKey] = {}
    for key in sorted(keys, key=lambda key: key.protocol != PREFERRED):
        if key not in run.columns:  # refused; the gate says why
            continue
        if key.protocol.startswith(JUDGED):
            continue
        column = run.columns[key]
        for earlier in kept:
            other = run.columns[earlier]
            same_rows = column.n == other.n and np.array_equal(run.rows(key), run.rows(earlier))
            if key.protocol == earlier.protocol or not same_rows or column.higher_is_better != other.higher_is_better:
                continue
            if column.n and _correlation(column.worst_case(), other.worst_case()) >= COPY:
                copies[key] = earlier
                break
        else:
            kept.append(key)
    return copies


def _correlation(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """Pearson's correlation; 1 for equal scores, also where they do not vary, and 0 where only one varies."""
    import numpy as np

    if np.allclose(one, two, rtol=0, atol=1e-9):
        return 1.0
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


class JointChance(NamedTuple):
    """The chance that an equal candidate passes every metric: if they were independent, and if they went together."""

    independent: float
    together: float

    @property
    def text(self) -> str:
        """Both in percent, or one where they print the same.

        >>> JointChance(0.226, 0.61).text, JointChance(0.8, 0.8).text
        ('23 to 61 %', '80 %')
        """
        low, high = f"{100 * self.independent:.0f}", f"{100 * self.together:.0f}"
        return f"{low} %" if low == high else f"{low} to {high} %"


def pass_chance(n: int, margin: float, level: float, discordance: float = ASSUMED_DISCORDANCE) -> float:
    """The chance that an equal candidate passes one metric over n independent rows: normal approximation.

    level: of the bound that decides.

    >>> round(pass_chance(451, 0.04, 0.035), 2)
    0.81
    """
    standard = NormalDist()
    return standard.cdf(margin / math.sqrt(discordance / n) - standard.inv_cdf(1 - level))


def joint_chance(
    baselines: Sequence[RunScores],
    metrics: Sequence[Sequence[MetricKey]],
    margin_of: Mapping[MetricKey, float],
    level: float,
) -> JointChance:
    """The chance that a candidate that is equal to every baseline passes all of its metrics."""
    chances = [
        pass_chance(n, margin_of[key], level)
        for baseline, keys in zip(baselines, metrics, strict=True)
        for key in keys
        if key in baseline.columns and (n := len(baseline.rows(key)))
    ]
    return JointChance(math.prod(chances), min(chances, default=1.0))


def whole_loss_chance(run: RunScores, key: MetricKey, margin: float) -> float:
    """A rough chance that a candidate passes which loses whole clusters, the margin in all, and nothing else.

    (1 - margin)^K, K the effective number of clusters: that of losing none that carries weight.  benchmarks/results/
    gate-limits.json has simulated ones.

    >>> round((1 - 0.02) ** 88, 2)  # SLAKE, all rows; simulated: 0.14
    0.17
    """
    import numpy as np

    sizes = list(Counter(run.image_ids[k] for k in run.rows(key)).values())
    return float((1 - margin) ** effective_clusters(np.array(sizes))) if sizes else 0.0
