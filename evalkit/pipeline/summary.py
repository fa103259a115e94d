"""What a run came to: summary.json, and what a person is shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.core import console
from evalkit.core.errors import Partial
from evalkit.core.types import Prediction, Row, Sample
from evalkit.runs.store import SCHEMA, RunFolder
from evalkit.scoring.aggregate import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run or a re-scoring came to."""

    folder: Path | None
    summary: dict[str, Any]
    rows: tuple[Row, ...]
    n_failed: int
    worth: str = ""
    lens: str = ""


def summarise(
    folder: RunFolder,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    rows: Sequence[Row],
    context: Context,
    timing: Mapping[str, Any],
) -> dict[str, Any]:
    """summary.json: the numbers with what they are over, and the counts of what did not go well."""
    task = context.task
    return {
        "schema": SCHEMA,
        "run_id": folder.path.name,
        "evalkit": __version__,
        "model": context.model,
        "task": task.name,
        "split": task.split,
        "form": task.form,
        "n": len(samples),
        "n_images": len({s.image_id for s in samples}),
        "data_sha256": task.data_sha256,
        "closed_rule": task.closed_rule,
        "prompt": context.prompt,
        "image": context.image,
        "generation": context.generation,
        "limit": context.extra.get("limit"),
        "n_failed": sum(p.error is not None for p in predictions),
        "n_empty": sum(p.text is not None and not p.text.strip() for p in predictions),
        "n_truncated": sum(p.finish_reason == "length" for p in predictions),
        "n_skipped": len(task.skipped),
        "skipped": list(task.skipped[:20]),
        "notes": list(task.notes),
        "metrics": [metric_record(r) for r in rows],
        "timing": dict(timing),
    }


def metric_record(row: Row) -> dict[str, Any]:
    """One entry of summary.json's metrics."""
    return {
        "protocol": row.protocol,
        "metric": row.metric,
        "slice": row.slice,
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "n": row.n,
        "n_unscored": row.n_unscored,
        "n_clusters": row.n_clusters,
        "value_unscored_wrong": row.value_unscored_wrong,
        "signature": row.signature,
    }


def show(outcome: Outcome, title: str) -> None:
    """Print the table and what must be known beside it; the run's folder alone on the last line.

    Raises:
        Partial: some samples failed (after everything was shown and written).
    """
    summary = outcome.summary
    for text in summary["notes"]:
        console.note(f"note: {text}")
    for entry in summary["unscored"][:6]:
        console.warn(f"{entry['protocol']} {entry['metric']}: {entry['count']} unscored: {entry['reason']}")
    if summary["n_skipped"]:
        console.warn(f"{summary['n_skipped']} rows were skipped, first: {summary['skipped'][0]}")
    if summary["n_truncated"]:
        console.warn(f"{summary['n_truncated']} of {summary['n']} answers were cut at the token limit")
    caption = (
        f"{summary['n']} samples on {summary['n_images']} images, intervals clustered by image; "
        f"failed {summary['n_failed']}, empty {summary['n_empty']}, truncated {summary['n_truncated']}"
    )
    console.table([r for r in outcome.rows if r.slice == "all"], title, caption)
    if outcome.worth:
        console.out(f"{outcome.worth}\n")
    if outcome.lens:
        console.out(
            f"{outcome.lens}\nEvery two protocols and examples of each cause: lens.json; the matrix: lens.csv\n"
        )
    console.out(str(outcome.folder))
    if outcome.n_failed:
        raise Partial(
            f"{outcome.n_failed} of {summary['n']} samples failed and are not in the values above. What was answered "
            "is kept; the same command asks the failed ones again."
        )
