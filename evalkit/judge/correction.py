"""Correction of a judged accuracy for the known errors of the judge.

Rogan and Gladen's estimator with the interval of Lee et al. 2025, "How to correctly report LLM-as-a-judge
evaluations", arXiv 2511.21140: it includes the uncertainty of the judged and of the labelled answers.  For labels of
other answers than the judged ones; with labels of the same answers `prediction_powered` is sharper.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from evalkit.stats import ONE_CLUSTER, Estimate, Interval, cluster_standard_error
from evalkit.stats.fraction_interval import t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedAccuracy:
    """A corrected accuracy, in [0, 1]; `why`: the reason where there is no value or no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


def corrected_accuracy(
    p: float,
    specificity: float,
    sensitivity: float,
    n: float,
    n_wrong: float,
    n_right: float,
    level: float = 0.95,
) -> CorrectedAccuracy:
    """The true accuracy estimated from a judged accuracy `p` over `n` answers.

    Args:
        specificity: share of the wrong answers that the judge rates wrong, over `n_wrong` labelled ones.
        sensitivity: share of the correct answers that the judge rates correct, over `n_right` labelled ones.
        n, n_wrong, n_right: effective numbers of independent answers; need not be integers.
    """
    from scipy.special import ndtri

    if specificity + sensitivity <= 1:
        return CorrectedAccuracy(
            value=None,
            why=f"sensitivity {sensitivity:.2f} and specificity {specificity:.2f} are no better than chance",
        )
    value = _clip((p + specificity - 1) / (specificity + sensitivity - 1))
    z = float(ndtri((1 + level) / 2))
    # Agresti and Coull's smoothing of each proportion, as in the paper.
    ps, n = (n * p + z * z / 2) / (n + z * z), n + z * z
    q0, n_wrong = (n_wrong * specificity + 1) / (n_wrong + 2), n_wrong + 2
    q1, n_right = (n_right * sensitivity + 1) / (n_right + 2), n_right + 2
    gain = q0 + q1 - 1
    if gain <= 0:
        return CorrectedAccuracy(value=value, why="too few labels for an interval")
    theta = (ps + q0 - 1) / gain
    shift = 2 * z * z * (-(1 - theta) * q0 * (1 - q0) / n_wrong + theta * q1 * (1 - q1) / n_right)
    variance = ps * (1 - ps) / n + (1 - theta) ** 2 * q0 * (1 - q0) / n_wrong + theta**2 * q1 * (1 - q1) / n_right
    half = z * math.sqrt(variance) / gain
    low, high = theta + shift - half, theta + shift + half
    if low >= 1 or high <= 0:
        return CorrectedAccuracy(
            value=None,
            why=f"with sensitivity {sensitivity:.2f} and specificity {specificity:.2f} no accuracy gives a share of "
            f"{p:.2f} judged right: the labels are not of answers like these",
        )
    return CorrectedAccuracy(value=value, low=min(value, _clip(low)), high=max(value, _clip(high)))


def effective_size(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Number of independent zeros and ones with the variance of these clustered ones; at most their number.

    Where all values are equal the variance is zero, and the number of clusters is the conservative choice.
    """
    n, k = len(values), len(set(clusters))
    if k < 2 or k == n:
        return float(k)
    p = math.fsum(values) / n
    error = cluster_standard_error(values, clusters)
    if p in (0.0, 1.0) or error == 0:
        return float(k)
    return min(float(n), p * (1 - p) / error**2)


def weighted_share(values: Sequence[float], clusters: Sequence[Hashable], weights: Sequence[float]) -> Estimate:
    """Weighted mean of zeros and ones, with its linearised interval by clusters: logit scale, t with K - 1 degrees.

    At least one zero and one 1; no bounds for a single cluster.
    """
    total = math.fsum(weights)
    p = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total
    sums: dict[Hashable, float] = defaultdict(float)
    for value, cluster, weight in zip(values, clusters, weights, strict=True):
        sums[cluster] += weight * (value - p) / total
    k = len(sums)
    if k < 2:
        return Estimate(p, Interval(low=None, high=None, method=ONE_CLUSTER))
    # Clusters whose deviations cancel are no evidence of more rows: at least the variance of independent ones.
    n, alone = len(values), (w * (v - p) / total for w, v in zip(weights, values, strict=True))
    variance = max(k / (k - 1) * math.fsum(u * u for u in sums.values()), n / (n - 1) * math.fsum(u * u for u in alone))
    error = math.sqrt(variance) / (p * (1 - p))
    middle, half = math.log(p / (1 - p)), t_quantile(0.95, k - 1) * error
    low, high = (1 / (1 + math.exp(-min(700.0, max(-700.0, x)))) for x in (middle - half, middle + half))
    return Estimate(p, Interval(low=low, high=high, method=f"weighted, {k} clusters"))


def _clip(value: float) -> float:
    return max(0.0, min(1.0, value))
