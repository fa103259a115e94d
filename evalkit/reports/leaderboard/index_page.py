"""The overview: models x tasks, a contents list of the tasks, and a search over the rows of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.reports.leaderboard.anchors import row_anchor, table_anchor
from evalkit.reports.leaderboard.overview import HOW_TO_READ, Overview, OverviewCell, heading_of
from evalkit.reports.leaderboard.page import (
    Link,
    Surroundings,
    fill,
    kind_label,
    order_text,
    task_page,
)
from evalkit.reports.leaderboard.render import bounds, row_counts, title
from evalkit.reports.leaderboard.tables import Board

# The ids of the page's own elements, which no task's anchor takes.
IDS = ("count", "filters", "found", "overview", "overview-choice", "rest", "rows", "runs", "text")


def pages(boards: Sequence[Board], together: Sequence[Overview], around: Surroundings) -> dict[str, str]:
    """File name -> content: the overview and one page a task."""
    return {around.index: index_page(boards, together, around)} | {
        around.file(board.task): task_page(board, around) for board in boards
    }


def index_page(boards: Sequence[Board], together: Sequence[Overview], around: Surroundings) -> str:
    """The overview.  An address with #TASK, which had all tables of a task on this page once, leads to its page."""
    return fill(
        "index.html.j2",
        around,
        scripts=("common.js", "index.js"),
        links=around.links,
        title="Leaderboards",
        heading="Leaderboards",
        overviews=[_overview(overview, around) for overview in together],
        how_to_read_overviews=HOW_TO_READ,
        tasks=[
            {
                "name": board.task,
                "anchor": "" if board.task in IDS else board.task,
                "file": around.file(board.task),
                "size": _size(board),
            }
            for board in boards
        ],
        rows=_rows(boards, around),
    )


def _size(board: Board) -> str:
    runs, papers = row_counts(board)
    return f"rows: {', '.join([f'{runs} of runs'] * bool(runs) + [f'{papers} of papers'] * bool(papers))}"


def _rows(boards: Sequence[Board], around: Surroundings) -> dict[str, list[Any]]:
    """What is searched, each name once: tasks with their files, tables with their task, rows with their table."""
    tables: list[tuple[int, str, str]] = []
    rows: list[tuple[int, str, str, str, str]] = []
    for number, board in enumerate(boards):
        for section in board.sections:
            for table in section.tables:
                rows += [
                    (len(tables), e.name, kind_label(e), e.short, row_anchor(section, table, e)) for e in table.entries
                ]
                tables.append((number, title(table), table_anchor(section, table)))
    return {"tasks": [Link(around.file(b.task), b.task) for b in boards], "tables": tables, "rows": rows}


def _overview(overview: Overview, around: Surroundings) -> dict[str, Any]:
    columns = [{"label": heading_of(c), "lower": c.lower} for c in overview.columns]
    lines = []
    for line in overview.lines:
        cells = [_cell(c, around.file(k.task)) for c, k in zip(line.cells, overview.columns, strict=True)]
        lines.append({"name": line.name, "label": line.label, "cells": cells})
    return {"title": overview.title, "columns": columns, "lines": lines}


def _cell(found: OverviewCell | None, file: str) -> dict[str, Any] | None:
    if found is None:
        return None
    marks = {"best": found.best, "tied": found.tied, "n_rows": found.n_rows}
    address = f"{file}#{found.anchor}"
    cell = found.cell
    return {"shown": cell.shown, "order": order_text(cell), "bounds": bounds(cell), "address": address, **marks}
