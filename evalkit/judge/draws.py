"""Judged metrics over several answers of each sample, for generation.n: pass@k, pass^k, flips, the judge's best answer.

The value of a sample is an `ItemResult` under the id that the sample has in the data, so that slices, intervals and
counts are made as those of single answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from evalkit.core.types import MetricKey
from evalkit.judge.config import CORRECTNESS, REFERENCE_FIRST, RELATIVE
from evalkit.judge.items import ItemResult, Points
from evalkit.judge.metric_definitions import (
    UNIT_INTERVAL,
    JudgedMetric,
    candidate_points,
    metric_bounds,
    metrics_of,
    relative_score,
)
from evalkit.runs.schema import JudgePlan
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import open_run
from evalkit.scoring.draws import steps_of
from evalkit.stats.draws import SAME, expected_best, expected_worst, flip_rate
from evalkit.tasks.draws import DRAW_TAG, drawn_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetric:
    """A metric of the run itself, in which the answer that the judge rates best is scored.

    bounded: its scores are in 0 to 1.  scores: by the id of the draw; None where the protocol gives none.
    """

    key: MetricKey
    bounded: bool
    higher_is_better: bool | None
    scores: Mapping[str, float | None]


class DrawnMetric(NamedTuple):
    """A metric over draws, the value of each sample, and the number of samples without any judgment."""

    metric: JudgedMetric
    items: list[ItemResult]
    n_unseen: int


def run_metrics(path: Path) -> list[RunMetric]:
    """The metrics of a run whose scores are averaged over draws; none for a run with one answer a sample.

    Args:
        path: the run's folder; any other path has none.

    Raises:
        StoreError: the run's files are not those that its summary was made from.
    """
    if not (path.is_dir() and RunFolder(path).summary.is_file()):
        return []
    run = open_run(path)
    whole = [m for m in run.summary.metrics if m.slice == "all"]
    voted = {(m.protocol, m.metric.rpartition(".vote@")[0]) for m in whole}
    chosen = [m for m in whole if m.key in voted]
    scores: dict[MetricKey, dict[str, float | None]] = {m.key: {} for m in chosen}
    for score in run.scores() if chosen else ():
        if (key := MetricKey(score.protocol, score.metric)) in scores:
            scores[key][score.sample_id] = score.value
    return [
        RunMetric(
            key=m.key,
            bounded=metric_bounds(m.metric, m.signature) == UNIT_INTERVAL,
            higher_is_better=m.higher_is_better,
            scores=scores[m.key],
        )
        for m in chosen
    ]


def drawn_metrics(
    plan: JudgePlan, metrics: Sequence[JudgedMetric], items: Sequence[ItemResult], own: Sequence[RunMetric]
) -> Iterator[DrawnMetric]:
    """The metrics over the draws of each sample; none where one answer a sample is judged.

    Args:
        metrics, items: of the judged single answers.
        own: the run's metrics in which the best answer is scored.
    """
    groups: dict[str, list[ItemResult]] = {}
    for item in items:
        if DRAW_TAG in item.tags:
            groups.setdefault(drawn_id(item.sample_id, item.tags), []).append(item)
    if not groups:
        return
    n = 1 + max(int(item.tags[DRAW_TAG]) for group in groups.values() for item in group)
    n_unseen = max(0, plan.n_items // n - len(groups))
    for metric in metrics:
        if metric.score is not None and metric.higher_is_better:
            for made in _derived(metric, n):
                yield DrawnMetric(made.metric, [_over(made, metric, g, n) for g in groups.values()], n_unseen)
    rated = relative_score if plan.judged == RELATIVE else candidate_points
    for scored in own:
        covered = [g for g in groups.values() if any(item.sample_id in scored.scores for item in g)]
        if covered:
            unseen = min(n_unseen, len(scored.scores) // n - len(covered))
            yield DrawnMetric(_best(scored, n), [_of_best(g, rated, scored.scores, n) for g in covered], unseen)


def names_of(judged: str, counting: str, n: int) -> list[str]:
    """The names that a judge's metrics may have with n answers a sample, without `best@n`.

    judged: as in a judge's YAML; "auto" has those of both kinds.  The metrics of position bias are among them.
    """
    kinds = (RELATIVE, CORRECTNESS) if judged == "auto" else (judged,)
    own = [m for kind in kinds for m in metrics_of(kind, "swap", counting)]
    drawn = [d.metric.name for m in own if n > 1 and m.score and m.higher_is_better for d in _derived(m, n)]
    return list(dict.fromkeys([m.name for m in own] + drawn))


class _Derived(NamedTuple):
    """A metric over draws, the number of judged draws that it needs, and its value from their scores."""

    metric: JudgedMetric
    needed: int
    value: Callable[[Sequence[float]], float]


def _derived(metric: JudgedMetric, n: int) -> Iterator[_Derived]:
    kept = replace(metric, score=candidate_points)
    for mark, expected in (("@", expected_best), ("^", expected_worst)):
        for k in steps_of(n):
            yield _Derived(replace(kept, name=f"{metric.name}.pass{mark}{k}"), k, partial(expected, k=k))
    flips = JudgedMetric(
        name=f"{metric.name}.flip_rate", score=candidate_points, bounded=True, higher_is_better=False
    )  # fmt: skip
    yield _Derived(flips, 2, flip_rate)


def _over(made: _Derived, metric: JudgedMetric, group: Sequence[ItemResult], n: int) -> ItemResult:
    """The value of one sample from the judged ones of its draws."""
    assert metric.score is not None
    values = [metric.score(item) for item in group if item.status == "judged"]
    if len(values) < made.needed:
        return _sample(group, None, f"fewer than {made.needed} of {n} draws are judged")
    return _sample(group, made.value(values))


def _best(scored: RunMetric, n: int) -> JudgedMetric:
    return JudgedMetric(
        name=f"{scored.key.protocol}.{scored.key.metric}.best@{n}",
        score=candidate_points,
        bounded=scored.bounded,
        higher_is_better=scored.higher_is_better,
        has_worst_case=scored.bounded and scored.higher_is_better is True,
    )


def _of_best(
    group: Sequence[ItemResult],
    rated: Callable[[ItemResult], float],
    scores: Mapping[str, float | None],
    n: int,
) -> ItemResult:
    """The run's score of the answer that the judge rates best; the mean over those that it rates equally.

    A draw whose judgment failed could be the best one, so that the sample then has no value.  A draw without an answer
    cannot be chosen.
    """
    if len(group) < n or any(item.status in ("failed", "cannot_tell") for item in group):
        return _sample(group, None, f"not all of {n} draws are judged")
    judged = [item for item in group if item.status == "judged"]
    if not judged:
        return _sample(group, None, f"none of {n} draws has an answer")
    highest = max(map(rated, judged))
    values = [scores.get(item.sample_id) for item in judged if rated(item) >= highest - SAME]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return _sample(group, None, "the protocol gives the best answer no score")
    return _sample(group, fmean(known))


def _sample(group: Sequence[ItemResult], value: float | None, why: str = "") -> ItemResult:
    first = group[0]
    return ItemResult(
        sample_id=drawn_id(first.sample_id, first.tags),
        image_id=first.image_id,
        tags={tag: text for tag, text in first.tags.items() if tag != DRAW_TAG},
        status="failed" if value is None else "judged",
        points={} if value is None else {REFERENCE_FIRST: Points(value, value)},
        why=why,
    )
