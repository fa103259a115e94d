"""A paper's table with its verdicts as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.published import PublishedTable, System
from evalkit.reports import latex as tex
from evalkit.reports.reproduction.layout import Block, CellKey, ExtraRow, blocks, extra_texts
from evalkit.reports.reproduction.verdict import (
    DEVIATES,
    EQUIVALENT,
    IRREPRODUCIBLE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    VERDICTS,
    WITHIN,
    ReproducedCell,
)

SIGNS = {
    REPRODUCED: "$=$", EQUIVALENT: r"$\equiv$", WITHIN: r"$\approx$", DEVIATES: r"$\neq$",
    NOT_COMPARABLE: "?", IRREPRODUCIBLE: r"$\dagger$",
    NOT_RUN: "",
}  # fmt: skip


def latex(published: PublishedTable, cells: Sequence[ReproducedCell], extra: Sequence[ExtraRow] = ()) -> str:
    r"""The table as LaTeX, ready to paste: published rows, below each the runs of it, rows of other models last.

    One `table` for each table of the paper and each combination of protocols.
    """
    parts = []
    for number, block in enumerate(blocks(cells, published.foreign), 1):
        rows: list[list[str] | None] = []
        for system in block.systems:
            rows += _rows(block, system)
        extra_here = [row for row in extra if set(row.cells) & set(block.heads)]
        rows += [None] if extra_here else []
        rows += [[row.model, *extra_texts(block, row)] for row in extra_here]
        signs = "; ".join(f"{SIGNS[v]} {v}" for v in VERDICTS if SIGNS[v])
        notes = [tex.Raw(f"Below a published row: the values of evalkit's run of it. {signs}.")]
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


def _rows(block: Block, system: System) -> list[list[str] | None]:
    by_column = [block.cells.get(CellKey(system.id, column), []) for column in block.heads]
    rows: list[list[str] | None] = [[system.label, *(_published(cells) for cells in by_column)]]
    if not any(c.run for cells in by_column for c in cells):
        return rows
    # Runs over several tasks make one row; a second run of the same cell starts another.
    for number in range(max(len(cells) for cells in by_column)):
        texts = [_reproduced(cells[number]) if number < len(cells) else "–" for cells in by_column]
        rows.append([tex.Raw(r"\quad evalkit"), *texts])
    return rows


def _reproduced(cell: ReproducedCell) -> str:
    return "–" if cell.value is None else tex.Raw(f"{tex.escape(cell.printed)}\\,{SIGNS[cell.verdict]}")


def _published(cells: Sequence[ReproducedCell]) -> str:
    """A published value, marked where it is irreproducible and no run below it shows that."""
    if not cells:
        return "–"
    value = cells[0].figure.value
    marked = cells[0].verdict == IRREPRODUCIBLE and not cells[0].run
    return tex.Raw(f"{tex.escape(value)}\\,{SIGNS[IRREPRODUCIBLE]}") if marked else value
