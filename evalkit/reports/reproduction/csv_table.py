"""A paper's table with its verdicts as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.core.format import shown_metric
from evalkit.published import PublishedTable
from evalkit.published.table import UNIT_NAMES
from evalkit.reports.csv_text import csv_text as as_csv
from evalkit.reports.reproduction.layout import Column, ExtraCell, ExtraRow
from evalkit.reports.reproduction.markdown import difference
from evalkit.reports.reproduction.verdict import ReproducedCell

CSV_COLUMNS = (
    "paper", "table", "row", "model", "task", "split", "slice", "protocol", "metric", "unit", "regime", "train",
    "epochs", "published", "published_low", "published_high", "published_n", "published_k", "reproduced", "low", "high",
    "n", "k", "difference", "verdict", "why", "counted", "run", "known_faults", "source", "confidence",
    "metric_label",
)  # fmt: skip


def csv_text(published: PublishedTable, cells: Sequence[ReproducedCell], extra: Sequence[ExtraRow] = ()) -> str:
    """The table as CSV: one line a cell with everything that is known of it; values of runs are fractions."""
    records = [_record(published, cell) for cell in cells]
    records += [_extra_record(row, column, cell) for row in extra for column, cell in row.cells.items()]
    return as_csv(CSV_COLUMNS, records)


def _record(published: PublishedTable, cell: ReproducedCell) -> dict[str, Any]:
    f, s, value = cell.figure, cell.system, cell.value
    source = published.sources[f.source]
    of_run = {"reproduced": value.value, "low": value.low, "high": value.high, "n": value.n} if value else {}
    return {
        "paper": published.paper, "table": s.table or published.table, "row": s.label, "model": s.model,
        "task": f.task, "split": f.split, "slice": f.slice, "protocol": f.protocol, "metric": f.metric,
        "unit": UNIT_NAMES[f.unit], "regime": f.regime, "train": published.trains.get(f.train, ""),
        "epochs": f.epochs, "published": f.value, "published_low": f.low, "published_high": f.high,
        "published_n": f.n, "published_k": f.k, **of_run, "k": cell.k,
        "difference": "" if value is None else difference(cell), "verdict": cell.verdict, "why": cell.why,
        "counted": cell.proxy, "run": cell.run, "known_faults": "; ".join(published.faults_of(s, f)),
        "source": source.read, "confidence": source.confidence,
        "metric_label": shown_metric(f.metric, is_stated=f.protocol not in published.foreign),
    }  # fmt: skip


def _extra_record(row: ExtraRow, column: Column, cell: ExtraCell) -> dict[str, Any]:
    value = cell.value
    return {
        "row": row.model, "model": row.model, **column._asdict(), "reproduced": value.value, "low": value.low,
        "high": value.high, "n": value.n, "verdict": "own row", "run": cell.run,
        "metric_label": shown_metric(column.metric),
    }  # fmt: skip
