"""The leaderboards as HTML: an overview, and one page a task; tables without script, sorting and filters with it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.files import LONGEST_NAME
from evalkit.core.format import percent
from evalkit.reports.leaderboard.anchors import row_anchor, table_anchor
from evalkit.reports.leaderboard.entries import Cell, EarlierRow, Entry
from evalkit.reports.leaderboard.generated import GENERATOR
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
from evalkit.reports.leaderboard.tables import Board, Section, Table

if TYPE_CHECKING:
    from jinja2 import Environment

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Hex digits of the digest of answers that are shown.
SHOWN_DIGITS = 12


class Link(NamedTuple):
    """A link to another page."""

    address: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the pages are: among the files of a leaderboard, or in the viewer.

    index: the file of the overview.  prefix: of the files of tasks.  links: on every page.  notes: remarks, on every
    page.  addresses: of results, where a number leads elsewhere than to the result's file.  twins: tasks whose name is
    another task's but for its case, as `twins` finds them.
    """

    index: str = "index.html"
    prefix: str = ""
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    twins: frozenset[str] = frozenset()

    def file(self, task: str) -> str:
        """The name of a task's page, which is an address too.

        Another name than that of a file is told apart by a digest after ~, which no task's file name has; so are names
        that one file system takes for two files and another one for the same.

        >>> Surroundings().file("vqa-rad"), Surroundings(prefix="board-").file("../a b")
        ('vqa-rad.html', 'board-a-b~2c2c791a.html')
        >>> Surroundings(twins=twins(["VQA", "vqa"])).file("VQA")
        'VQA~2d62a19f.html'
        """
        if FILE_NAME.fullmatch(task) and len(task) <= LONGEST_NAME and task not in self.twins:
            return f"{self.prefix}{task}.html"
        digest = hashlib.sha256(task.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", task).strip(".-")[: LONGEST_NAME - 10]
        return f"{self.prefix}{safe or 'task'}~{digest}.html"

    def address(self, source: str) -> str:
        """Where the source of a number is."""
        return self.addresses.get(source, source)


def twins(tasks: Iterable[str]) -> frozenset[str]:
    """The tasks whose files another task's would replace where a file system does not tell case apart.

    A name in lower case keeps its file, so that its address stays when a twin comes.

    >>> sorted(twins(["VQA", "vqa", "Slake"]))
    ['VQA']
    """
    names = list(tasks)
    counts = Counter(name.lower() for name in names)
    return frozenset(name for name in names if counts[name.lower()] > 1 and name != name.lower())


def task_page(board: Board, around: Surroundings) -> str:
    """The page of a task.  Names and texts are data, never markup: a script tag in one does nothing."""
    sections = [
        {"heading": s.heading, "about": s.about, "tables": [_table(s, table, around) for table in s.tables]}
        for s in board.sections
    ]
    return fill(
        "task.html.j2",
        around,
        scripts=("common.js", "task.js"),
        links=(*around.links, Link(around.index, "all tasks")),
        title=f"{board.task} – leaderboard",
        heading=board.task,
        board={"task": board.task, "sections": sections, "papers": board.papers},
    )


def fill(template: str, around: Surroundings, *, scripts: Sequence[str], **content: Any) -> str:
    """A page with its style and its scripts in it."""
    made = _environment().get_template(template)
    style, script = _part("page.css"), "".join(map(_part, scripts))
    common = {"style": style, "script": script, "generator": GENERATOR, "introduction": INTRODUCTION}
    return made.render(notes=around.notes, **common, **content)


@lru_cache(1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_part)
    )


def _part(name: str) -> str:
    return files("evalkit.reports.leaderboard").joinpath(name).read_text(encoding="utf-8")


def kind_label(entry: Entry) -> str:
    """The label of an entry on a page."""
    return LABELS[entry.kind] or ("paper" if entry.kind == "paper" else "run")


def _table(section: Section, table: Table, around: Surroundings) -> dict[str, Any]:
    shown = set(shown_columns(table))
    entries = [
        {"anchor": row_anchor(section, table, entry), **_entry(table, entry, shown, around)} for entry in table.entries
    ]
    return {
        "anchor": table_anchor(section, table),
        "title": title(table),
        "recipe": table.recipe,
        "ranked": not table.reason,
        "columns": [
            {"name": heading(table, name), "extra": name not in shown, "lower": table.higher_is_better[name] is False}
            for name in table.columns
        ],
        "n_extra": len(table.columns) - len(shown),
        "entries": entries,
        "placed": any(place_text(table, entry) for entry in table.entries),
        "effect": table.effect,
        "notes": table.notes,
    }


def _entry(table: Table, entry: Entry, shown: set[str], around: Surroundings) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "label": kind_label(entry),
        "place": place_text(table, entry),
        "details": (*entry.details, *entry.notes),
        "faults": faults(entry),
        "source": around.address(entry.source),
        "where": entry.where,
        "short": entry.short,
        "now": _version(entry.added, entry.evalkit, entry.answers),
        "history": [_earlier(row, table, shown) for row in entry.history],
        "cells": [_cell(table, entry, name, around, extra=name not in shown) for name in table.columns],
    }


def _version(added: str, evalkit: str, answers: str) -> str:
    """The day, version and answers of a result."""
    known = [f"stored {added}"] * bool(added) + [f"evalkit {evalkit}"]
    return ", ".join([*known, *([f"answers {answers[:SHOWN_DIGITS]}"] * bool(answers))])


def _earlier(row: EarlierRow, table: Table, shown: set[str]) -> dict[str, Any]:
    other = f"; other protocol settings: {row.recipe}" if row.recipe else ""
    numbers = []
    for name, cell in row.cells.items():
        parts = [heading(table, name), cell.shown, bounds(cell), f"n={cell.n}", unscored(cell)]
        numbers.append({"text": " ".join(part for part in parts if part), "extra": name not in shown})
    return {"about": f"{_version(row.added, row.evalkit, row.answers)}{other}", "numbers": numbers}


def _cell(table: Table, entry: Entry, name: str, around: Surroundings, *, extra: bool) -> dict[str, Any]:
    cell: Cell | None = entry.cells.get(name)
    if cell is None or cell.number.value is None:
        return {"shown": "–", "extra": extra, "order": "", "empty": True}
    return {
        "shown": cell.shown,
        "extra": extra,
        "empty": False,
        "order": order_text(cell),
        "bounds": bounds(cell),
        "n": cell.n,
        "unscored": unscored(cell),
        "best": is_best(table, name, entry),
        "tied": is_tied(table, name, entry),
        "source": around.address(cell.source),
        "title": f"{cell.where}\n{cell.number.signature}",
        "faults": faults(cell),
        "bar": _bar(cell) if name in HEADLINES else None,
    }


def order_text(cell: Cell) -> str:
    """The value that a script sorts by; empty where there is none."""
    return "" if cell.order is None else f"{cell.order:.10f}"


def _bar(cell: Cell) -> dict[str, str]:
    """Positions of value and interval on a scale from 0 to 100; empty without an interval."""
    ends = {"value": cell.number.value, "low": cell.number.low, "high": cell.number.high}
    return {key: "" if number is None else percent(number, 1) for key, number in ends.items()}
