"""Answers and their confidence: risk-coverage curve, selective accuracy, calibration.

Risk at a coverage is the mean loss of the most confident answers (El-Yaniv & Wiener 2010, JMLR 11:1605; Geifman &
El-Yaniv 2017, arXiv 1705.08500).  AURC is its mean over the coverages 1/n .. 1 (Geifman, Uziel & El-Yaniv 2019, arXiv
1805.08206).  Answers of equal confidence have no order: every one of them is given their mean loss, which is the
expectation over all their orders.  Expected calibration error: Guo et al. 2017, arXiv 1706.04599, bins of equal width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import Clusters, Values, cluster_codes, finite_numbers
from evalkit.stats.fraction_interval import FEWEST_CLUSTERS, check_level
from evalkit.stats.intervals import ALL_EQUAL, FEW_CLUSTERS, LEVEL, NO_SPREAD, Interval, mean_interval

if TYPE_CHECKING:
    import numpy as np

BINS = 15
# Resamples of clusters for the intervals of AURC and of the calibration error.
RESAMPLES = 1000
# Resampled values that differ by rounding only.
_SAME = 1e-12
SEED = 0


class RiskCurve(NamedTuple):
    """coverage, risk: arrays, one entry a distinct confidence from the highest down; the last coverage is 1."""

    coverage: np.ndarray[Any, Any]
    risk: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The answers of at least a stated coverage: the most confident ones, and all that tie with the last of them.

    coverage: the share of answers reached.  threshold: their lowest confidence.  value: the mean of their scores.
    """

    coverage: float
    n: int
    threshold: float
    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Answers with a confidence above `low`, up to `high`: their number, mean confidence and share of right ones."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def risk_curve(confidence: Values, loss: Values) -> RiskCurve:
    """The risk-coverage curve of n >= 1 answers."""
    import numpy as np

    order, ends = _order(confidence)
    total = np.cumsum(_beside(confidence, loss)[order])[ends]
    return RiskCurve((ends + 1) / len(order), total / (ends + 1))


def aurc(confidence: Values, loss: Values) -> float:
    """Area under the risk-coverage curve; 0 is best.

    >>> aurc([0.9, 0.8, 0.7], [0, 1, 0])
    0.27777777777777773
    """
    import numpy as np

    order, ends = _order(confidence)
    return _aurc(_beside(confidence, loss)[order], ends, np.ones(len(order)))


def excess_aurc(confidence: Values, loss: Values) -> float:
    """AURC above that of the best possible order of the same losses."""

    return aurc(confidence, loss) - aurc(-finite_numbers(loss), loss)


def _order(confidence: Values) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Positions from the highest confidence down, and the places in that order at which a group of equals ends."""
    import numpy as np

    values = finite_numbers(confidence)
    if not len(values):
        raise ConfigError("Selective measures need at least one answer with a confidence; there is none.")
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(values[order][1:] != values[order][:-1], True))
    return order, ends


def _beside(confidence: Values, other: Values) -> np.ndarray[Any, Any]:
    """Numbers of which each answer has one, as it has a confidence.

    Raises:
        ConfigError: there are more or fewer.
    """
    values, n = finite_numbers(other), len(confidence)
    if len(values) != n:
        raise ConfigError(f"{n} confidences but {len(values)} scores or losses: expected one of each an answer.")
    return values


def _probabilities(confidence: Values, right: Values) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Confidences that are probabilities, and whether the answers are right.

    Raises:
        ConfigError: there is no answer, one lacks either, or a confidence is no probability.
    """
    p, y = finite_numbers(confidence), _beside(confidence, right)
    if not len(p):
        raise ConfigError("Calibration needs at least one answer with a confidence; there is none.")
    if (outside := p[(p < 0) | (p > 1)]).size:
        raise ConfigError(
            f"A confidence of {outside[0]:g} is no probability: calibration needs numbers from 0 to 1 (from a "
            "log-probability, its exponential)."
        )
    return p, y


