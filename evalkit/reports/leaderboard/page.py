"""The leaderboards as one self-contained HTML page: tables without script, sorting and filters with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from evalkit.core.format import percent
from evalkit.reports.leaderboard.entries import Cell, Entry
from evalkit.reports.leaderboard.overview import HOW_TO_READ, Overview, OverviewCell, heading_of
from evalkit.reports.leaderboard.ranking import HEADLINES
from evalkit.reports.leaderboard.render import (
    INTRODUCTION,
    LABELS,
    bounds,
    faults,
    heading,
    is_best,
    is_tied,
    place_text,
    shown_columns,
    title,
    unscored,
)
from evalkit.reports.leaderboard.tables import Board, Table


def page(boards: Sequence[Board], together: Sequence[Overview] = ()) -> str:
    """The page.  Names and texts are data, never markup: a script tag in one does nothing."""
    from jinja2 import Environment, StrictUndefined

    parts = files("evalkit.reports.leaderboard")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_part(parts, "page.html.j2")).render(
        style=_part(parts, "page.css"),
        script=_part(parts, "page.js"),
        introduction=INTRODUCTION,
        boards=[_board(board) for board in boards],
        overviews=[_overview(overview) for overview in together],
        how_to_read_overviews=HOW_TO_READ,
    )


def _part(parts: Any, name: str) -> str:
    return str(parts.joinpath(name).read_text(encoding="utf-8"))


def _board(board: Board) -> dict[str, Any]:
    sections = [
        {"heading": s.heading, "about": s.about, "tables": [_table(table) for table in s.tables]}
        for s in board.sections
    ]
    return {"task": board.task, "sections": sections, "papers": board.papers}


def _overview(overview: Overview) -> dict[str, Any]:
    return {
        "title": overview.title,
        "columns": [
            {"task": c.task, "data": c.data, "metric": c.metric, "label": heading_of(c)} for c in overview.columns
        ],
        "lines": [
            {"name": line.name, "label": line.label, "cells": [_overview_cell(cell) for cell in line.cells]}
            for line in overview.lines
        ],
    }


def _overview_cell(found: OverviewCell | None) -> dict[str, Any] | None:
    if found is None:
        return None
    cell = found.cell
    order = "" if cell.order is None else f"{cell.order:.10f}"
    marks = {"best": found.best, "tied": found.tied, "n_rows": found.n_rows}
    return {"shown": cell.shown, "order": order, "bounds": bounds(cell), "source": cell.source, **marks}


def _table(table: Table) -> dict[str, Any]:
    shown = set(shown_columns(table))
    return {
        "title": title(table),
        "recipe": table.recipe,
        "ranked": not table.reason,
        "columns": [
            {"name": heading(table, name), "extra": name not in shown, "lower": table.higher_is_better[name] is False}
            for name in table.columns
        ],
        "n_extra": len(table.columns) - len(shown),
        "entries": [_entry(table, entry, shown) for entry in table.entries],
        "placed": any(place_text(table, entry) for entry in table.entries),
        "effect": table.effect,
        "notes": table.notes,
    }


def _entry(table: Table, entry: Entry, shown: set[str]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "label": LABELS[entry.kind] or ("paper" if entry.kind == "paper" else "run"),
        "place": place_text(table, entry),
        "details": (*entry.details, *entry.notes),
        "faults": faults(entry),
        "source": entry.source,
        "where": entry.where,
        "short": entry.short,
        "cells": [_cell(table, entry, name, extra=name not in shown) for name in table.columns],
    }


def _cell(table: Table, entry: Entry, name: str, *, extra: bool) -> dict[str, Any] | None:
    cell: Cell | None = entry.cells.get(name)
    if cell is None or cell.number.value is None:
        return {"shown": "–", "extra": extra, "order": "", "empty": True}
    return {
        "shown": cell.shown,
        "extra": extra,
        "empty": False,
        "order": "" if cell.order is None else f"{cell.order:.10f}",
        "bounds": bounds(cell),
        "n": cell.n,
        "unscored": unscored(cell),
        "best": is_best(table, name, entry),
        "tied": is_tied(table, name, entry),
        "source": cell.source,
        "title": f"{cell.where}\n{cell.number.signature}",
        "faults": faults(cell),
        "bar": _bar(cell) if name in HEADLINES else None,
    }


def _bar(cell: Cell) -> dict[str, str]:
    """Positions of value and interval on a scale from 0 to 100; empty without an interval."""
    ends = {"value": cell.number.value, "low": cell.number.low, "high": cell.number.high}
    return {key: "" if number is None else percent(number, 1) for key, number in ends.items()}
