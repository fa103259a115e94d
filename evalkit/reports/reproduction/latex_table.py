"""A paper's table with its verdicts as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.published import PublishedTable, System
from evalkit.reports import latex as tex
from evalkit.reports.reproduction.layout import Block, blocks
from evalkit.reports.reproduction.verdict import (
    DEVIATES,
    IRREPRODUCIBLE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    VERDICTS,
    WITHIN,
    Cell,
    OwnRow,
)

SIGNS = {
    REPRODUCED: "$=$", WITHIN: r"$\approx$", DEVIATES: r"$\neq$", NOT_COMPARABLE: "?", IRREPRODUCIBLE: r"$\dagger$",
    NOT_RUN: "",
}  # fmt: skip


def latex(published: PublishedTable, cells: Sequence[Cell], own: Sequence[OwnRow] = ()) -> str:
    r"""The table as LaTeX, ready to paste: published rows, what reproduces a row beneath it, own rows last.

    One `table` for each of the paper's, and for each kind of columns: accuracies and recalls do not stand in one.
    """
    parts = []
    for number, block in enumerate(blocks(cells), 1):
        rows: list[list[str] | None] = []
        for system in block.systems:
            rows += _latex_rows(block, system)
        mine = [row for row in own if set(row.cells) & set(block.heads)]
        rows += [None] if mine else []
        rows += [_latex_own(block, row) for row in mine]
        signs = "; ".join(f"{SIGNS[v]} {v}" for v in VERDICTS if SIGNS[v])
        notes = [tex.Raw(f"Below a published row: what evalkit's run of it gives. {signs}.")]
        notes += [tex.Raw(tex.escape(note) + ".") for note in published.notes]
        parts.append(
            tex.table(
                ["", *block.heads.values()],
                rows,
                caption=f"{published.paper}: {block.table or published.table}.",
                label=f"tab:{published.name}-{number}",
                notes=notes,
            )
        )
    return "\n".join(parts)


def _latex_rows(block: Block, system: System) -> list[list[str] | None]:
    met = {column: block.cells.get((system.id, column), []) for column in block.heads}
    published = [_published(cells) for cells in met.values()]
    rows: list[list[str] | None] = [[system.label, *published]]
    runs = dict.fromkeys(c.run for cells in met.values() for c in cells if c.run)
    if not runs:
        return rows
    # Runs over several tasks make one row; a second run of the same cell starts another.
    for place in range(max(len(cells) for cells in met.values())):
        texts: list[str] = []
        for cells in met.values():
            c = cells[place] if place < len(cells) and cells[place].value is not None else None
            texts.append("–" if c is None else tex.Raw(f"{tex.escape(c.reproduced)}\\,{SIGNS[c.verdict]}"))
        rows.append([tex.Raw(r"\quad evalkit"), *texts])
    return rows


def _published(cells: Sequence[Cell]) -> str:
    """A published value, marked where no run beneath it can say that it cannot come out."""
    if not cells:
        return "–"
    value = cells[0].figure.value
    marked = cells[0].verdict == IRREPRODUCIBLE and not cells[0].run
    return tex.Raw(f"{tex.escape(value)}\\,{SIGNS[IRREPRODUCIBLE]}") if marked else value


def _latex_own(block: Block, row: OwnRow) -> list[str]:
    shown = [block.figure(c).prints(row.cells[c][0]) if c in row.cells else "–" for c in block.heads]
    return [row.model, *shown]
