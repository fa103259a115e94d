"""A paper's table with its verdicts, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.published import PublishedTable
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

SIGNS = {REPRODUCED: "=", WITHIN: "~", DEVIATES: "≠", NOT_COMPARABLE: "?", IRREPRODUCIBLE: "!", NOT_RUN: ""}


def tally(cells: Sequence[Cell]) -> str:
    """How often each verdict was given.

    >>> tally([])
    'no cells'
    """
    counts = {verdict: sum(c.verdict == verdict for c in cells) for verdict in VERDICTS}
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n) or "no cells"


def difference(cell: Cell) -> str:
    """Reproduced less published, in the paper's unit with its digits; "–" where there is nothing to compare."""
    if cell.value is None:
        return "–"
    gap = cell.figure.scale * (cell.value - cell.figure.fraction)
    return f"{gap:+.{max(cell.figure.decimals, 2)}f}"


def show(published: PublishedTable, cells: Sequence[Cell], own: Sequence[OwnRow] = ()) -> str:
    """The table for a terminal: a line a row of the paper, its values, each with what the runs say of it."""
    lines = [f"{published.paper}, {published.table}, {published.version}"]
    for block in blocks(cells):
        lines += ["", *([f"{block.table}:"] if block.table else []), *_shown(block, own)]
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items() if sign)
    lines += ["", f"{signs}, no sign: not run", tally(cells)]
    if any(c.figure.regime == "trained-on-this-split" for c in cells):
        lines.append("* trained on: " + published.notes[0] if published.notes else "* trained on this split")
    return "\n".join([*lines, *_reasons(cells)])


def _shown(block: Block, own: Sequence[OwnRow]) -> list[str]:
    heads = [f"{head}{'*' if block.trained_on(column) else ''}" for column, head in block.heads.items()]
    mine = [row for row in own if set(row.cells) & set(block.heads)]
    rows: list[tuple[str, list[str]]] = []
    for system in block.systems:
        texts = []
        for column in block.heads:
            met = block.cells.get((system.id, column), [])
            first = met[0] if met else None
            value = "–" if first is None else first.figure.value
            texts.append(value + "".join(_said(c) for c in met))
        rows.append((system.id, texts))
    for row in mine:
        texts = [
            block.figure(column).prints(row.cells[column][0]) if column in row.cells else "–" for column in block.heads
        ]
        rows.append((f"+ {row.model}", texts))
    name_width = max(len(name) for name, _ in rows)
    widths = [max(len(h), *(len(texts[i]) for _, texts in rows)) + 2 for i, h in enumerate(heads)]
    lines = [" " * name_width + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))]
    for name, texts in rows:
        lines.append(f"{name:<{name_width}}" + "".join(f"{t:>{w}}" for t, w in zip(texts, widths, strict=True)))
    return lines


def _said(cell: Cell) -> str:
    if cell.value is None:
        return f" {SIGNS[cell.verdict]}" if SIGNS[cell.verdict] else ""
    return f" {SIGNS[cell.verdict]}{cell.reproduced}"


def _reasons(cells: Sequence[Cell]) -> list[str]:
    """Each reason once, with the cells that it is for; the first three are named."""
    places: dict[tuple[str, str], list[str]] = {}
    for c in cells:
        if c.why:
            slice_name = "" if c.figure.slice == "all" else f" {c.figure.slice}"
            place = f"{c.run or c.system.id} {c.figure.task} {c.figure.split}{slice_name} {c.figure.metric}"
            places.setdefault((c.verdict, c.why), []).append(place)
    lines = []
    for (verdict, why), named in places.items():
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        lines.append(f"{verdict}: {why} ({', '.join(named[:3])}{more})")
    return lines


def markdown(published: PublishedTable, cells: Sequence[Cell], own: Sequence[OwnRow] = ()) -> str:
    """The table as Markdown: a row a cell, what was published beside what came out."""
    lines = [f"# {published.paper}", "", f"{published.table}, {published.version}. {published.url}", ""]
    lines += [f"> {note}\n" for note in published.notes]
    lines += [f"{tally(cells)}.", ""]
    flags = any(s.lora is not None or s.extra_data is not None for s in published.systems)
    marks = {key: str(number) for number, key in enumerate(published.faults, 1)}
    columns = [
        "row",
        "model",
        *(["LoRA", "extra data"] if flags else []),
        "task",
        "split",
        "slice",
        "protocol",
        "metric",
    ]
    columns += ["regime", "published", "reproduced", "95 % interval", "difference", "verdict", "run", "faults"]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for cell in cells:
        figure, system = cell.figure, cell.system
        split = f"{figure.split} (trained on)" if figure.regime == "trained-on-this-split" else figure.split
        values = [system.label, system.model, *([_flag(system.lora), _flag(system.extra_data)] if flags else [])]
        values += [figure.task, split, figure.slice, figure.protocol, figure.metric, _regime(cell)]
        values += [figure.value, cell.reproduced, _interval(cell), difference(cell)]
        values += [f"{cell.verdict}: {cell.why}" if cell.why else cell.verdict, cell.run or "–"]
        values.append(", ".join(marks[k] for k in dict.fromkeys((*figure.faults, *system.faults))) or "–")
        lines.append("| " + " | ".join(v.replace("|", "\\|") for v in values) + " |")
    if published.faults:
        lines += ["", "Known faults", ""]
        lines += [f"{marks[key]}. {text}" for key, text in published.faults.items()]
    if published.foreign:
        lines += ["", "Protocols that evalkit cannot compute", ""]
        lines += [f"- `{name}`: {text}" for name, text in published.foreign.items()]
    return "\n".join([*lines, *_own_markdown(cells, own)]) + "\n"


def _own_markdown(cells: Sequence[Cell], own: Sequence[OwnRow]) -> list[str]:
    if not any(row.cells for row in own):
        return []
    figures = {column: block.figure(column) for block in blocks(cells) for column in block.heads}
    lines = ["", "Rows of one's own", "", "| model | task | split | slice | protocol | metric | value | run |"]
    lines.append("|" + "---|" * 8)
    for row in own:
        for column, (value, _low, _high, _n, run) in row.cells.items():
            task, split, protocol, metric, slice_name = column
            shown = figures[column].prints(value)
            lines.append(f"| {row.model} | {task} | {split} | {slice_name} | {protocol} | {metric} | {shown} | {run} |")
    return lines


def _regime(cell: Cell) -> str:
    figure = cell.figure
    epochs = f", {figure.epochs} epochs" if figure.epochs else ""
    return f"{figure.regime} on {figure.train}{epochs}" if figure.train else figure.regime


def _interval(cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return "–"
    return f"{cell.figure.prints(max(cell.low, 0.0))} to {cell.figure.prints(cell.high)}"


def _flag(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[value]
