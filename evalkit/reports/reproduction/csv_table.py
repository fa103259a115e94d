"""A paper's table with its verdicts as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from evalkit.published import PublishedTable
from evalkit.published.table import UNIT_NAMES
from evalkit.reports.reproduction.markdown import difference
from evalkit.reports.reproduction.verdict import Cell, OwnRow

CSV_COLUMNS = (
    "paper", "table", "row", "model", "task", "split", "slice", "protocol", "metric", "unit", "regime", "train",
    "epochs", "published", "published_low", "published_high", "published_n", "published_k", "reproduced", "low", "high",
    "n", "k", "difference", "verdict", "why", "counted", "run", "known_faults", "source", "confidence",
)  # fmt: skip


def csv_text(published: PublishedTable, cells: Sequence[Cell], own: Sequence[OwnRow] = ()) -> str:
    """The table as CSV: a line a cell, everything that is known of it; values of runs are fractions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(_record(published, cell) for cell in cells)
    for row in own:
        for column, (value, low, high, n, run) in row.cells.items():
            about = dict(zip(("task", "split", "protocol", "metric", "slice"), column, strict=True))
            said = {"reproduced": value, "low": low, "high": high, "n": n, "verdict": "own row", "run": run}
            writer.writerow({"row": row.model, "model": row.model, **about, **said})
    return text.getvalue()


def _record(published: PublishedTable, cell: Cell) -> dict[str, Any]:
    f, s = cell.figure, cell.system
    source = published.sources[f.source]
    record: dict[str, Any] = {
        "paper": published.paper, "table": s.table or published.table, "row": s.label, "model": s.model,
        "task": f.task, "split": f.split, "slice": f.slice, "protocol": f.protocol, "metric": f.metric,
        "unit": UNIT_NAMES[f.unit], "regime": f.regime, "train": published.trains.get(f.train, ""),
        "epochs": f.epochs, "published": f.value, "published_low": f.low, "published_high": f.high,
        "published_n": f.n, "published_k": f.k, "reproduced": cell.value, "low": cell.low, "high": cell.high,
        "n": cell.n, "k": cell.k, "difference": "" if cell.value is None else difference(cell),
        "verdict": cell.verdict, "why": cell.why, "counted": cell.counted, "run": cell.run,
        "known_faults": "; ".join(published.faults_of(s, f)), "source": source.read, "confidence": source.confidence,
    }  # fmt: skip
    return record
