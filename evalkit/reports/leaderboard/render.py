"""The tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from evalkit.reports.latex import Raw, escape
from evalkit.reports.latex import table as latex_table
from evalkit.reports.leaderboard.entries import HEADLINES, Cell, Line, column_signature
from evalkit.reports.leaderboard.ranking import best_of_all
from evalkit.reports.leaderboard.tables import Board, Section, Table

CSV_COLUMNS = (
    "task", "data", "protocol", "counted", "regime", "not_ranked_because", "kind", "row", "details", "metric", "value",
    "low", "high", "interval", "n", "n_unscored", "value_unscored_wrong", "places", "tied_with_best", "faults",
    "not_reproducible", "signature", "source", "where",
)  # fmt: skip
KINDS = {"run": "", "paper": "", "baseline": "no image", "control": "control"}
INTRODUCTION = (
    "Percent, with the 95 % interval and n. n counts every row of the metric; unscored rows are named in brackets, are "
    "not in the value where the protocol leaves them out, and count as wrong for the order. Rows are comparable inside "
    "one table only."
)


def columns_shown(table: Table) -> list[str]:
    """The columns of a printed table: what papers report and what is ranked; the rest is in the CSV and the page."""
    printed = {name for line in table.lines if line.kind == "paper" for name in line.cells}
    return [c for c in table.columns if c in HEADLINES or c in printed] or list(table.columns[:1])


def is_best(table: Table, name: str, line: Line) -> bool:
    """Whether a number is printed bold."""
    return best_of_all(name, line, table.lines, table.standings.get(name, {}))


def is_tied(table: Table, name: str, line: Line) -> bool:
    """Whether a number cannot be told from the best of its column, other than being the best alone."""
    found = table.standings.get(name, {}).get(line.id)
    return found is not None and found.tied and not found.best


def places(table: Table, line: Line) -> str:
    """The row's places in the column that orders the table; "" where it has none."""
    found = table.standings.get(table.columns[0], {}).get(line.id)
    return found.places if found else ""


def bounds(cell: Cell) -> str:
    """The interval in percent; "" without one.  ~ where it is not the value's own."""
    if cell.low is None or cell.high is None:
        return ""
    return f"{'~' if cell.interval == 'Wilson' else ''}[{100 * cell.low:.1f}, {100 * cell.high:.1f}]"


def unscored(cell: Cell) -> str:
    """How many rows have no score, and the value with each of them wrong; "" for none."""
    if not cell.n_unscored:
        return ""
    return f"({cell.n_unscored} unscored; {'–' if cell.order is None else f'{100 * cell.order:.2f}'} with them wrong)"


def row_name(line: Line) -> str:
    """The row's name, and what it is when it is no model like the others."""
    return f"{line.name} ({KINDS[line.kind]})" if KINDS[line.kind] else line.name


class Marks:
    """Numbers for footnotes, in order of first use."""

    def __init__(self) -> None:
        """None yet."""
        self.texts: list[str] = []

    def of(self, texts: Sequence[str]) -> str:
        """[1][2] for these texts."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return "".join(f"[{self.texts.index(text) + 1}]" for text in texts)


def faults(item: Cell | Line) -> list[str]:
    """What is known against a number or row, in words."""
    why = [f"cannot be reproduced: {item.why_not}"] if isinstance(item, Cell) and item.why_not else []
    return [*item.faults, *why]


def markdown(board: Board) -> str:
    """A task's page."""
    parts = [f"# {md(board.task)}", "", INTRODUCTION]
    for section in board.sections:
        parts += ["", f"## {md(section.heading)}", ""]
        parts += [f"> {md(text)}\n>" for text in section.about[:-1]] + [f"> {md(text)}" for text in section.about[-1:]]
        for table in section.tables:
            parts += _markdown_table(table)
    if board.papers:
        parts += ["", "## The papers", ""]
    for paper in board.papers:
        parts += [f"- {_link(paper.name, paper.source)}", *(f"  - {md(text)}" for text in paper.notes)]
    return "\n".join(parts) + "\n"


def title(table: Table) -> str:
    """What a table is: protocol and regime, or why it is no ranking."""
    if table.reason:
        return f"{table.protocol + ', ' if table.protocol else ''}not ranked: {table.reason}"
    return f"{table.protocol}, {table.heading}"


def _markdown_table(table: Table) -> list[str]:
    names = columns_shown(table)
    marks = Marks()
    lines = ["", f"### {md(title(table))}", ""]
    lines += [f"Counted by `{_code(table.counted)}`", ""] if table.counted else []
    placed = any(places(table, line) for line in table.lines)
    head = [*(["place"] if placed else []), "model", *names, "how", "source"]
    lines += ["| " + " | ".join(map(md, head)) + " |", "|" + "---|" * len(head)]
    for line in table.lines:
        cells = [_markdown_cell(table, name, line, marks) for name in names]
        how = "; ".join(md(text) for text in (*line.details, *line.notes))
        row = [places(table, line) or "·"] if placed else []
        row += [md(row_name(line)) + marks.of(faults(line)), *cells, how, _link(line.short, line.source)]
        lines.append("| " + " | ".join(row) + " |")
    lines.append("")
    lines += [f"- {md(text)}" for text in (table.effect, *table.notes) if text]
    lines += [f"- [{k}] {md(text)}" for k, text in enumerate(marks.texts, 1)]
    if signatures := _signatures(table, names):
        lines += ["- Signatures, but for the row's own prompt, decoding and version:", *signatures]
    return lines


