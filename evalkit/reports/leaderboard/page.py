"""The leaderboards as one self-contained HTML page: tables without script, sorting and filters with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from evalkit.reports.leaderboard.entries import HEADLINES, Cell, Line
from evalkit.reports.leaderboard.render import (
    INTRODUCTION,
    KINDS,
    bounds,
    columns_shown,
    faults,
    is_best,
    is_tied,
    places,
    title,
    unscored,
)
from evalkit.reports.leaderboard.tables import Board, Table


def page(boards: Sequence[Board]) -> str:
    """The page.  Names and texts are data, never markup: a script tag in one does nothing."""
    from jinja2 import Environment, StrictUndefined

    parts = files("evalkit.reports.leaderboard")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_part(parts, "page.html.j2")).render(
        style=_part(parts, "page.css"),
        script=_part(parts, "page.js"),
        introduction=INTRODUCTION,
        boards=[_board(board) for board in boards],
    )


def _part(parts: Any, name: str) -> str:
    return str(parts.joinpath(name).read_text(encoding="utf-8"))


def _board(board: Board) -> dict[str, Any]:
    sections = [
        {"heading": s.heading, "about": s.about, "tables": [_table(table) for table in s.tables]}
        for s in board.sections
    ]
    return {"task": board.task, "sections": sections, "papers": board.papers}


def _table(table: Table) -> dict[str, Any]:
    shown = set(columns_shown(table))
    return {
        "title": title(table),
        "counted": table.counted,
        "ranked": not table.reason,
        "columns": [{"name": name, "extra": name not in shown} for name in table.columns],
        "n_extra": len(table.columns) - len(shown),
        "lines": [_line(table, line, shown) for line in table.lines],
        "placed": any(places(table, line) for line in table.lines),
        "effect": table.effect,
        "notes": table.notes,
    }


def _line(table: Table, line: Line, shown: set[str]) -> dict[str, Any]:
    return {
        "name": line.name,
        "kind": line.kind,
        "label": KINDS[line.kind] or ("paper" if line.kind == "paper" else "run"),
        "places": places(table, line),
        "details": (*line.details, *line.notes),
        "faults": faults(line),
        "source": line.source,
        "where": line.where,
        "short": line.short,
        "cells": [_cell(table, line, name, extra=name not in shown) for name in table.columns],
    }


def _cell(table: Table, line: Line, name: str, *, extra: bool) -> dict[str, Any] | None:
    cell: Cell | None = line.cells.get(name)
    if cell is None or cell.value is None:
        return {"shown": "–", "extra": extra, "order": "", "empty": True}
    return {
        "shown": cell.shown,
        "extra": extra,
        "empty": False,
        "order": "" if cell.order is None else f"{cell.order:.10f}",
        "bounds": bounds(cell),
        "n": cell.n,
        "unscored": unscored(cell),
        "best": is_best(table, name, line),
        "tied": is_tied(table, name, line),
        "source": cell.source,
        "title": f"{cell.where}\n{cell.signature}",
        "faults": faults(cell),
        "bar": _bar(cell) if name in HEADLINES else None,
    }


def _bar(cell: Cell) -> dict[str, str]:
    """Where value and interval stand between 0 and 100, for the eye."""
    ends = {"value": cell.value, "low": cell.low, "high": cell.high}
    return {key: "" if number is None else f"{100 * number:.1f}" for key, number in ends.items()}