def _aurc(loss: np.ndarray[Any, Any], ends: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> float:
    """AURC of ordered losses with weights (how often each answer is there), equals given their mean loss."""
    import numpy as np

    starts = np.append(0, ends[:-1] + 1)
    sizes, sums = np.add.reduceat(weight, starts), np.add.reduceat(weight * loss, starts)
    mean = np.divide(sums, sizes, out=np.zeros(len(sums)), where=sizes > 0)
    level = np.repeat(mean, np.diff(ends, prepend=-1))
    covered = np.cumsum(weight)
    risk = np.divide(np.cumsum(weight * level), covered, out=np.zeros(len(loss)), where=covered > 0)
    return float(weight @ risk / covered[-1])


def aurc_interval(confidence: Values, loss: Values, clusters: Clusters, level: float = LEVEL) -> Interval:
    """Percentile interval of AURC from resampled clusters; no bounds where all losses are equal."""

    order, ends = _order(confidence)
    ordered = _beside(confidence, loss)[order]
    if (ordered == ordered[0]).all():
        # Every resample has the same value: its zero width would say nothing about other images.
        return Interval(low=None, high=None, method=ALL_EQUAL)
    return _resampled(confidence, clusters, lambda weight: _aurc(ordered, ends, weight[order]), level)


def selected(confidence: Values, score: Values, clusters: Clusters, coverage: float) -> Selected:
    """The mean score of the most confident answers with its interval clustered as given.

    Raises:
        ConfigError: the coverage is not in (0, 1].
    """
    import numpy as np

    if not 0 < coverage <= 1:
        raise ConfigError(f"A coverage of {coverage:g} is not possible; expected a share above 0, at most 1.")
    order, ends = _order(confidence)
    wanted = math.ceil(coverage * len(order) - 1e-9)
    end = int(ends[np.searchsorted(ends, wanted - 1)])
    rows = np.sort(order[: end + 1])
    values = _beside(confidence, score)[rows]
    return Selected(
        coverage=len(rows) / len(order),
        n=len(rows),
        threshold=float(finite_numbers(confidence)[order[end]]),
        value=float(values.mean()),
        interval=mean_interval(values, cluster_codes(confidence, clusters).at(rows)),
    )


def calibration_bins(confidence: Values, right: Values, bins: int = BINS) -> list[CalibrationBin]:
    """The bins of equal width that hold an answer; a bin holds its upper edge and not its lower one, the first both."""
    import numpy as np

    p, y = _probabilities(confidence, right)
    code = _bin_codes(p, bins)
    return [
        CalibrationBin(
            low=k / bins,
            high=(k + 1) / bins,
            n=int((code == k).sum()),
            confidence=float(p[code == k].mean()),
            accuracy=float(y[code == k].mean()),
        )
        for k in np.unique(code).tolist()
    ]


def _bin_codes(confidence: np.ndarray[Any, Any], bins: int) -> np.ndarray[Any, Any]:
    import numpy as np

    if not isinstance(bins, int) or bins < 1:
        raise ConfigError(f"A calibration of {bins} bins is not possible; expected a whole number from 1.")
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)


def calibration_error(confidence: Values, right: Values, bins: int = BINS) -> float:
    """Expected calibration error: the mean over answers of |accuracy - mean confidence| of their bin."""
    import numpy as np

    p, y = _probabilities(confidence, right)
    return _calibration_error(p - y, _bin_codes(p, bins), np.ones(len(p)), bins)


def _calibration_error(
    gap: np.ndarray[Any, Any], code: np.ndarray[Any, Any], weight: np.ndarray[Any, Any], bins: int
) -> float:
    import numpy as np

    return float(np.abs(np.bincount(code, weights=weight * gap, minlength=bins)).sum() / weight.sum())


def calibration_interval(
    confidence: Values, right: Values, clusters: Clusters, bins: int = BINS, level: float = LEVEL
) -> Interval:
    """Percentile interval of the expected calibration error from resampled clusters.

    The error is an absolute value, so that it and its interval lie above 0 also for a calibrated model; the fewer the
    answers of a bin, the higher.
    """

    p, y = _probabilities(confidence, right)
    code = _bin_codes(p, bins)
    return _resampled(p, clusters, lambda weight: _calibration_error(p - y, code, weight, bins), level)


def _resampled(
    values: Values, clusters: Clusters, statistic: Callable[[np.ndarray[Any, Any]], float], level: float
) -> Interval:
    """Percentile interval of a statistic of the rows' weights; a row counts as often as its cluster was drawn.

    It holds the value of the data.  No bounds for fewer than five clusters, whose resamples are few and hold too little
    of the spread, and where all resamples have the same value.
    """
    import numpy as np

    code, k = cluster_codes(values, clusters)
    check_level(level)
    if k < FEWEST_CLUSTERS:
        return Interval(low=None, high=None, method=FEW_CLUSTERS)
    rng = np.random.RandomState(SEED)
    found = [statistic(np.bincount(rng.randint(0, k, k), minlength=k)[code].astype(float)) for _ in range(RESAMPLES)]
    if max(found) - min(found) < _SAME:
        return Interval(low=None, high=None, method=NO_SPREAD)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]).tolist()
    value = statistic(np.ones(len(code)))  # resamples of a biased statistic may all lie on one side of it
    return Interval(
        low=min(low, value),
        high=max(high, value),
        method=f"bootstrap of {k} clusters, percentile, {RESAMPLES} resamples",
    )
