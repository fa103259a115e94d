"""Results, stored scores and papers' tables for the tests of the leaderboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.analysis.run_scores import RunScores, ScoreColumn
from evalkit.core.files import write_whole
from evalkit.core.signature import Signature
from evalkit.core.types import MetricValue, Prediction, Sample, Score, worst_score
from evalkit.published import PublishedTable, parse_published
from evalkit.runs.schema import LeaderboardResult, RunHeader, Summary
from evalkit.runs.store import RunFolder, write_predictions, write_record
from evalkit.scoring.score_table import score_line


def metric(
    name: str,
    values: Sequence[float | None],
    *,
    parts: Mapping[str, str] | None = None,
    higher_is_better: bool | None = True,
    **changes: Any,
) -> MetricValue:
    """A metric over these scores; unscored ones are left out of the value and are the worst score in the worst case."""
    known = [v for v in values if v is not None]
    worst = worst_score(higher_is_better is not False)
    named = {
        "task": "toy.test", "n": str(len(values)), "slice": "all", "data": "d" * 8, "rule": "label",
        "protocol": "llava-med.1", "unscored": "exclude", "prompt": "plain@0", "image": "original",
        "gen": "greedy.max16", "v": "0.1.0",
    } | dict(parts or {})  # fmt: skip
    value = MetricValue(
        protocol=named["protocol"].partition(".")[0],
        metric=name,
        slice="all",
        value=sum(known) / len(known) if known else None,
        low=0.25 if known else None,
        high=0.75 if known else None,
        n=len(values),
        n_unscored=len(values) - len(known),
        n_clusters=2,
        value_worst_case=sum(worst if v is None else v for v in values) / len(values),
        higher_is_better=higher_is_better,
        signature=Signature.of(name, named),
    )
    return replace(value, **changes)


def result(
    run_id: str,
    values: Sequence[float | None] = (1.0, 0.0),
    *,
    parts: Mapping[str, str] | None = None,
    **changes: Any,
) -> LeaderboardResult:
    """A result with one metric."""
    made = LeaderboardResult(
        run_id=run_id,
        evalkit="0.1.0",
        model=run_id.rpartition("-")[0] or run_id,
        task="toy",
        split="test",
        form="made",
        n=len(values),
        n_images=2,
        data_sha256="d" * 64,
        closed_rule="label",
        prompt="plain@0",
        image="original",
        generation="greedy.max16",
        n_failed=0,
        n_empty=0,
        n_truncated=0,
        metrics=(metric("closed_accuracy", values, parts=parts),),
        regime="zero-shot",
    )
    return replace(made, **changes)


def with_metrics(of: LeaderboardResult, *more: MetricValue) -> LeaderboardResult:
    """A result with more metrics."""
    return replace(of, metrics=(*of.metrics, *more))


def stored_scores(of: LeaderboardResult, values: Sequence[float | None]) -> RunScores:
    """The stored scores of a result's first metric, two rows an image."""
    first = of.metrics[0]
    assert first.signature is not None
    header = RunHeader(
        **{name: getattr(of, name) for name in RunHeader.__dataclass_fields__ if hasattr(of, name)}, status="done"
    )
    return RunScores(
        origin=of.run_id,
        header=header,
        ids=tuple(f"q{k}" for k in range(len(values))),
        image_ids=tuple(f"i{k // 2}" for k in range(len(values))),
        columns={
            first.key: ScoreColumn.of(
                values,
                range(len(values)),
                signature=first.signature,
                higher_is_better=first.higher_is_better is not False,
            )
        },
        answers=tuple("a" * 16 for _ in values),
    )


def paper(figures: Sequence[Mapping[str, Any]], **changes: Any) -> PublishedTable:
    """A paper's table with one row per figure."""
    systems = [
        {
            "id": f"s{k}", "label": f"System {k}", "model": f"System {k}",
            "figures": [
                {"task": "toy", "split": "test", "protocol": "llava-med", "metric": "closed_accuracy",
                 "regime": "zero-shot", "source": "page", "n": 2} | dict(figure)
            ],
        }
        for k, figure in enumerate(figures)
    ]  # fmt: skip
    content = {
        "schema": 1, "paper": "A Paper", "version": "v1", "url": "https://example.org/paper", "table": "Table 1, toys",
        "sources": {"page": {"read": "the page", "confidence": "high"}}, "systems": systems,
    } | changes  # fmt: skip
    return parse_published(content, "paper.json", changes.pop("name", "paper"))


def write_run(folder: Path, summary: Summary, values: Sequence[float | None], answer: str = "yes") -> Path:
    """A run's folder with the files that a leaderboard reads; every answer is the same."""
    run = RunFolder(folder)
    samples = [Sample(id=f"q{k}", image_id=f"i{k // 2}", question="?", references=("yes",)) for k in range(len(values))]
    write_record(run.summary, summary)
    write_predictions(run.predictions, samples, [Prediction(sample_id=s.id, text=answer) for s in samples])
    first = summary.metrics[0]
    scores = [
        Score(
            sample_id=s.id,
            protocol=first.protocol,
            metric=first.metric,
            value=value,
            reason="" if value is not None else "unreadable",
        )
        for s, value in zip(samples, values, strict=True)
    ]
    write_whole(run.scores, map(score_line, scores))
    return folder
