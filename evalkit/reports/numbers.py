"""Numbers of runs as tables print them: in percent, or in points on a judge's scale."""

from __future__ import annotations

from evalkit.core.format import MISSING, is_few, percent
from evalkit.core.types import MetricValue
from evalkit.judge.metric_definitions import UNIT_INTERVAL, Bounds, metric_bounds


def bounds_of(number: MetricValue) -> Bounds:
    """The lowest and the highest value that a number's metric can have."""
    return metric_bounds(number.metric, number.signature)


def is_in_percent(number: MetricValue) -> bool:
    """Whether a number is shown in percent; scores on a judge's scale are points."""
    return bounds_of(number) == UNIT_INTERVAL or number.metric.startswith("relative")


def value_text(number: MetricValue, value: float | None, digits: int = 2) -> str:
    """A value of a number's metric (its own, a bound, the worst case) as text; – for None."""
    if is_in_percent(number):
        return percent(value, digits)
    return MISSING if value is None else f"{value:.2f}"


def interval_text(number: MetricValue, digits: int = 2) -> str:
    """The interval of a number in brackets; – where it has none."""
    if number.low is None or number.high is None:
        return MISSING
    return f"[{value_text(number, number.low, digits)}, {value_text(number, number.high, digits)}]{few_text(number)}"


def few_text(number: MetricValue) -> str:
    """The effective number of clusters behind an interval, where it is small; else empty."""
    return f" eff {number.n_effective:.1f}" if is_few(number.n_effective) else ""