def _signatures(table: Table, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        shared = dict.fromkeys(
            column_signature(x.cells[name].signature) for x in table.lines if x.kind != "paper" and name in x.cells
        )
        found += [f"  - `{_code(text)}`" for text in shared]
    return found


def _markdown_cell(table: Table, name: str, line: Line, marks: Marks) -> str:
    cell = line.cells.get(name)
    if cell is None or cell.value is None:
        return "–"
    value = f"**{md(cell.shown)}**" if is_best(table, name, line) else md(cell.shown)
    tied = " ≈" if is_tied(table, name, line) else ""
    rest = [bounds(cell), f"n={cell.n}" if cell.n else "", unscored(cell)]
    return " ".join([value + tied + marks.of(faults(cell)), *(text for text in rest if text)])


def md(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line.

    >>> print(md("open_f1|b <script> _x_"))
    open_f1\|b &lt;script> \_x\_
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word is no emphasis.
    return re.sub(r"[\\`*|\[\]]|(?<!\w)_|_(?!\w)", lambda found: f"\\{found[0]}", plain)


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")


def _link(text: str, address: str) -> str:
    clean = address.replace(" ", "%20").replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace("|", "%7C")
    return f"[{md(text)}]({clean})" if address else md(text)


def to_csv(board: Board) -> str:
    """Every number of a task, one a line: fractions with six decimals."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for section in board.sections:
        for table in section.tables:
            for line in table.lines:
                for name in table.columns:
                    if name in line.cells:
                        writer.writerow(_record(board, section, table, line, name))
    return text.getvalue()


def _record(board: Board, section: Section, table: Table, line: Line, name: str) -> dict[str, object]:
    cell = line.cells[name]
    found = table.standings.get(name, {}).get(line.id)
    return {
        "task": board.task,
        "data": section.heading,
        "protocol": table.protocol,
        "counted": table.counted,
        "regime": "" if line.kind == "baseline" else line.regime,
        "not_ranked_because": table.reason,
        "kind": line.kind,
        "row": line.name,
        "details": "; ".join((*line.details, *line.notes)),
        "metric": name,
        "value": _rounded(cell.value),
        "low": _rounded(cell.low),
        "high": _rounded(cell.high),
        "interval": cell.interval,
        "n": cell.n,
        "n_unscored": cell.n_unscored,
        "value_unscored_wrong": _rounded(cell.order),
        "places": found.places if found else "",
        "tied_with_best": "" if found is None else "yes" if found.tied else "no",
        "faults": "; ".join((*line.faults, *cell.faults)),
        "not_reproducible": cell.why_not,
        "signature": cell.signature,
        "source": cell.source,
        "where": cell.where,
    }


def _rounded(value: float | None) -> float | None:
    # The last digits of computed bounds differ between machines.
    return None if value is None else round(value, 6)


def latex(board: Board) -> str:
    """A task's tables, ready to paste."""
    return "\n".join(
        _latex_table(board, section, table, k)
        for k, (section, table) in enumerate(((s, t) for s in board.sections for t in s.tables), 1)
    )


def _latex_table(board: Board, section: Section, table: Table, number: int) -> str:
    names = columns_shown(table)
    marks = Marks()
    sizes = {name: {x.cells[name].n for x in table.lines if name in x.cells} for name in names}
    shared = {name: next(iter(found)) if len(found) == 1 else None for name, found in sizes.items()}
    placed = any(places(table, line) for line in table.lines)
    head = [f"{name} (n={shared[name]})" if shared[name] else name for name in names]
    rows = []
    for line in table.lines:
        cells = [_latex_cell(table, name, line, marks, shared[name]) for name in names]
        place = [places(table, line) or "–"] if placed else []
        rows.append([*place, row_name(line) + marks.of(faults(line)), *cells])
    counted = [f"Counted by {table.counted}."] if table.counted else []
    notes = [
        INTRODUCTION,
        *counted,
        *([table.effect] if table.effect else []),
        *table.notes,
        *(f"[{k}] {text}" for k, text in enumerate(marks.texts, 1)),
    ]
    return latex_table(
        [*(["place"] if placed else []), "model", *head],
        rows,
        align="r" * placed + "l" * (1 + len(names)),
        caption=f"{board.task}, {section.heading}: {title(table)}.",
        label=f"tab:{board.task}-{number}",
        notes=notes,
    )


def _latex_cell(table: Table, name: str, line: Line, marks: Marks, shared: int | None) -> str:
    cell = line.cells.get(name)
    if cell is None or cell.value is None:
        return "–"
    value = rf"\textbf{{{escape(cell.shown)}}}" if is_best(table, name, line) else escape(cell.shown)
    tied = [r"$\approx$"] if is_tied(table, name, line) else []
    rest = [bounds(cell), "" if shared or not cell.n else f"n={cell.n}", unscored(cell)]
    return Raw(" ".join([value + escape(marks.of(faults(cell))), *tied, *(escape(text) for text in rest if text)]))
