"""A paper's table with its verdicts, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Container, Sequence

from evalkit.core.format import shown_metric
from evalkit.published import PublishedTable
from evalkit.reports.markdown import code, escape, table, without_html
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
    REPRODUCED: "=",
    EQUIVALENT: "≡",
    WITHIN: "~",
    DEVIATES: "≠",
    NOT_COMPARABLE: "?",
    IRREPRODUCIBLE: "!",
    NOT_RUN: "",
}
# So many cells are named with a reason.
NAMED_CELLS = 3


def tally(cells: Sequence[ReproducedCell]) -> str:
    """Number of cells of each verdict.

    >>> tally([])
    'no cells'
    """
    counts = {verdict: sum(c.verdict == verdict for c in cells) for verdict in VERDICTS}
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n) or "no cells"


def difference(cell: ReproducedCell) -> str:
    """Reproduced minus published, in the paper's unit with its digits; – without a value of a run."""
    if cell.fraction is None:
        return "–"
    gap = cell.figure.scale * (cell.fraction - cell.figure.fraction)
    return f"{gap:+.{max(cell.figure.decimals, 2)}f}"


def show(published: PublishedTable, cells: Sequence[ReproducedCell], extra: Sequence[ExtraRow] = ()) -> str:
    """The table for a terminal: one line a row of the paper, with the values of runs next to the published ones."""
    lines = [f"{published.paper}, {published.table}, {published.version}"]
    for block in blocks(cells, published.foreign):
        lines += ["", *([f"{block.table}:"] if block.table else []), *_block_lines(block, extra)]
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items() if sign)
    lines += ["", f"{signs}, no sign: not run", tally(cells)]
    if any(c.figure.regime == "trained-on-this-split" for c in cells):
        lines.append("* trained on: " + published.notes[0] if published.notes else "* trained on this split")
    return "\n".join([*lines, *_reasons(cells, published.foreign)])


def _block_lines(block: Block, extra: Sequence[ExtraRow]) -> list[str]:
    heads = [f"{head}{'*' if block.is_trained_on(column) else ''}" for column, head in block.heads.items()]
    rows: list[tuple[str, list[str]]] = []
    for system in block.systems:
        by_column = [block.cells.get(CellKey(system.id, column), []) for column in block.heads]
        rows.append((system.id, [_with_runs(cells) for cells in by_column]))
    rows += [(f"+ {row.model}", extra_texts(block, row)) for row in extra if set(row.cells) & set(block.heads)]
    name_width = max(len(name) for name, _ in rows)
    widths = [max(len(h), *(len(texts[i]) for _, texts in rows)) + 2 for i, h in enumerate(heads)]
    lines = [" " * name_width + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))]
    for name, texts in rows:
        lines.append(f"{name:<{name_width}}" + "".join(f"{t:>{w}}" for t, w in zip(texts, widths, strict=True)))
    return lines


def _with_runs(cells: Sequence[ReproducedCell]) -> str:
    """A published value, followed by the value of each run with the sign of its verdict."""
    return "–" if not cells else cells[0].figure.value + "".join(_signed(c) for c in cells)


def _signed(cell: ReproducedCell) -> str:
    if cell.value is None:
        return f" {SIGNS[cell.verdict]}" if SIGNS[cell.verdict] else ""
    return f" {SIGNS[cell.verdict]}{cell.printed}"


def _reasons(cells: Sequence[ReproducedCell], foreign: Container[str]) -> list[str]:
    """Each reason once, with the first cells that it is for; `foreign` as in `blocks`."""
    places: dict[tuple[str, str], list[str]] = {}
    for c in cells:
        if c.why:
            slice_name = "" if c.figure.slice == "all" else f" {c.figure.slice}"
            metric = shown_metric(c.figure.metric, is_stated=c.figure.protocol not in foreign)
            place = f"{c.run or c.system.id} {c.figure.task} {c.figure.split}{slice_name} {metric}"
            places.setdefault((c.verdict, c.why), []).append(place)
    lines = []
    for (verdict, why), named in places.items():
        more = f" and {len(named) - NAMED_CELLS} more" if len(named) > NAMED_CELLS else ""
        lines.append(f"{verdict}: {why} ({', '.join(named[:NAMED_CELLS])}{more})")
    return lines


