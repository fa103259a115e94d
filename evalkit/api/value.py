"""One number of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.core.format import interval, percent
from evalkit.core.types import MetricValue

Direction = Literal["higher is better", "lower is better"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A metric over a slice, with what must travel with it.

    value, low, high, value_worst_case: fractions, not percentages; low and high bound the 95 % interval.  value is None
    where nothing could be scored.  n counts unscored samples too; value_worst_case, with its own bounds, counts each of
    them as the worst score.  n_effective: Kish's effective number of clusters, None where it is not known.  direction
    is None for a quantity that is neither better nor worse.  signature: see `Signature`; None for judged values without
    one.
    """

    protocol: str
    metric: str
    slice: str = "all"
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_unscored: int
    n_clusters: int
    value_worst_case: float | None
    low_worst_case: float | None = None
    high_worst_case: float | None = None
    n_effective: float | None = None
    direction: Direction | None
    signature: str | None

    @classmethod
    def of(cls, found: MetricValue) -> Value:
        """The value in a run's summary."""
        directions: dict[bool | None, Direction | None] = {
            True: "higher is better",
            False: "lower is better",
            None: None,
        }
        return cls(
            protocol=found.protocol,
            metric=found.metric,
            slice=found.slice,
            value=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            n_unscored=found.n_unscored,
            n_clusters=found.n_clusters,
            value_worst_case=found.value_worst_case,
            low_worst_case=found.low_worst_case,
            high_worst_case=found.high_worst_case,
            n_effective=found.n_effective,
            direction=directions[found.higher_is_better],
            signature=None if found.signature is None else str(found.signature),
        )

    def __float__(self) -> float:
        if self.value is None:
            raise ValueError(f"{self.protocol} {self.metric} ({self.slice}) has no value: {self.n_unscored} unscored")
        return self.value

    def __str__(self) -> str:
        """The value in words, as percent.

        >>> print(Value(protocol="strict", metric="open_recall", value=0.5, low=0.4, high=0.6, n=9, n_unscored=1,
        ...             n_clusters=3, value_worst_case=0.44, direction="higher is better", signature=None))
        strict open_recall: 50.00 % [40.00, 60.00], n 9, 1 unscored
        """
        where = "" if self.slice == "all" else f" ({self.slice})"
        unscored = f", {self.n_unscored} unscored" if self.n_unscored else ""
        bounds = f" {interval(self.low, self.high, effective=self.n_effective)}" if self.low is not None else ""
        return f"{self.protocol} {self.metric}{where}: {percent(self.value)} %{bounds}, n {self.n}{unscored}"
