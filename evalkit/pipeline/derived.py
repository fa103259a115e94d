"""What is derived from the scores of single answers: by orders of options, by draws, by thoughts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit.analysis.thoughts import thought_record
from evalkit.core.types import MetricKey, MetricValue, Prediction, Sample, Score
from evalkit.pipeline.headline import secondary_metrics
from evalkit.scoring.aggregate import RunProvenance, tabulate
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.draws import derived_keys, draw_scores, number_of_draws, spread, with_draws
from evalkit.scoring.positions import dependence, with_dependence
from evalkit.scoring.score_table import ScoreTable
from evalkit.tasks.choice_orders import is_ordered
from evalkit.tasks.draws import is_drawn


class HiddenMetrics(NamedTuple):
    """Metrics that the table leaves out unless all are asked for, and those that the headline leaves out besides."""

    table: frozenset[MetricKey]
    headline: frozenset[MetricKey]


def derived_scores(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
) -> Iterator[Score]:
    """The scores that are made of those of several answers, which are added to the table."""
    if is_ordered(samples):
        yield from dependence(samples, table, protocols)
    if is_drawn(samples):
        yield from draw_scores(samples, predictions, table, protocols)


def all_values(
    samples: Sequence[Sample], table: ScoreTable, protocols: Sequence[ScoringProtocol], run: RunProvenance
) -> list[MetricValue]:
    """The values of every metric, the derived ones after the others of their protocol."""
    values = tabulate(samples, table, protocols, run)
    if is_ordered(samples):
        values = with_dependence(values, samples, table, protocols, run)
    if is_drawn(samples):
        values = with_draws(values, samples, table, protocols, run)
    return values


def derived_checks(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
) -> dict[str, Any]:
    """The parts of the summary's sanity checks about thoughts and draws; empty for a run without them."""
    thoughts = thought_record(predictions)
    checks: dict[str, Any] = {"thoughts": thoughts} if thoughts else {}
    if is_drawn(samples):
        checks["draws"] = spread(samples, predictions, table, protocols)
    return checks


def hidden_metrics(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> HiddenMetrics:
    """The metrics that a run's table and headline leave out."""
    secondary = secondary_metrics(protocols)
    if not is_drawn(samples):
        return HiddenMetrics(secondary, secondary)
    n = number_of_draws(samples)
    hidden = secondary | derived_keys(protocols, n, secondary=True)
    return HiddenMetrics(hidden, hidden | derived_keys(protocols, n, secondary=False))