def markdown(published: PublishedTable, cells: Sequence[ReproducedCell], extra: Sequence[ExtraRow] = ()) -> str:
    """The table as Markdown: one row a cell, the published value next to the run's."""
    text_of = without_html
    lines = [f"# {text_of(published.paper)}", ""]
    lines += [f"{text_of(published.table)}, {text_of(published.version)}. {text_of(published.url)}", ""]
    lines += [f"> {text_of(note)}\n" for note in published.notes]
    lines += [f"{tally(cells)}.", "", *_cell_table(published, cells)]
    if published.faults:
        numbered = enumerate(published.faults.values(), 1)
        lines += ["", "Known faults", "", *(f"{number}. {text_of(text)}" for number, text in numbered)]
    if published.foreign:
        lines += ["", "Protocols that evalkit cannot compute", ""]
        lines += [f"- `{code(name)}`: {text_of(text)}" for name, text in published.foreign.items()]
    return "\n".join([*lines, *_extra_table(cells, extra)]) + "\n"


def _cell_table(published: PublishedTable, cells: Sequence[ReproducedCell]) -> list[str]:
    has_flags = any(s.lora is not None or s.extra_data is not None for s in published.systems)
    marks = {key: str(number) for number, key in enumerate(published.faults, 1)}
    columns = ["row", "model", *(["LoRA", "extra data"] if has_flags else [])]
    columns += ["task", "split", "slice", "protocol", "metric", "regime", "published", "reproduced"]
    columns += ["95 % interval", "difference", "verdict", "run", "faults"]
    rows = []
    for cell in cells:
        figure, system = cell.figure, cell.system
        split = f"{figure.split} (trained on)" if figure.regime == "trained-on-this-split" else figure.split
        values = [system.label, system.model, *([_flag(system.lora), _flag(system.extra_data)] if has_flags else [])]
        metric = shown_metric(figure.metric, is_stated=figure.protocol not in published.foreign)
        values += [figure.task, split, figure.slice, figure.protocol, metric, _regime(cell)]
        values += [figure.value, cell.printed, _interval(cell), difference(cell)]
        values += [f"{cell.verdict}: {cell.why}" if cell.why else cell.verdict, cell.run or "–"]
        values.append(", ".join(marks[k] for k in dict.fromkeys((*figure.faults, *system.faults))) or "–")
        rows.append([escape(value) for value in values])
    return table(columns, rows)


def _extra_table(cells: Sequence[ReproducedCell], extra: Sequence[ExtraRow]) -> list[str]:
    if not any(row.cells for row in extra):
        return []
    figures = {column: block.figure(column) for block in blocks(cells) for column in block.heads}
    columns = ["model", "task", "split", "slice", "protocol", "metric", "value", "run"]
    rows = []
    for row in extra:
        for c, cell in row.cells.items():
            assert cell.value.value is not None
            values = [row.model, c.task, c.split, c.slice, c.protocol, shown_metric(c.metric)]
            values += [figures[c].prints(cell.value.value), cell.run]
            rows.append([escape(value) for value in values])
    return ["", "Rows of other models", "", *table(columns, rows)]


def _regime(cell: ReproducedCell) -> str:
    figure = cell.figure
    epochs = f", {figure.epochs} epochs" if figure.epochs else ""
    return f"{figure.regime} on {figure.train}{epochs}" if figure.train else figure.regime


def _interval(cell: ReproducedCell) -> str:
    if cell.value is None or cell.value.low is None or cell.value.high is None:
        return "–"
    return f"{cell.figure.prints(max(cell.value.low, 0.0))} to {cell.figure.prints(cell.value.high)}"


def _flag(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[value]
