"""Reader of xlsx workbooks: one sheet, the first unless told, from its first row that is not blank."""

from __future__ import annotations

import datetime
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.records import cells
from evalkit.records.base import BadCell, PackedRecords, RawFile, first_few
from evalkit.records.tables import check_names, fields_of, is_blank

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?\bref="([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})"')
_Grid = list[list[Any]]
# The number of the sheet that is read, from the names of all.
SheetChoice = Callable[[Sequence[str]], int]
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, SyntaxError, LookupError,
    ValueError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


class _Sheet(NamedTuple):
    """The values of a sheet, and what was noted while they were read."""

    rows: _Grid
    notes: list[str]


def first_sheet(names: Sequence[str]) -> int:
    """The number of the first sheet, whatever the names."""
    del names
    return 0


def parse_xlsx(path: Path, sheet_of: SheetChoice = first_sheet) -> RawFile:
    """Parse one sheet of a workbook.  Raises DataError if it is damaged, has no rows, or two equal columns."""
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: reading .xlsx needs openpyxl, which is not installed. Run `pip install openpyxl`, or save the "
            "sheet as CSV or TSV."
        ) from None
    try:
        sheet = _read(path, sheet_of)
    # A damaged workbook fails in the zip file (encrypted: a RuntimeError), in the XML (a SyntaxError) or in openpyxl.
    except _DAMAGE as e:
        raise DataError(f"{path}: not a readable workbook ({type(e).__name__}: {e}). Save it again.") from None
    header = next((i for i, row in enumerate(sheet.rows) if not is_blank(row)), None)
    if header is None:
        raise DataError(f"{path}: the sheet that is read is empty.")
    names = ["" if n is None else str(n).strip() for n in sheet.rows[header]]
    if bad := next((n for n in sheet.rows[header] if isinstance(n, BadCell)), None):
        raise DataError(f"{path}: row {header + 1}, the header: {bad.problem}")
    check_names(names, path)
    records, beyond = PackedRecords(), []
    for number, row in enumerate(sheet.rows[header + 1 :], header + 2):
        if is_blank(row):
            continue
        padded = [*row, *[None] * (len(names) - len(row))]
        beyond += [number] if not is_blank(padded[len(names) :]) else []
        records.append(number, fields_of(names, padded))
    notes = [*sheet.notes]
    if beyond:
        notes.append(f"cells to the right of the header were ignored in {len(beyond)} rows: {first_few(beyond)}")
    return RawFile(path=path, kind="records", cells="sheet", records=records, notes=tuple(notes))


def _read(path: Path, sheet_of: SheetChoice) -> _Sheet:
    # data_only=False first: a text that starts with "=" is stored as a formula, and the formula is the model's answer.
    with _opened(path, data_only=False) as book:
        if not book.worksheets:
            raise ValueError("it has no sheet with cells")
        formulas: dict[tuple[int, int], str] = {}
        k = sheet_of([sheet.title for sheet in book.worksheets])
        rows = list(_rows(book.worksheets[k], formulas))
        merged = _merged(book.worksheets[k])
        others = len(book.sheetnames) - 1
        notes = [f"sheet {book.worksheets[k].title!r} was read, {others} other sheets were ignored"] if others else []
        recalculates = bool(getattr(book.calculation, "fullCalcOnLoad", False))
    if formulas:
        with _opened(path, data_only=True) as book:
            stored = {place: value for place, value in _values(book.worksheets[k], formulas)}
        for (r, c), formula in formulas.items():
            cell = _name(r, c)
            rows[r][c] = cells.formula_value(formula, stored.get((r, c)), recalculates, cell)
        read = sum(rows[r][c] is stored.get((r, c)) for r, c in formulas)
        if read:
            first = _name(*next(iter(formulas)))
            notes.append(f"{read} cells hold formulas and were read by their stored results, first {first}")
    if filled := _fill_down(rows, merged):
        notes.append(f"{filled} cells that are merged with the one above them have its value")
    return _Sheet(rows, notes)


def _merged(sheet: Any) -> list[tuple[int, int, int, int]]:
    """The merged ranges of a sheet: first column and row, last column and row, from 1.

    A sheet that is read row by row does not offer them, so they are taken from behind its rows.
    """
    from openpyxl.utils import range_boundaries

    found, rest = [], b""
    with sheet._get_source() as source:
        while block := source.read(1 << 20):
            text = rest + block
            found += _MERGED.findall(text)
            # A mark that the end of the block cuts is read with the next one.
            cut = text.rfind(b"<")
            rest = text[cut:] if cut >= 0 and b">" not in text[cut:] else b""
    return [range_boundaries(place.decode("ascii")) for place in dict.fromkeys(found)]


def _fill_down(rows: _Grid, merged: Sequence[tuple[int, int, int, int]]) -> int:
    """Give the cells below the first one of a merged range its value, in its first column; returns how many."""
    filled = 0
    for column, top, _, bottom in merged:
        if top > len(rows) or column > len(rows[top - 1]):
            continue
        value = rows[top - 1][column - 1]
        for row in rows[top:bottom]:
            # A row that ends before the column is no row of the table.
            if value is not None and column <= len(row) and row[column - 1] is None:
                row[column - 1] = value
                filled += 1
    return filled


@contextmanager
def _opened(path: Path, *, data_only: bool) -> Iterator[Any]:
    import openpyxl

    # Opened here: openpyxl leaves the file open where it cannot read it.
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # openpyxl's remarks on styles
        book = openpyxl.load_workbook(file, read_only=True, data_only=data_only)
        try:
            yield book
        finally:
            book.close()


def _rows(sheet: Any, formulas: dict[tuple[int, int], str]) -> Iterator[list[Any]]:
    """The values of a sheet; cells with formulas are also entered in `formulas`, by row and column from 0."""
    sheet.reset_dimensions()  # some writers note a too small extent, beyond which cells would be left out
    for r, row in enumerate(sheet.iter_rows()):
        values = []
        for c, cell in enumerate(row):
            kind = getattr(cell, "data_type", "n")
            if kind == "f":
                formulas[r, c] = cells.decoded(str(getattr(cell.value, "text", cell.value)))
            values.append(_value(cell.value, kind, getattr(cell, "number_format", "General"), _name(r, c)))
        yield values


def _values(sheet: Any, wanted: Mapping[tuple[int, int], str]) -> Iterator[tuple[tuple[int, int], Any]]:
    """The stored results of the wanted cells."""
    sheet.reset_dimensions()
    for r, row in enumerate(sheet.iter_rows()):
        for c, cell in enumerate(row):
            if (r, c) in wanted and cell.value is not None:
                kind, shown = getattr(cell, "data_type", "n"), getattr(cell, "number_format", "General")
                yield (r, c), _value(cell.value, kind, shown, _name(r, c))


def _value(value: Any, kind: str, number_format: str, cell: str) -> Any:
    if kind == "e":
        return cells.error_cell(str(value), f"cell {cell}")
    if isinstance(value, str):
        return cells.decoded(value)
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return cells.date_cell(value, f"cell {cell}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return cells.cell_number(value, number_format, cell)
    return value


def _name(row: int, column: int) -> str:
    from openpyxl.utils import get_column_letter

    return f"{get_column_letter(column + 1)}{row + 1}"
