"""Definitions of the judged metrics: the score of one answer, its direction, and how scores become one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.signature import Signature
from evalkit.judge.closed_rules import ONCE, TWICE
from evalkit.judge.config import CANDIDATE_FIRST, REFEREE, REFERENCE_FIRST, RELATIVE
from evalkit.judge.items import ItemResult, preference
from evalkit.judge.parse_response import HIGHEST, LOWEST
from evalkit.stats import Interval, mean_interval


class Bounds(NamedTuple):
    """The lowest and the highest score of a sample in a metric; None: no bound."""

    low: float | None
    high: float | None


UNIT_INTERVAL = Bounds(0.0, 1.0)
# Judged metrics outside of the unit interval.
_BOUNDS: Mapping[str, Bounds] = {
    "relative_score": Bounds(0.0, HIGHEST / LOWEST),
    "relative_score_ratio_of_means": Bounds(0.0, HIGHEST / LOWEST),
    "reference_score": Bounds(float(LOWEST), float(HIGHEST)),
    "candidate_score": Bounds(float(LOWEST), float(HIGHEST)),
    "order_effect": Bounds(None, None),
    "accuracy_counted_twice": Bounds(0.0, 2.0),
}


def metric_bounds(metric: str, signature: Signature | None) -> Bounds:
    """The range of a metric, judged or not.  Scores are fractions, unless its signature names `unbounded_mean`."""
    if signature is not None and signature.get("aggregate") == "unbounded_mean":
        return Bounds(None, None)
    return _BOUNDS.get(metric.partition(".")[0], UNIT_INTERVAL)  # "relative_score.pass@4" has its metric's range


class Estimate(NamedTuple):
    """A value with its interval; both None without samples."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedMetric:
    """A judged metric.

    score: the score of one judged answer, whose mean is the metric; None for the ratio of means.  bounded: scores are
    in 0 to 1, so the interval is clipped to that range.  higher_is_better: None for a quantity that is neither better
    nor worse.  has_worst_case: an answer without a score counts as 0 in the worst case.
    """

    name: str
    score: Callable[[ItemResult], float] | None
    bounded: bool
    higher_is_better: bool | None
    has_worst_case: bool = False

    @property
    def is_comparable(self) -> bool:
        """Whether runs can be compared by it: a higher-is-better mean of one score a sample."""
        return self.score is not None and self.higher_is_better is True

    def estimate(self, items: Sequence[ItemResult]) -> Estimate:
        """Value and interval over judged answers, clustered by image."""
        if not items:
            return Estimate(None, None)
        clusters = [item.image_id for item in items]
        if self.score is None:
            return ratio_of_means(items, clusters)
        values = [self.score(item) for item in items]
        return Estimate(math.fsum(values) / len(values), mean_interval(values, clusters, bounded=self.bounded))


def ratio_of_means(items: Sequence[ItemResult], clusters: Sequence[Hashable]) -> Estimate:
    """Sum of candidate scores over sum of reference scores; interval by linearisation (delta method)."""
    total = math.fsum(item.reference for item in items)
    ratio = math.fsum(item.candidate for item in items) / total
    mean = total / len(items)
    linear = [ratio + (item.candidate - ratio * item.reference) / mean for item in items]
    return Estimate(ratio, mean_interval(linear, clusters, bounded=False))


def relative_score(item: ItemResult) -> float:
    """Candidate score over reference score."""
    return item.candidate / item.reference


def reference_points(item: ItemResult) -> float:
    """Score of the reference; for correctness and a referee: 1 where the answer is correct."""
    return item.reference


def candidate_points(item: ItemResult) -> float:
    """Score of the candidate; for correctness: the credit."""
    return item.candidate


def win(item: ItemResult) -> float:
    """1 where the candidate is preferred to the reference, 0.5 for a tie, 0 else; mean over the orders."""
    return math.fsum((preference(p) + 1) / 2 for p in item.points.values()) / len(item.points)


def preference_flips(item: ItemResult) -> float:
    """1 where the preference changes with the presentation order."""
    return float(preference(item.points[REFERENCE_FIRST]) != preference(item.points[CANDIDATE_FIRST]))


def first_position_gain(item: ItemResult) -> float:
    """Points that an answer gains over the other one by being presented first."""
    one, two = item.points[REFERENCE_FIRST], item.points[CANDIDATE_FIRST]
    return ((one.reference - one.candidate) - (two.reference - two.candidate)) / 2


def credit_flips(item: ItemResult) -> float:
    """1 where the credit changes with the presentation order."""
    one, two = item.points[REFERENCE_FIRST], item.points[CANDIDATE_FIRST]
    return float(abs(one.candidate - two.candidate) > 1e-9)


def credit_gain(item: ItemResult) -> float:
    """Credit that an answer gains when the reference is presented first."""
    return item.points[REFERENCE_FIRST].candidate - item.points[CANDIDATE_FIRST].candidate


RELATIVE_METRICS = (
    JudgedMetric(name="relative_score", score=relative_score, bounded=False, higher_is_better=True),
    JudgedMetric(name="relative_score_ratio_of_means", score=None, bounded=False, higher_is_better=True),
    JudgedMetric(name="reference_score", score=reference_points, bounded=False, higher_is_better=None),
    JudgedMetric(name="candidate_score", score=candidate_points, bounded=False, higher_is_better=True),
    JudgedMetric(name="win_rate", score=win, bounded=True, higher_is_better=True),
)
RELATIVE_SWAP_METRICS = (
    JudgedMetric(name="flip_rate", score=preference_flips, bounded=True, higher_is_better=False),
    JudgedMetric(name="order_effect", score=first_position_gain, bounded=False, higher_is_better=None),
)
CORRECTNESS_METRICS = (
    JudgedMetric(
        name="judged_accuracy", score=reference_points, bounded=True, higher_is_better=True, has_worst_case=True
    ),
    JudgedMetric(
        name="judged_credit", score=candidate_points, bounded=True, higher_is_better=True, has_worst_case=True
    ),
)
REFEREE_METRICS = (
    JudgedMetric(
        name="choice_accuracy", score=reference_points, bounded=True, higher_is_better=True, has_worst_case=True
    ),
)
CORRECTNESS_SWAP_METRICS = (
    JudgedMetric(name="flip_rate", score=credit_flips, bounded=True, higher_is_better=False),
    JudgedMetric(name="order_effect", score=credit_gain, bounded=False, higher_is_better=None),
)


# Of a judge that counts closed rows twice, as a fault of its authors' code: not a share, and up to 2 a row.
COUNTED_TWICE_METRICS = (
    JudgedMetric(name="accuracy_counted_twice", score=reference_points, bounded=False, higher_is_better=True),
)


def metrics_of(judged: str, order: str, counting: str = ONCE) -> tuple[JudgedMetric, ...]:
    """The metrics of a judged task ("relative", "correctness", "referee"); with order "swap" those of position bias.

    counting: of closed rows, see `evalkit.judge.closed_rules`.
    """
    if counting == TWICE:
        return COUNTED_TWICE_METRICS
    if judged == REFEREE:
        return REFEREE_METRICS
    if judged == RELATIVE:
        return RELATIVE_METRICS + (RELATIVE_SWAP_METRICS if order == "swap" else ())
    return CORRECTNESS_METRICS + (CORRECTNESS_SWAP_METRICS if order == "swap" else ())
