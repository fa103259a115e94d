"""Made-up runs with published figures: as summaries, and as data and answers for `score`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from evalkit.core.signature import Signature
from evalkit.core.types import MetricValue
from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.reproduction.verdict import why_irreproducible
from evalkit.runs.schema import Summary

LETTERS = "bcdfghjklm"


def metric(figure: Figure, value: float | None, **changes: Any) -> MetricValue:
    """A run's value of a published figure."""
    parts = {"task": f"{figure.task}.{figure.split}", "protocol": figure.protocol}
    made = MetricValue(
        protocol=figure.protocol,
        metric=figure.metric,
        slice=figure.slice,
        value=value,
        n=figure.n or 100,
        higher_is_better=True,
        signature=Signature.of(figure.metric, parts),
    )
    return replace(made, **changes)


def run_value(protocol: str, name: str, fraction: float | None, n: int) -> MetricValue:
    """A run's value of any metric."""
    signature = Signature.of(name, {"task": "toy.test", "protocol": protocol})
    return MetricValue(
        protocol=protocol, metric=name, slice="all", value=fraction, n=n, higher_is_better=True, signature=signature
    )


def summary(model: str, task: str, split: str, metrics: Iterable[MetricValue], **changes: Any) -> Summary:
    """The summary of a run with these values, of answers from a file."""
    made = Summary(
        run_id=f"{model}-{task}-{split}",
        evalkit="0.1.0",
        model=model,
        task=task,
        split=split,
        form="made",
        n=100,
        n_images=10,
        data_sha256="d" * 64,
        closed_rule="label",
        prompt="unknown",
        image="original",
        generation="unknown",
        n_failed=0,
        n_empty=0,
        n_truncated=0,
        metrics=tuple(metrics),
    )
    return replace(made, **changes)


def changed(runs: Sequence[Summary], name: str, change: Callable[[MetricValue], float]) -> list[Summary]:
    """The runs with other values of a metric."""

    def after(metric: MetricValue) -> MetricValue:
        return replace(metric, value=change(metric)) if metric.metric == name else metric

    return [replace(run, metrics=tuple(map(after, run.metrics))) for run in runs]


def hit(figure: Figure) -> float:
    """A fraction that a run can have and that prints as the figure; the nearest count where none does."""
    if figure.k is not None:
        return figure.k / (figure.n or 1)
    if not figure.attainable:
        return round(figure.fraction * (figure.n or 1)) / (figure.n or 1)
    return figure.fraction


def perfect(table: PublishedTable) -> list[Summary]:
    """One run for each row, task and split, with the count or value of every figure."""
    runs = []
    for system in table.systems:
        places: dict[tuple[str, str], list[Figure]] = {}
        for figure in system.figures:
            places.setdefault((figure.task, figure.split), []).append(figure)
        for (task, split), figures in places.items():
            runs.append(summary(system.id, task, split, [metric(f, hit(f)) for f in figures]))
    return runs


def impossible(table: PublishedTable) -> set[tuple[str, str]]:
    """(row, value) of the figures that no count prints as."""
    return {
        (s.id, f.value)
        for s in table.systems
        for f in s.figures
        if not f.attainable and why_irreproducible(table, s, f)
    }


def system(table: PublishedTable, name: str) -> System:
    return next(s for s in table.systems if s.id == name)


def word(number: int) -> str:
    """A word that no normaliser changes."""
    return "q" + "".join(LETTERS[int(digit)] for digit in str(number)) + "q"


def llava_med_rows(n_open: int, n_closed: int, n_images: int) -> list[dict[str, Any]]:
    """Rows in LLaVA-Med's converted form; the last open one has a thousand words to recall."""
    rows = []
    for number in range(n_open + n_closed):
        opened = number < n_open
        answer = word(number) if opened else ("yes", "no")[number % 2]
        if number == n_open - 1:
            answer = " ".join(word(k) for k in range(10_000, 11_000))
        rows.append(
            {
                "id": number, "image": f"{number % n_images}.jpg", "answer_type": "OPEN" if opened else "CLOSED",
                "conversations": [
                    {"from": "human", "value": f"Which item is number {number}?\n<image>"},
                    {"from": "gpt", "value": answer},
                ],
            }
        )  # fmt: skip
    return rows


def llava_med_answers(rows: list[dict[str, Any]], recall: str, right: int) -> list[dict[str, Any]]:
    """Answers with that many right closed rows, and with open recalls whose mean prints as the percentage."""
    opened = [r for r in rows if r["answer_type"] == "OPEN"]
    total = Decimal(recall) / 100 * len(opened)
    whole, part = int(total), round((total - int(total)) * 1000)
    assert whole < len(opened)
    texts: list[str] = []
    for place, row in enumerate(rows):
        gold = row["conversations"][1]["value"]
        if row["answer_type"] == "OPEN":
            last = place == len(opened) - 1
            texts.append(" ".join(gold.split()[:part]) if last else gold if place < whole else "something else")
        else:
            other = "no" if gold == "yes" else "yes"
            texts.append(gold if place - len(opened) < right else other)
    return [
        {
            "question_id": row["id"], "prompt": row["conversations"][0]["value"], "text": text, "answer_id": "a",
            "model_id": "made", "metadata": {},
        }
        for row, text in zip(rows, texts, strict=True)
    ]  # fmt: skip


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path
