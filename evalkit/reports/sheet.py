"""A table for a paper in each form in which it is pasted: LaTeX, Markdown, CSV, HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from evalkit.core.errors import ConfigError
from evalkit.core.files import write_whole
from evalkit.core.plain_text import one_line
from evalkit.reports import latex, markdown
from evalkit.reports.csv_text import csv_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell: its text, and what follows it in small type."""

    text: str = ""
    small: str = ""
    is_bold: bool = False


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table in no form yet.

    rows: of cells, one a heading; None draws a rule.  notes: lines below the table.  columns, records: the content of
    the CSV, which has every value with its digits, bounds and counts in columns of their own.
    """

    header: tuple[str, ...]
    rows: tuple[Row | None, ...]
    caption: str
    label: str
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...]
    records: tuple[Mapping[str, object], ...] = field(default=())


def plain(texts: Sequence[object]) -> Row:
    """A row of cells without marks."""
    return tuple(Cell(text=str(text)) for text in texts)


def to_latex(sheet: Sheet) -> str:
    """The sheet as a LaTeX table with booktabs rules."""
    rows = [None if row is None else [_latex(cell) for cell in row] for row in sheet.rows]
    return latex.table(sheet.header, rows, caption=sheet.caption, label=sheet.label, notes=sheet.notes)


def _latex(cell: Cell) -> str:
    text = latex.escape(cell.text)
    shown = rf"\textbf{{{text}}}" if cell.is_bold and text else text
    small = rf"{{\scriptsize {latex.escape(cell.small)}}}" if cell.small else ""
    return latex.Raw(" ".join(filter(None, (shown, small))))


def to_markdown(sheet: Sheet) -> str:
    """The sheet as Markdown; a rule is an empty row."""
    md = markdown.escape
    rows = [[""] * len(sheet.header) if row is None else [_markdown(cell) for cell in row] for row in sheet.rows]
    align = "l" + "r" * (len(sheet.header) - 1)
    lines = [md(sheet.caption), "", *markdown.table([md(h) for h in sheet.header], rows, align)]
    return "\n".join([*lines, *([""] if sheet.notes else []), *(f"- {md(note)}" for note in sheet.notes)]) + "\n"


def _markdown(cell: Cell) -> str:
    text = markdown.escape(cell.text)
    shown = f"**{text}**" if cell.is_bold and text else text
    return " ".join(filter(None, (shown, markdown.escape(cell.small))))


def to_csv(sheet: Sheet) -> str:
    """The values of the sheet, one a line: fractions."""
    return csv_text(sheet.columns, sheet.records)


# Colours with a contrast of at least 7 to 1; a wide table scrolls inside its own frame.
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 1.5rem; background: Canvas; color: CanvasText; }
.frame { overflow-x: auto; }
table { border-collapse: collapse; border-block: 2px solid; }
caption { text-align: left; padding-bottom: .5rem; max-width: 60rem; }
th, td { padding: .25rem .75rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid; vertical-align: bottom; }
tbody + tbody { border-top: 1px solid; }
small { font-size: .8em; }
li { max-width: 60rem; }
"""


def to_html(sheet: Sheet) -> str:
    """The sheet as one HTML page without script; texts are data, never markup."""
    head = "".join(f'<th scope="col">{_html(h)}</th>' for h in sheet.header)
    notes = "".join(f"<li>{_html(note)}</li>\n" for note in sheet.notes)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_html(sheet.caption)}</title>\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f'<body>\n<main>\n<div class="frame" tabindex="0" role="region" aria-label="table">\n'
        f"<table>\n<caption>{_html(sheet.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"{_bodies(sheet.rows)}</table>\n</div>\n<ul>\n{notes}</ul>\n</main>\n</body>\n</html>\n"
    )


def _bodies(rows: Sequence[Row | None]) -> str:
    groups: list[list[Row]] = [[]]
    for row in rows:
        if row is None:
            groups.append([])
        else:
            groups[-1].append(row)
    return "".join(f"<tbody>\n{''.join(map(_html_row, group))}</tbody>\n" for group in groups if group)


def _html_row(row: Row) -> str:
    first, *others = row
    cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in others)
    return f'<tr><th scope="row">{_html_cell(first)}</th>{cells}</tr>\n'


def _html_cell(cell: Cell) -> str:
    text = f"<strong>{_html(cell.text)}</strong>" if cell.is_bold and cell.text else _html(cell.text)
    return text + (f" <small>{_html(cell.small)}</small>" if cell.small else "")


def _html(text: str) -> str:
    return escape(one_line(text))


FORMS: dict[str, Callable[[Sheet], str]] = {
    "latex": to_latex, "markdown": to_markdown, "csv": to_csv, "html": to_html,
}  # fmt: skip
SUFFIXES = {".tex": "latex", ".md": "markdown", ".csv": "csv", ".html": "html"}


def form_of(target: Path | None, given: str | None, default: str = "markdown") -> str:
    """The form of a sheet: the given one, else by the file's suffix, else the default.

    Raises:
        ConfigError: there is no such form, or the suffix says nothing.
    """
    if given is not None:
        if given not in FORMS:
            raise ConfigError(f"format={given} is not possible; expected one of {', '.join(FORMS)}.")
        return given
    if target is None:
        return default
    if target.suffix not in SUFFIXES:
        raise ConfigError(
            f"to={target} has an unknown suffix; expected one of {', '.join(SUFFIXES)}, or format= with one of "
            f"{', '.join(FORMS)}."
        )
    return SUFFIXES[target.suffix]


def write_sheet(sheet: Sheet, target: Path, form: str) -> None:
    """Write a sheet into a file, whole.

    Raises:
        ConfigError: the file is a folder.
    """
    if target.is_dir():
        raise ConfigError(
            f"to={target} is a folder; expected the file to write the table to, such as {target}/table.md."
        )
    write_whole(target, FORMS[form](sheet))
