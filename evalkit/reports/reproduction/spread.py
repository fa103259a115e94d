"""The spread of re-decoding: how far a number moves when the answers are drawn again, under other seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from statistics import stdev
from typing import NamedTuple

from evalkit.core.types import MetricKey
from evalkit.published import Figure
from evalkit.runs.schema import Summary
from evalkit.tasks.draws import task_without_draws

# The seed in the decoding settings of a signature.
_SEED = re.compile(r"\.seed-?\d+")


class Spread(NamedTuple):
    """The values of a figure's metric under several seeds, fractions; origin: "draws" of one run, or its "seeds"."""

    values: tuple[float, ...]
    origin: str

    def text(self, figure: Figure) -> str:
        """The spread in the paper's unit."""
        shown = f"{figure.prints(min(self.values))} to {figure.prints(max(self.values))}"
        return (
            f"re-decoding gives {shown} (sd {figure.scale * stdev(self.values):.2f}, {len(self.values)} {self.origin})"
        )

    def holds(self, figure: Figure) -> bool:
        """Whether the published value is in the range of the values, within the rounding of its digits."""
        rounding = float(Decimal(5).scaleb(-figure.decimals - 1)) / figure.scale
        return min(self.values) - rounding <= figure.fraction <= max(self.values) + rounding


def draws_of(run: Summary) -> int:
    """The number of answers that a run has drawn of each sample."""
    return int((run.sanity_checks.get("draws") or {}).get("n", 1))


def spread_of(run: Summary, figure: Figure, runs: Sequence[Summary]) -> Spread | None:
    """The spread of a run's value: between its own draws, or between runs that differ in the seed alone; else None."""
    key = MetricKey(figure.protocol, figure.metric)
    if draws_of(run) > 1:
        entries = run.sanity_checks["draws"]["metrics"] if figure.slice == "all" else ()
        listed = [e["draws"] for e in entries if (e["protocol"], e["metric"]) == tuple(key)]
        return Spread(tuple(listed[0]), "draws") if listed and len(listed[0]) > 1 else None
    same = [other for other in runs if _differs_in_seed_alone(run, other)]
    named = (other.find(*key, figure.slice) for other in same)
    values = [value.value for value in named if value is not None and value.value is not None]
    return Spread(tuple(values), "seeds") if len(values) > 1 else None


def _differs_in_seed_alone(run: Summary, other: Summary) -> bool:
    """Whether two runs sample the same model on the same rows, whatever the seed; a run and itself too."""

    def content(summary: Summary) -> tuple[object, ...]:
        s = summary
        decoding = _SEED.sub("", s.generation)
        return (s.model, task_without_draws(s.task), s.split, s.data_sha256, s.prompt, s.image, s.limit, decoding)

    return bool(_SEED.search(run.generation)) and draws_of(other) == 1 and content(run) == content(other)
