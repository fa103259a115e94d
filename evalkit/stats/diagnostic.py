"""Measures of a diagnostic test over clustered rows, each with its interval.

Proportions have the interval of `evalkit.stats.mean_interval`.  Functions of the four counts (likelihood ratios,
predictive values at a stated prevalence, balanced accuracy, MCC) have a delta-method interval on a scale without
bounds: logarithm, logit or Fisher's z, t with the degrees of freedom of a mean over the same clusters (K - 1 for equal
ones), the variance from the sums of the first-order influence of the rows of each cluster, at least that of independent
rows.  Predictive values: Mercaldo, Lau and Zhou 2007, Stat. Med. 26:2170, clustered.
Where a count is 0, 0.5 is added to each for the interval (Haldane), with a variance as if whole clusters were added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import cluster_codes, cluster_sums
from evalkit.stats.fraction_interval import FEWEST_CLUSTERS, degrees_of_freedom, t_quantile
from evalkit.stats.intervals import FEW_CLUSTERS, LEVEL, ONE_CLUSTER, Interval, mean_interval


class Counts(NamedTuple):
    """True positives, false negatives, false positives, true negatives; numbers of rows, or these and a half."""

    tp: float
    fn: float
    fp: float
    tn: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure with its 95 % interval; n: the rows that it is over.  why: the reason where a number is missing."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    why: str = ""


def counts_of(gold: Sequence[bool], said: Sequence[bool]) -> Counts:
    """The four counts; gold and said: whether the reference and the answer are yes."""
    pairs = list(zip(gold, said, strict=True))
    return Counts(*(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def diagnostic_measures(
    gold: Sequence[bool], said: Sequence[bool], clusters: Sequence[Hashable], prevalence: float | None = None
) -> list[Measure]:
    """The measures of a test.

    Args:
        gold, said: whether the reference and the answer are yes, one a row.
        clusters: rows of one cluster may be dependent.
        prevalence: share of positives for which `ppv_at` and `npv_at` hold; None: that of the rows.

    Raises:
        ConfigError: the prevalence is not above 0 and below 1.
    """
    n = len(gold)
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(f"prevalence={prevalence:g} is not possible: expected a fraction between 0 and 1.")
    at = prevalence if prevalence is not None else (sum(gold) / n if n else 0.5)
    rows = list(zip(gold, said, clusters, strict=True))
    found = [
        _share("sensitivity", [(s, c) for g, s, c in rows if g]),
        _share("specificity", [(not s, c) for g, s, c in rows if not g]),
        _share("ppv", [(g, c) for g, s, c in rows if s]),
        _share("npv", [(not g, c) for g, s, c in rows if not s]),
        _share("accuracy", [(g == s, c) for g, s, c in rows]),
    ]
    for name, function, scale in (
        ("ppv_at", lambda c: _predictive(at, positive_ratio(c)), LOGIT),
        ("npv_at", lambda c: 1 - _predictive(at, negative_ratio(c)), LOGIT),
        ("lr_positive", positive_ratio, LOG),
        ("lr_negative", negative_ratio, LOG),
        ("balanced_accuracy", balanced_accuracy, LOGIT),
        ("mcc", matthews, FISHER),
    ):
        found.append(_of_counts(name, function, scale, gold, said, clusters))
    return found


def positive_ratio(c: Counts) -> float:
    """Likelihood ratio of a yes: sensitivity / (1 - specificity); infinite without false positives."""
    return _ratio(c.tp / (c.tp + c.fn), c.fp / (c.fp + c.tn))


def negative_ratio(c: Counts) -> float:
    """Likelihood ratio of a no: (1 - sensitivity) / specificity; infinite without true negatives."""
    return _ratio(c.fn / (c.tp + c.fn), c.tn / (c.fp + c.tn))


def balanced_accuracy(c: Counts) -> float:
    """Mean of sensitivity and specificity."""
    return (c.tp / (c.tp + c.fn) + c.tn / (c.fp + c.tn)) / 2


def matthews(c: Counts) -> float:
    """Matthews correlation coefficient of reference and answer; NaN where one of them is always the same."""
    product = (c.tp + c.fn) * (c.fp + c.tn) * (c.tp + c.fp) * (c.fn + c.tn)
    return (c.tp * c.tn - c.fp * c.fn) / math.sqrt(product) if product else math.nan


def _ratio(above: float, below: float) -> float:
    return above / below if below else (math.inf if above else math.nan)


def _predictive(prevalence: float, ratio: float) -> float:
    """Probability of the condition after a result with this likelihood ratio (Bayes)."""
    odds = prevalence / (1 - prevalence) * ratio
    return 1.0 if math.isinf(odds) else odds / (1 + odds)


class _Scale(NamedTuple):
    """A transformation to a scale without bounds, and back."""

    to: Callable[[float], float]
    back: Callable[[float], float]


LOG = _Scale(math.log, math.exp)
LOGIT = _Scale(lambda p: math.log(p / (1 - p)), lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0)
FISHER = _Scale(math.atanh, math.tanh)


def _share(name: str, rows: Sequence[tuple[bool, Hashable]]) -> Measure:
    """The share of hits, of pairs of hit and cluster."""
    if not rows:
        return Measure(name=name, value=None, n=0, why="no such rows")
    values, images = [float(hit) for hit, _ in rows], [image for _, image in rows]
    interval = mean_interval(values, images)
    assert interval is not None, "there are rows"
    return _with_bounds(name, math.fsum(values) / len(values), interval, len(values))


def _of_counts(
    name: str,
    function: Callable[[Counts], float],
    scale: _Scale,
    gold: Sequence[bool],
    said: Sequence[bool],
    clusters: Sequence[Hashable],
) -> Measure:
    """A function of the counts, with its delta-method interval."""
    counts, n = counts_of(gold, said), len(gold)
    if not counts.tp + counts.fn or not counts.fp + counts.tn:
        return Measure(name=name, value=None, n=n, why="needs rows with the reference yes and rows with no")
    value = function(counts)
    if math.isnan(value):
        return Measure(name=name, value=None, n=n, why="undefined: all answers are the same")
    interval = _delta_interval(function, scale, counts, gold, said, clusters)
    if math.isinf(value):
        found = _with_bounds(name, None, Interval(low=interval.low, high=None, method=interval.method), n)
        return Measure(name=name, value=None, low=found.low, n=n, why="infinite: no row of the other kind")
    return _with_bounds(name, value, interval, n)


def _delta_interval(
    function: Callable[[Counts], float],
    scale: _Scale,
    counts: Counts,
    gold: Sequence[bool],
    said: Sequence[bool],
    clusters: Sequence[Hashable],
) -> Interval:
    import numpy as np

    codes, k = cluster_codes(gold, clusters)
    if k < FEWEST_CLUSTERS:
        return Interval(low=None, high=None, method=ONE_CLUSTER if k == 1 else FEW_CLUSTERS)
    added = 0.5 if min(counts) == 0 else 0.0
    at = Counts(*(c + added for c in counts))
    slopes = np.array(_slopes(lambda c: scale.to(function(c)), at))
    cell = np.array([2 * (not g) + (not s) for g, s in zip(gold, said, strict=True)])
    influence = cluster_sums(slopes[cell], codes, k)
    influence, alone = influence - influence.mean(), slopes[cell] - slopes[cell].mean()
    sizes = np.bincount(codes, minlength=k)
    # The variance of a sum whose parts have the weights of the rows: 1 / (1 - w) is K / (K - 1) for equal images.
    clustered = float(np.sum(influence * influence / (1 - sizes / len(gold))))
    # Images whose influences cancel are no evidence of more rows: at least the variance of independent ones.
    shown = max(clustered, len(gold) / (len(gold) - 1) * float(alone @ alone))
    # An added half stands for rows that were not seen; whole clusters of them may be of one kind.
    unseen = added * float(slopes @ slopes) * len(gold) / k
    error = math.sqrt(shown + unseen)
    middle, half = scale.to(function(at)), t_quantile(LEVEL, degrees_of_freedom(sizes)) * error
    low, high = scale.back(middle - half), scale.back(min(middle + half, 700.0))
    if not added:
        return Interval(low=low, high=high, method=f"delta method, {k} clusters")
    value = function(counts)  # the interval of the moved counts is widened to hold what was observed
    low, high = (min(low, value), max(high, value)) if math.isfinite(value) else (low, high)
    return Interval(low=low, high=high, method=f"delta method, {k} clusters, 0.5 added to the counts")


def _slopes(function: Callable[[Counts], float], at: Counts) -> list[float]:
    """Derivatives by central differences; the functions are smooth at counts above 0."""
    found = []
    for place, count in enumerate(at):
        step = 1e-5 * count
        moved = [function(at._replace(**{at._fields[place]: count + sign * step})) for sign in (1, -1)]
        found.append((moved[0] - moved[1]) / (2 * step))
    return found


def _with_bounds(name: str, value: float | None, interval: Interval, n: int) -> Measure:
    missing = "" if interval.low is not None else interval.method
    return Measure(name=name, value=value, low=interval.low, high=interval.high, n=n, why=missing)
