"""Results, stored scores and papers' tables for the tests of the board."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.analysis.run_scores import Scored
from evalkit.published import PublishedTable, parse_published

HEADER = {
    "task": "toy", "split": "test", "data_sha256": "d" * 64, "closed_rule": "label", "prompt": "plain@0",
    "image": "original", "limit": None,
}  # fmt: skip


def metric(name: str, values: Sequence[float | None], **kwargs: Any) -> dict[str, Any]:
    """An entry of a summary's metrics, over these scores; unscored ones are left out of the value."""
    known = [v for v in values if v is not None]
    parts = {
        "task": "toy.test", "n": str(len(values)), "slice": "all", "data": "d" * 8, "rule": "label",
        "protocol": "llava-med.1", "unscored": "exclude", "prompt": "plain@0", "image": "original",
        "gen": "greedy.max16", "v": "0.1.0",
    } | kwargs.pop("parts", {})  # fmt: skip
    return {
        "protocol": parts["protocol"].partition(".")[0], "metric": name, "slice": "all",
        "value": sum(known) / len(known) if known else None, "low": 0.25 if known else None,
        "high": 0.75 if known else None, "n": len(values), "n_unscored": len(values) - len(known), "n_clusters": 2,
        "value_unscored_wrong": sum(known) / len(values),
        "signature": "|".join([name, *(f"{k}:{v}" for k, v in parts.items())]),
    } | kwargs  # fmt: skip


def result(run_id: str, values: Sequence[float | None] = (1.0, 0.0), **kwargs: Any) -> dict[str, Any]:
    """A result with one metric."""
    parts = kwargs.pop("parts", {})
    return {
        "schema": 1, "run_id": run_id, "evalkit": "0.1.0", "model": run_id.rpartition("-")[0] or run_id, "n_images": 2,
        "generation": "greedy.max16", "n_failed": 0, "n_truncated": 0, "notes": [], **HEADER, "n": len(values),
        "metrics": [metric("closed_accuracy", values, parts=parts)], "regime": "zero-shot", "train": "",
        "role": "model",
    } | kwargs  # fmt: skip


def scored(of: Mapping[str, Any], values: Sequence[float | None]) -> Scored:
    """The stored scores of a result's one metric, two rows an image."""
    key = f"{of['metrics'][0]['protocol']} closed_accuracy"
    return Scored(
        origin=of["run_id"],
        header={k: of[k] for k in (*HEADER, "model", "run_id", "n")},
        ids=tuple(f"q{k}" for k in range(len(values))),
        image_ids=tuple(f"i{k // 2}" for k in range(len(values))),
        scores={key: tuple(values)},
        rows={key: tuple(range(len(values)))},
        signatures={key: of["metrics"][0]["signature"]},
        answers=tuple("yes" for _ in values),
    )


def paper(figures: Sequence[Mapping[str, Any]], **kwargs: Any) -> PublishedTable:
    """A paper's table with a row a figure."""
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
    } | kwargs  # fmt: skip
    return parse_published(content, "paper.json", kwargs.pop("name", "paper"))


def write_run(folder: Path, summary: Mapping[str, Any], values: Sequence[float | None]) -> Path:
    """The folder of a run, as far as a leaderboard reads it."""
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    answers, scores = [], []
    for k, value in enumerate(values):
        about = {"sample_id": f"q{k}", "image_id": f"i{k // 2}", "question": "?", "text": "yes", "error": None}
        answers.append(json.dumps(about))
        line = {"sample_id": f"q{k}", "protocol": "llava-med", "metric": "closed_accuracy", "value": value}
        scores.append(json.dumps(line))
    (folder / "predictions.jsonl").write_text("\n".join(answers) + "\n", encoding="utf-8")
    (folder / "scores.jsonl").write_text("\n".join(scores) + "\n", encoding="utf-8")
    return folder
