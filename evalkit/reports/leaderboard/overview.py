"""Models x tasks: the headline numbers of several tasks under one protocol and regime, one line a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from evalkit.core.format import shown_metric
from evalkit.reports import markdown
from evalkit.reports.leaderboard.anchors import row_anchor
from evalkit.reports.leaderboard.entries import Cell, Entry
from evalkit.reports.leaderboard.ranking import HEADLINES
from evalkit.reports.leaderboard.render import LABELS, bounds, is_best, is_tied
from evalkit.reports.leaderboard.tables import Board, Section, Table

# Headline metrics of a task that are shown, of those that its table has.
METRICS_OF_A_TASK = 2
# Overviews of the README, which has no script to choose one; the page has them all.
IN_README = 2
HOW_TO_READ = (
    "One line a model with numbers in two tasks or more, under one protocol and with one kind of training. Lines are "
    "in no order of merit: those with most tasks first. Where a table has several rows of a model, the one that stands "
    "highest in it is shown, with their number. Bold and ≈ are those of the task's own table; figures of papers have "
    "neither."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewCell:
    """The number of a model in one task.

    n_rows: the rows that the model has in the task's table.  anchor: that of the row that is shown.
    """

    cell: Cell
    best: bool
    tied: bool
    n_rows: int
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A metric of a task.

    data: which of several splits; empty where the task has one.  lower: whether a lower value is better.
    """

    task: str
    data: str
    metric: str
    lower: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A model.  label: "no image", "control", or empty.  cells: one a column, None without a number."""

    name: str
    label: str
    cells: tuple[OverviewCell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The models of several tasks under a protocol; heading: the kind of training."""

    protocol: str
    heading: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """The title of the table."""
        return f"{self.protocol}, {self.heading}"


def overviews(boards: Sequence[Board]) -> list[Overview]:
    """The overviews of protocols that rank models in two tasks or more, those with most numbers first."""
    groups: dict[tuple[str, str], list[tuple[str, Section, Table]]] = {}
    for board in boards:
        for section in board.sections:
            for table in section.tables:
                if not table.reason and any(e.kind != "baseline" for e in table.entries):
                    groups.setdefault((table.protocol, table.heading), []).append((board.task, section, table))
    made = [_overview(key, tables) for key, tables in groups.items()]
    return sorted(
        (o for o in made if any(not line.label for line in o.lines)),
        key=lambda o: -sum(cell is not None for line in o.lines for cell in line.cells),
    )


def _overview(key: tuple[str, str], tables: Sequence[tuple[str, Section, Table]]) -> Overview:
    protocol, heading = key
    several = {task for task in (t for t, _, _ in tables) if sum(t == task for t, _, _ in tables) > 1}
    columns: list[Column] = []
    cells: dict[tuple[str, str], dict[int, OverviewCell]] = {}
    for task, section, table in tables:
        data = section.heading.partition(",")[0] if task in several else ""
        for metric in _metrics(table):
            lower = table.higher_is_better[metric] is False
            columns.append(Column(task=task, data=data, metric=metric, lower=lower))
            for name, found in _cells(section, table, metric):
                cells.setdefault(name, {})[len(columns) - 1] = found
    lines = [
        Line(name=name, label=label, cells=tuple(found.get(k) for k in range(len(columns))))
        for (label, name), found in cells.items()
        if len({columns[k].task for k in found}) > 1
    ]
    lines.sort(key=lambda line: (line.label != "", -sum(c is not None for c in line.cells), line.name))
    kept = [k for k in range(len(columns)) if any(line.cells[k] for line in lines)]
    lines = [replace(line, cells=tuple(line.cells[k] for k in kept)) for line in lines]
    return Overview(protocol=protocol, heading=heading, columns=tuple(columns[k] for k in kept), lines=tuple(lines))


def _metrics(table: Table) -> list[str]:
    return [name for name in table.columns if name in HEADLINES][:METRICS_OF_A_TASK] or list(table.columns[:1])


def _cells(section: Section, table: Table, metric: str) -> Iterator[tuple[tuple[str, str], OverviewCell]]:
    """Label and name of each model of a table, with its number: of several rows the highest in the table's order."""
    rows: dict[tuple[str, str], list[Entry]] = {}
    for entry in table.entries:
        rows.setdefault((LABELS[entry.kind], entry.name), []).append(entry)
    for key, entries in rows.items():
        cell = entries[0].cells.get(metric)
        if cell is not None and cell.number.value is not None:
            best, tied = is_best(table, metric, entries[0]), is_tied(table, metric, entries[0])
            anchor = row_anchor(section, table, entries[0])
            yield key, OverviewCell(cell=cell, best=best, tied=tied, n_rows=len(entries), anchor=anchor)


def heading_of(column: Column) -> str:
    """The heading of a column."""
    return f"{column.task}{f' {column.data}' if column.data else ''} {shown_metric(column.metric)}"


def to_markdown(found: Iterable[Overview]) -> list[str]:
    """The first overviews as lines of Markdown; no lines without one."""
    md = markdown.escape
    lines: list[str] = []
    for overview in list(found)[:IN_README]:
        head = ["model", *(md(heading_of(c)) for c in overview.columns)]
        rows = [[md(_name(line)), *(_text(cell) for cell in line.cells)] for line in overview.lines]
        lines += ["", f"### {md(overview.title)}", "", *markdown.table(head, rows)]
    return ["", "## Models x tasks", "", md(HOW_TO_READ), *lines] if lines else []


def _name(line: Line) -> str:
    return f"{line.name} ({line.label})" if line.label else line.name


def _text(found: OverviewCell | None) -> str:
    if found is None:
        return "–"
    shown = markdown.escape(found.cell.shown)
    several = f" (1 of {found.n_rows} rows)" if found.n_rows > 1 else ""
    value = f"**{shown}**" if found.best else shown
    return f"{value}{' ≈' if found.tied else ''} {bounds(found.cell)}".rstrip() + several
