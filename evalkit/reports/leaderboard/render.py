"""The tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.core.format import interval, shown_metric, worst_case
from evalkit.reports import latex, markdown
from evalkit.reports.csv_text import csv_text
from evalkit.reports.leaderboard.entries import Cell, Entry
from evalkit.reports.leaderboard.groups import FOREIGN_PROTOCOL
from evalkit.reports.leaderboard.ranking import HEADLINES, is_best_of_all
from evalkit.reports.leaderboard.tables import Board, Section, Table

CSV_COLUMNS = (
    "task", "data", "protocol", "counted", "regime", "not_ranked_because", "kind", "row", "details", "metric", "value",
    "low", "high", "interval", "n", "n_unscored", "value_worst_case", "places", "tied_with_best", "faults",
    "not_reproducible", "signature", "source", "where", "metric_label",
)  # fmt: skip
# Kind of an entry -> its label next to the name.
LABELS = {"run": "", "paper": "", "baseline": "no image", "control": "control"}
INTRODUCTION = (
    "Percent, with the 95 % interval and n. n is the number of all rows of the metric. Unscored rows are stated in "
    "brackets: protocols that exclude them leave them out of the value, and for the order of the rows each counts as "
    "the worst score. Rows are comparable within one table only."
)


def shown_columns(table: Table) -> list[str]:
    """The columns of a printed table: metrics of papers and ranked ones; CSV and page have the others too."""
    printed = {name for entry in table.entries if entry.kind == "paper" for name in entry.cells}
    return [c for c in table.columns if c in HEADLINES or c in printed] or list(table.columns[:1])


def heading(table: Table, name: str) -> str:
    """The heading of a column; of BLEU it says which one it is, where that is known."""
    return shown_metric(name, is_stated=not table.reason.startswith(FOREIGN_PROTOCOL))


def is_best(table: Table, name: str, entry: Entry) -> bool:
    """Whether a number is printed bold."""
    return is_best_of_all(name, entry, table.entries, table.places.get(name, {}))


def is_tied(table: Table, name: str, entry: Entry) -> bool:
    """Whether a number is not significantly different from the best of its column, and not the only best one."""
    place = table.places.get(name, {}).get(entry.id)
    return place is not None and place.tied and not place.best


def place_text(table: Table, entry: Entry) -> str:
    """The place in the column that orders the table; empty where the entry has none."""
    place = table.places.get(table.columns[0], {}).get(entry.id)
    return place.text if place else ""


def bounds(cell: Cell) -> str:
    """The interval in percent; empty without one.  ~ marks one that the paper does not print."""
    if cell.number.low is None or cell.number.high is None:
        return ""
    number = cell.number
    mark = "~" if cell.interval == "Wilson" else ""
    return f"{mark}{interval(number.low, number.high, 1, effective=number.n_effective)}"


def unscored(cell: Cell) -> str:
    """The number of unscored rows, and the value with each of them as the worst score; empty for none."""
    if not cell.number.n_unscored:
        return ""
    worst = worst_case(cell.order, cell.number.low_worst_case, cell.number.high_worst_case)
    return f"({cell.number.n_unscored} unscored; {worst} in the worst case)"


def row_name(entry: Entry) -> str:
    """The entry's name, with its label where it is no ordinary model."""
    return f"{entry.name} ({LABELS[entry.kind]})" if LABELS[entry.kind] else entry.name


def faults(item: Cell | Entry) -> list[str]:
    """The known faults of a number or an entry, in words."""
    why = [f"cannot be reproduced: {item.why_not}"] if isinstance(item, Cell) and item.why_not else []
    return [*item.faults, *why]


