"""The rows and columns of a paper's table: cells that are counted in the same ways stand in one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.published import Figure, System
from evalkit.reports.reproduction.verdict import Cell, Column, column_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of one table of the paper that share their protocols.

    table: which one, "" for its main one.  heads: column -> what tells it from the others.  cells: of a row and column.
    """

    table: str
    systems: Sequence[System]
    heads: Mapping[Column, str]
    cells: Mapping[tuple[str, Column], Sequence[Cell]]

    def figure(self, column: Column) -> Figure:
        """A published figure of the column, for its unit and digits."""
        return next(cells[0].figure for (_, c), cells in self.cells.items() if c == column)

    def trained_on(self, column: Column) -> bool:
        """Whether the column is over a split that its models were trained on."""
        found = [c.figure for (_, k), cells in self.cells.items() if k == column for c in cells]
        return any(f.regime == "trained-on-this-split" for f in found)


def blocks(cells: Sequence[Cell]) -> list[Block]:
    """The cells by the table that their rows are in and what they are counted by, in the order of the paper."""
    systems: dict[str, System] = {}
    protocols: dict[str, frozenset[str]] = {}
    for cell in cells:
        systems.setdefault(cell.system.id, cell.system)
        protocols[cell.system.id] = protocols.get(cell.system.id, frozenset()) | {cell.figure.protocol}
    groups: dict[tuple[str, frozenset[str]], list[System]] = {}
    for name, system in systems.items():
        groups.setdefault((system.table, protocols[name]), []).append(system)
    return [_block(table, members, cells) for (table, _), members in groups.items()]


def _block(table: str, systems: Sequence[System], cells: Sequence[Cell]) -> Block:
    ids = {s.id for s in systems}
    mine: dict[tuple[str, Column], list[Cell]] = {}
    for cell in cells:
        if cell.system.id in ids:
            mine.setdefault((cell.system.id, column_of(cell.figure)), []).append(cell)
    columns = list(dict.fromkeys(column for _, column in mine))
    return Block(table=table, systems=systems, heads=heads(columns), cells=mine)


def heads(columns: Sequence[Column]) -> dict[Column, str]:
    """For each column what tells it from the others.

    >>> list(heads([("slake", "test", "p", "f1", "all"), ("slake", "test", "p", "bleu_1", "all")]).values())
    ['slake f1', 'slake bleu_1']
    """
    several = {name: len({c[part] for c in columns}) > 1 for part, name in ((0, "task"), (1, "split"), (4, "slice"))}
    found = {}
    for column in columns:
        task, split, protocol, metric, slice_name = column
        beside = [c for c in columns if c != column and (c[0], c[1], c[4]) == (task, split, slice_name)]
        parts = [_short(task, [c[0] for c in columns])] if several["task"] or not several["slice"] else []
        parts += [split] if several["split"] else []
        parts += [metric] if beside else []
        parts += [slice_name.partition("=")[2] or slice_name] if several["slice"] else []
        parts += [f"({protocol})"] if any(c[3] == metric for c in beside) else []
        found[column] = " ".join(parts)
    return found


def _short(task: str, tasks: Sequence[str]) -> str:
    """The task without the word that all of them start with: cls for coloninst-cls."""
    first = {t.partition("-")[0] for t in tasks}
    return task.partition("-")[2] if len(first) == 1 and len(set(tasks)) > 1 and "-" in task else task
