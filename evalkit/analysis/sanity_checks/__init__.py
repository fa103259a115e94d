"""Sanity checks for a run: baselines, answer statistics, consistency.

They change no score; what cannot be known is reported as unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.analysis.sanity_checks.answers import consistency, rates, uniform_answers, yes_no
from evalkit.analysis.sanity_checks.lift import LIFT_METRICS, baseline_lifts, blank_image_lifts
from evalkit.analysis.sanity_checks.render import render
from evalkit.core.types import MetricValue, Prediction, Sample, Score
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import RowKinds, ScoreTable
from evalkit.tasks.base import LoadedTask

__all__ = ["LIFT_METRICS", "check_run", "consistency", "rates", "render", "uniform_answers", "yes_no"]

# Slices by a tag that marks a problem with a sample.
PROBLEM_SLICES = ("leak=", "repeats=")


def check_run(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: Sequence[Score] | ScoreTable,
    values: Sequence[MetricValue],
    baseline_protocols: Sequence[ScoringProtocol],
    provenance: RunProvenance,
    train: LoadedTask | str | None,
    runs: Path,
    kinds: RowKinds | None = None,
) -> dict[str, Any]:
    """The block `sanity_checks` of summary.json, without the spread over protocols.

    Args:
        baseline_protocols: the protocols under which the image-blind baselines are scored; scores must contain them.
        train: the train split, why there is none, or None where the task has no such baselines.
        runs: the folder that may contain a run of the same model on blank images.
        kinds: of the samples, where they are known.
    """
    return {
        "rates": rates(samples, predictions, scores),
        "yes_no": yes_no(samples, predictions),
        "consistency": consistency(samples, predictions),
        "baselines": baseline_lifts(samples, scores, baseline_protocols, train, kinds),
        "blank": blank_image_lifts(runs, samples, scores, values, provenance),
        "parts": problem_slices(values),
    }


def problem_slices(values: Sequence[MetricValue]) -> list[dict[str, Any]]:
    """The headline metrics on samples that training may have included or that contradict others, and on the rest."""
    return [
        {"part": v.slice, "protocol": v.protocol, "metric": v.metric, "value": v.value, "low": v.low, "high": v.high}
        | {"n": v.n}
        for v in values
        if v.slice.startswith(PROBLEM_SLICES) and v.metric in LIFT_METRICS and v.n
    ]
