"""Reader of CSV, TSV, xlsx and parquet.  Without a data frame, so that "NA", "None" and "007" stay text."""

from __future__ import annotations

import csv
import datetime
import io
import threading
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.importers.base import RawFile, Record

_CSV_LIMIT = threading.Lock()  # csv.field_size_limit is global to the process
_MAX_FIELD = 2**31 - 1


def parse_csv(text: str, path: Path) -> RawFile:
    """Parse a table with a header line; the separator is the most frequent of tab, comma and semicolon in it."""
    header = text.lstrip("\n").split("\n", 1)[0]
    separator = max("\t,;", key=header.count)
    if separator not in header:
        raise DataError(
            f"{path}: neither JSON nor a table. Expected JSON, JSON lines, or a header line with column names "
            f"separated by commas or tabs; its first line is {header[:80]!r}."
        )
    with _CSV_LIMIT:
        before = csv.field_size_limit(_MAX_FIELD)  # base64 images are far larger than the default limit
        try:
            rows = _csv_rows(text, separator, path)
        finally:
            csv.field_size_limit(before)
    names = [n.strip() for n in rows[0][1]]
    repeated = sorted({n for n in names if n and names.count(n) > 1})
    if repeated:
        raise DataError(
            f"{path}: the header contains {repeated[0]!r} more than once, which is ambiguous. Rename one column."
        )
    for number, cells in rows[1:]:
        if len(cells) != len(names):
            raise DataError(
                f"{path}: line {number} has {len(cells)} fields, the header has {len(names)}. An answer that "
                "contains the separator must be quoted: write the file again with a CSV writer."
            )
    records = tuple(Record(row=number, fields=dict(zip(names, cells, strict=True))) for number, cells in rows[1:])
    return RawFile(path=path, kind="records", cells="table", records=records)


def _csv_rows(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as e:
        raise DataError(
            f"{path}: line {reader.line_num}: {e}. A quote inside a field must be doubled: write the file again with "
            "a CSV writer."
        ) from None


def parse_xlsx(path: Path) -> RawFile:
    """Parse the first sheet of a workbook; its first row is the header."""
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{path}: reading .xlsx needs openpyxl, which is not installed. Run `pip install openpyxl`, or save the "
            "sheet as CSV or TSV."
        ) from None
    # data_only=False: a text that starts with "=" is stored as a formula, and the formula is the model's answer.
    book = openpyxl.load_workbook(path, read_only=True, data_only=False)
    try:
        rows = [list(r) for r in book.worksheets[0].iter_rows(values_only=True)]
        sheets = book.sheetnames
    finally:
        book.close()
    if not rows:
        raise DataError(f"{path}: the first sheet is empty.")
    names = ["" if n is None else str(n).strip() for n in rows[0]]
    records = [
        Record(
            row=i, fields={n: _cell(v, f"{path}: row {i}, column {n!r}") for n, v in zip(names, row, strict=False) if n}
        )
        for i, row in enumerate(rows[1:], 2)
        if any(v is not None for v in row)
    ]
    notes = (f"sheet {sheets[0]!r} was read, {len(sheets) - 1} other sheets were ignored",) if len(sheets) > 1 else ()
    return RawFile(path=path, kind="records", cells="sheet", records=tuple(records), notes=notes)


def _cell(value: Any, where: str) -> Any:
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        raise DataError(
            f"{where}: the spreadsheet has converted this cell to a date or time ({value}); the original text is lost. "
            "Export the answers as text."
        )
    return value


def parse_parquet(path: Path) -> RawFile:
    """Parse the columns of a parquet file with text, numbers or lists of them; columns with images are not loaded."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as e:
        raise DataError(f"{path}: not a readable parquet file ({e}).") from None
    with file:
        wanted = [f.name for f in file.schema_arrow if not _holds_bytes(f.type)]
        rows = file.read(columns=wanted).to_pylist()
    records = tuple(Record(row=i, fields=row) for i, row in enumerate(rows, 1))
    return RawFile(path=path, kind="records", cells="parquet", records=records)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(
        t.is_binary(kind)
        or t.is_large_binary(kind)
        or t.is_fixed_size_binary(kind)
        or any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    )
