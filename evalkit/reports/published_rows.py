"""The rows of a published table in the columns of a table of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.core.errors import ConfigError
from evalkit.core.format import MISSING, shown_metric
from evalkit.published import Figure, PublishedTable, System
from evalkit.published.table import printed
from evalkit.reports.reproduction.layout import Column
from evalkit.reports.sheet import Cell, Row

IRREPRODUCIBLE = "†"
OTHER_ROWS = "‡"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRows:
    """Rows of a paper as cells, their records for the CSV, and the notes that they need."""

    rows: tuple[Row, ...]
    records: list[dict[str, object]]
    notes: tuple[str, ...]


def published_rows(
    published: PublishedTable, columns: Sequence[Column], counts: Mapping[Column, frozenset[int]]
) -> PublishedRows:
    """The rows of a paper that have a figure in some column.

    Args:
        columns: those of the table.
        counts: numbers of rows that the runs' values are over; a figure over another number is marked.

    Raises:
        ConfigError: no row has one; names the columns that the paper has.
    """
    shown = [(system, _figures(system, columns)) for system in published.systems]
    shown = [(system, figures) for system, figures in shown if figures]
    if not shown:
        own = dict.fromkeys(Column.of(f) for s in published.systems for f in s.figures)
        known = ", ".join(f"{c.task} {c.split} {c.protocol} {c.metric}" for c in list(own)[:12])
        raise ConfigError(
            f"paper={published.name} has no figure for any column of this table. Its columns are {known}"
            f"{' and others' if len(own) > 12 else ''}: choose them with tasks= and metrics=."
        )
    labels = _labels([system for system, _ in shown], {s.id: f for s, f in shown})
    rows, records = [], []
    for system, figures in shown:
        cells = [_cell(published, system, figures.get(c), counts.get(c, frozenset())) for c in columns]
        rows.append((Cell(text=labels[system.id]), *cells))
        records += [_record(published, labels[system.id], f) for f in figures.values()]
    texts = "".join(cell.text for row in rows for cell in row[1:])
    return PublishedRows(rows=tuple(rows), records=records, notes=tuple(_notes(published, texts)))


def _figures(system: System, columns: Sequence[Column]) -> dict[Column, Figure]:
    found = {Column.of(figure): figure for figure in system.figures}
    return {column: found[column] for column in columns if column in found}


def _labels(systems: Sequence[System], figures: Mapping[str, Mapping[Column, Figure]]) -> dict[str, str]:
    """Row id -> label as printed, with the training regime; with the id too where that is not enough."""
    regimes = {s.id: ", ".join(dict.fromkeys(f.regime for f in figures[s.id].values())) for s in systems}
    labels = {s.id: f"{s.label} ({regimes[s.id]})" for s in systems}
    doubled = Counter(labels.values())
    return {i: label if doubled[label] == 1 else f"{label[:-1]}, {i})" for i, label in labels.items()}


def _cell(published: PublishedTable, system: System, figure: Figure | None, counts: frozenset[int]) -> Cell:
    if figure is None:
        return Cell(text=MISSING)
    text = figure.value if figure.scale == 100 else printed(figure.fraction, max(figure.decimals - 2, 0))
    marks = IRREPRODUCIBLE if published.why_not(system, figure) or not figure.attainable else ""
    marks += OTHER_ROWS if figure.n is not None and counts and figure.n not in counts else ""
    interval = f"[{figure.low}, {figure.high}]" if figure.low and figure.high and figure.scale == 100 else ""
    return Cell(text=text + marks, small=interval)


def _record(published: PublishedTable, label: str, figure: Figure) -> dict[str, object]:
    return {
        "model": label, "task": figure.task, "split": figure.split, "protocol": figure.protocol,
        "metric": figure.metric, "value": figure.fraction, "n": figure.n, "source": f"{published.name}, as printed",
        "metric_label": shown_metric(figure.metric, is_stated=figure.protocol not in published.foreign),
    }  # fmt: skip


def _notes(published: PublishedTable, texts: str) -> list[str]:
    notes = [
        f"Above the line: {published.paper}, {published.version}, {published.table} ({published.url}), as printed."
    ]
    if IRREPRODUCIBLE in texts:
        notes.append(f"{IRREPRODUCIBLE} Known not to be reproducible: `python -m evalkit paper` gives the reasons.")
    if OTHER_ROWS in texts:
        notes.append(f"{OTHER_ROWS} Over another number of rows than the runs, so not comparable with them.")
    return notes
