"""One table of a model on several tasks, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from evalkit.core.files import safe_name, write_whole
from evalkit.core.format import MISSING, percent
from evalkit.core.types import MetricValue
from evalkit.reports.latex import table
from evalkit.runs.schema import Summary

HEADER = ("Task", "Protocol", "Metric", "Value", "95 % interval", "n", "Unscored", "Worst case")


def write_tables(name: str, summaries: Sequence[Summary], out: Path) -> list[Path]:
    """Write NAME.md, NAME.csv and NAME.tex into a folder: every metric over all samples of each task's rows.

    Values are percentages; metrics without rows are left out.  The CSV has fractions, and signatures as a last column.
    """
    rows = [(s.task, m) for s in summaries for m in s.metrics if m.slice == "all" and m.n]
    stem = safe_name(name)
    texts = {".md": _markdown(rows), ".csv": _csv(rows), ".tex": _latex(summaries, rows)}
    out.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        write_whole(out / f"{stem}{ending}", text)
    return [out / f"{stem}{ending}" for ending in texts]


def _cells(task: str, value: MetricValue) -> tuple[str, ...]:
    interval = MISSING if value.low is None else f"[{percent(value.low)}, {percent(value.high)}]"
    worst = percent(value.value_worst_case) if value.n_unscored else ""
    return (
        task, value.protocol, value.metric, percent(value.value), interval, str(value.n), str(value.n_unscored), worst,
    )  # fmt: skip


def _markdown(rows: Sequence[tuple[str, MetricValue]]) -> str:
    lines = [HEADER, ("---",) * 3 + ("---:",) * 5, *(_cells(task, m) for task, m in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def _csv(rows: Sequence[tuple[str, MetricValue]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("task", "protocol", "metric", "value", "low", "high", "n", "n_unscored", "worst_case", "signature")
    )
    for task, m in rows:
        writer.writerow((
            task, m.protocol, m.metric, m.value, m.low, m.high, m.n, m.n_unscored, m.value_worst_case, m.signature,
        ))  # fmt: skip
    return text.getvalue()


def _latex(summaries: Sequence[Summary], rows: Sequence[tuple[str, MetricValue]]) -> str:
    lines: list[list[str] | None] = []
    last = ""
    for task, m in rows:
        if last and task != last:
            lines.append(None)
        cells = _cells(task, m)
        lines.append([cells[0] if task != last else "", *cells[1:]])
        last = task
    notes = [
        f"{s.task}, {s.split}: {s.n} samples on {s.n_images} images; failed {s.n_failed}, empty {s.n_empty}, truncated "
        f"{s.n_truncated}."
        for s in summaries
    ]
    model = summaries[0].model
    return table(
        list(HEADER), lines, align="lll" + "r" * 5, caption=f"{model} on {len(summaries)} tasks", label="tab:suite",
        notes=notes,
    )  # fmt: skip
