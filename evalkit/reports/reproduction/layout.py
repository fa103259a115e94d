"""Rows and columns of a paper's table: rows with the same protocols are in one block; rows of the user's models."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey, MetricValue
from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.reproduction.verdict import ReproducedCell, find_value, why_not_comparable
from evalkit.runs.schema import Summary


class Column(NamedTuple):
    """A column of a paper's table."""

    task: str
    split: str
    protocol: str
    metric: str
    slice: str

    @classmethod
    def of(cls, figure: Figure) -> Column:
        """The column of a figure."""
        return cls(figure.task, figure.split, figure.protocol, figure.metric, figure.slice)


class CellKey(NamedTuple):
    """A row, by its id, and a column."""

    row: str
    column: Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of one table of the paper that share their protocols.

    table: empty for the paper's main one.  heads: column -> its heading.  cells: of a row and column.
    """

    table: str
    systems: Sequence[System]
    heads: Mapping[Column, str]
    cells: Mapping[CellKey, Sequence[ReproducedCell]]

    def figure(self, column: Column) -> Figure:
        """A published figure of the column, for its unit and digits."""
        return next(cells[0].figure for key, cells in self.cells.items() if key.column == column)

    def is_trained_on(self, column: Column) -> bool:
        """Whether the column is over a split that its models were trained on."""
        found = [c.figure for key, cells in self.cells.items() if key.column == column for c in cells]
        return any(f.regime == "trained-on-this-split" for f in found)


def blocks(cells: Sequence[ReproducedCell], foreign: Container[str] = ()) -> list[Block]:
    """The cells by the table and the protocols of their rows, in the order of the paper.

    foreign: the protocols that evalkit cannot compute; their headings say that the kind of BLEU is not stated.
    """
    systems: dict[str, System] = {}
    protocols: dict[str, frozenset[str]] = {}
    for cell in cells:
        systems.setdefault(cell.system.id, cell.system)
        protocols[cell.system.id] = protocols.get(cell.system.id, frozenset()) | {cell.figure.protocol}
    groups: dict[tuple[str, frozenset[str]], list[System]] = {}
    for name, system in systems.items():
        groups.setdefault((system.table, protocols[name]), []).append(system)
    return [_block(table, members, cells, foreign) for (table, _), members in groups.items()]


def _block(table: str, systems: Sequence[System], cells: Sequence[ReproducedCell], foreign: Container[str]) -> Block:
    ids = {s.id for s in systems}
    members: dict[CellKey, list[ReproducedCell]] = {}
    for cell in cells:
        if cell.system.id in ids:
            members.setdefault(CellKey(cell.system.id, Column.of(cell.figure)), []).append(cell)
    columns = list(dict.fromkeys(key.column for key in members))
    return Block(table=table, systems=systems, heads=headings(columns, foreign), cells=members)


def headings(columns: Sequence[Column], foreign: Container[str] = ()) -> dict[Column, str]:
    """A heading for each column: the parts in which it differs from the others.

    >>> columns = [Column("slake", "test", "p", "f1", "all"), Column("slake", "test", "p", "bleu_1", "all")]
    >>> list(headings(columns).values())
    ['slake f1', 'slake bleu_1 (mean of sentences)']
    """
    several_tasks = len({c.task for c in columns}) > 1
    several_splits = len({c.split for c in columns}) > 1
    several_slices = len({c.slice for c in columns}) > 1
    found = {}
    for column in columns:
        same_rows = (column.task, column.split, column.slice)
        others = [c for c in columns if c != column and (c.task, c.split, c.slice) == same_rows]
        parts = [_short(column.task, [c.task for c in columns])] if several_tasks or not several_slices else []
        parts += [column.split] if several_splits else []
        parts += [shown_metric(column.metric, is_stated=column.protocol not in foreign)] if others else []
        parts += [column.slice.partition("=")[2] or column.slice] if several_slices else []
        parts += [f"({column.protocol})"] if any(c.metric == column.metric for c in others) else []
        found[column] = " ".join(parts)
    return found


def _short(task: str, tasks: Sequence[str]) -> str:
    """The task without the word that all of them start with: cls for coloninst-cls."""
    first = {t.partition("-")[0] for t in tasks}
    return task.partition("-")[2] if len(first) == 1 and len(set(tasks)) > 1 and "-" in task else task


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraCell:
    """A run's value for a column of the table."""

    value: MetricValue
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRow:
    """A user-supplied row for a model that is not in the paper."""

    model: str
    cells: Mapping[Column, ExtraCell]


def extra_rows(published: PublishedTable, runs: Sequence[Summary], extra_models: Sequence[str]) -> list[ExtraRow]:
    """Rows for models that are not in the paper, with their values in the columns where these are comparable.

    A value over other rows than the paper's, of other images or with unscored rows is left out.
    """
    figures = {Column.of(f): f for s in published.systems for f in s.figures}
    rows = []
    for model in extra_models:
        cells: dict[Column, ExtraCell] = {}
        for run in (r for r in runs if r.model == model):
            for column, figure in figures.items():
                value = find_value(run, MetricKey(column.protocol, column.metric), column.slice)
                other_rows = (run.task, run.split) != (column.task, column.split)
                if other_rows or value is None or why_not_comparable(figure, run, value):
                    continue
                cells.setdefault(column, ExtraCell(value=value, run=run.run_id))
        rows.append(ExtraRow(model=model, cells=cells))
    return rows


def extra_texts(block: Block, row: ExtraRow) -> list[str]:
    """The values of an extra row as the paper would print them, one a column; – for none."""
    texts = []
    for column in block.heads:
        cell = row.cells.get(column)
        fraction = None if cell is None else cell.value.value
        texts.append("–" if fraction is None else block.figure(column).prints(fraction))
    return texts