class Footnotes:
    """Numbers for footnotes, in order of first use."""

    def __init__(self) -> None:
        """No footnotes yet."""
        self.texts: list[str] = []

    def marks(self, texts: Sequence[str]) -> str:
        """The marks of these texts, as in [1][2]."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return "".join(f"[{self.texts.index(text) + 1}]" for text in texts)


def title(table: Table) -> str:
    """The title of a table: protocol and regime, or why it is not ranked."""
    if table.reason:
        return f"{table.protocol + ', ' if table.protocol else ''}not ranked: {table.reason}"
    return f"{table.protocol}, {table.heading}"


def row_counts(board: Board) -> tuple[int, int]:
    """The number of rows of a task that are of runs, and of papers; a row of several tables counts once."""
    kinds = list({entry.id: entry.kind for s in board.sections for t in s.tables for entry in t.entries}.values())
    return len(kinds) - kinds.count("paper"), kinds.count("paper")


def to_markdown(board: Board) -> str:
    """The leaderboard of a task as Markdown."""
    md = markdown.escape
    parts = [f"# {md(board.task)}", "", INTRODUCTION]
    for section in board.sections:
        parts += ["", f"## {md(section.heading)}", ""]
        parts += [f"> {md(text)}\n>" for text in section.about[:-1]] + [f"> {md(text)}" for text in section.about[-1:]]
        for table in section.tables:
            parts += _markdown_table(table)
    if board.papers:
        parts += ["", "## The papers", ""]
    for paper in board.papers:
        parts += [f"- {markdown.link(paper.name, paper.source)}", *(f"  - {md(text)}" for text in paper.notes)]
    return "\n".join(parts) + "\n"


def _markdown_table(table: Table) -> list[str]:
    md = markdown.escape
    names = shown_columns(table)
    footnotes = Footnotes()
    lines = ["", f"### {md(title(table))}", ""]
    lines += [f"Protocol settings: `{markdown.code(table.recipe)}`", ""] if table.recipe else []
    placed = any(place_text(table, entry) for entry in table.entries)
    headings = [heading(table, name) for name in names]
    head = [*(["place"] if placed else []), "model", *headings, "how", "source"]
    rows = []
    for entry in table.entries:
        cells = [_markdown_cell(table, name, entry, footnotes) for name in names]
        how = "; ".join(md(text) for text in (*entry.details, *entry.notes))
        row = [place_text(table, entry) or "·"] if placed else []
        name = md(row_name(entry)) + footnotes.marks(faults(entry))
        rows.append([*row, name, *cells, how, markdown.link(entry.short, entry.source)])
    lines += [*markdown.table([md(text) for text in head], rows), ""]
    lines += [f"- {md(text)}" for text in (table.effect, *table.notes) if text]
    lines += [f"- [{k}] {md(text)}" for k, text in enumerate(footnotes.texts, 1)]
    if signatures := _signatures(table, names):
        lines += ["- Signatures, without each row's own prompt, decoding and version:", *signatures]
    return lines


def _signatures(table: Table, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        signatures = [e.cells[name].number.signature for e in table.entries if e.kind != "paper" and name in e.cells]
        shared = dict.fromkeys(signature.column for signature in signatures if signature is not None)
        found += [f"  - `{markdown.code(text)}`" for text in shared]
    return found


def _markdown_cell(table: Table, name: str, entry: Entry, footnotes: Footnotes) -> str:
    cell = entry.cells.get(name)
    if cell is None or cell.number.value is None:
        return "–"
    shown = markdown.escape(cell.shown)
    value = f"**{shown}**" if is_best(table, name, entry) else shown
    tied = " ≈" if is_tied(table, name, entry) else ""
    rest = [bounds(cell), f"n={cell.n}" if cell.n else "", unscored(cell)]
    return " ".join([value + tied + footnotes.marks(faults(cell)), *(text for text in rest if text)])


def to_csv(board: Board) -> str:
    """Every number of a task, one a line: fractions with six decimals."""
    records = (
        _csv_record(board, section, table, entry, name)
        for section in board.sections
        for table in section.tables
        for entry in table.entries
        for name in table.columns
        if name in entry.cells
    )
    return csv_text(CSV_COLUMNS, records)


def _csv_record(board: Board, section: Section, table: Table, entry: Entry, name: str) -> dict[str, object]:
    cell = entry.cells[name]
    place = table.places.get(name, {}).get(entry.id)
    return {
        "task": board.task,
        "data": section.heading,
        "protocol": table.protocol,
        "counted": table.recipe,
        "regime": "" if entry.kind == "baseline" else entry.regime,
        "not_ranked_because": table.reason,
        "kind": entry.kind,
        "row": entry.name,
        "details": "; ".join((*entry.details, *entry.notes)),
        "metric": name,
        "value": _rounded(cell.number.value),
        "low": _rounded(cell.number.low),
        "high": _rounded(cell.number.high),
        "interval": cell.interval,
        "n": cell.n,
        "n_unscored": cell.number.n_unscored,
        "value_worst_case": _rounded(cell.order),
        "places": place.text if place else "",
        "tied_with_best": "" if place is None else "yes" if place.tied else "no",
        "faults": "; ".join((*entry.faults, *cell.faults)),
        "not_reproducible": cell.why_not,
        "signature": str(cell.number.signature),
        "source": cell.source,
        "where": cell.where,
        "metric_label": heading(table, name),
    }


def _rounded(value: float | None) -> float | None:
    # The last digits of computed bounds differ between machines.
    return None if value is None else round(value, 6)


def to_latex(board: Board) -> str:
    """A task's tables, ready to paste."""
    return "\n".join(
        _latex_table(board, section, table, k)
        for k, (section, table) in enumerate(((s, t) for s in board.sections for t in s.tables), 1)
    )


def _latex_table(board: Board, section: Section, table: Table, number: int) -> str:
    names = shown_columns(table)
    footnotes = Footnotes()
    sizes = {name: {e.cells[name].n for e in table.entries if name in e.cells} for name in names}
    # A number of rows that all entries share is in the heading instead of in each cell.
    shared = {name: next(iter(found)) if len(found) == 1 else None for name, found in sizes.items()}
    placed = any(place_text(table, entry) for entry in table.entries)
    head = [heading(table, name) + (f" (n={shared[name]})" if shared[name] else "") for name in names]
    rows = []
    for entry in table.entries:
        cells = [_latex_cell(table, name, entry, footnotes, shared[name]) for name in names]
        place = [place_text(table, entry) or "–"] if placed else []
        rows.append([*place, row_name(entry) + footnotes.marks(faults(entry)), *cells])
    recipe = [f"Protocol settings: {table.recipe}."] if table.recipe else []
    effect = [table.effect] if table.effect else []
    marked = [f"[{k}] {text}" for k, text in enumerate(footnotes.texts, 1)]
    return latex.table(
        [*(["place"] if placed else []), "model", *head],
        rows,
        align="r" * placed + "l" * (1 + len(names)),
        caption=f"{board.task}, {section.heading}: {title(table)}.",
        label=f"tab:{board.task}-{number}",
        notes=[INTRODUCTION, *recipe, *effect, *table.notes, *marked],
    )


def _latex_cell(table: Table, name: str, entry: Entry, footnotes: Footnotes, shared: int | None) -> str:
    cell = entry.cells.get(name)
    if cell is None or cell.number.value is None:
        return "–"
    shown = latex.escape(cell.shown)
    value = rf"\textbf{{{shown}}}" if is_best(table, name, entry) else shown
    tied = [r"$\approx$"] if is_tied(table, name, entry) else []
    rest = [bounds(cell), "" if shared or not cell.n else f"n={cell.n}", unscored(cell)]
    texts = [latex.escape(text) for text in rest if text]
    return latex.Raw(" ".join([value + latex.escape(footnotes.marks(faults(cell))), *tied, *texts]))
