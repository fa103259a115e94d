"""Reader of CSV, TSV and parquet.  Without a data frame, so that "NA", "None" and "007" stay text."""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.parquet import open_parquet, parquet_records
from evalkit.records.base import RawFile, Record

_CSV_LIMIT = threading.Lock()  # csv.field_size_limit is global to the process
_MAX_FIELD = 2**31 - 1
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SEP = re.compile(r'"?sep=(\\t|[^\r\n"])"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)


def parse_csv(text: str, path: Path) -> RawFile:
    """Parse a table with a header line.

    The separator is named by a first line `sep=X`, else the one of tab, comma, semicolon and bar under which all rows
    have as many fields as the header.
    """
    start, named = _separator_line(text)
    body = text[start:]
    header = next((line.rstrip("\r\n") for line in _lines(body) if line.strip()), "")
    candidates = [named] if named else [s for s in "\t,;|" if s in header]
    if not candidates:
        raise DataError(
            f"{path}: neither JSON nor a table. Expected JSON, JSON lines, or a header line with column names "
            f"separated by commas or tabs; its first line is {header[:80]!r}."
        )
    skipped = 1 if start else 0
    with _CSV_LIMIT:
        before = csv.field_size_limit(_MAX_FIELD)  # base64 images are far larger than the default limit
        try:
            rows = _csv_rows(body, candidates, path, skipped)
        finally:
            csv.field_size_limit(before)
    filled = [(number, cells) for number, cells in rows if not is_blank(cells)]
    if not filled:
        raise DataError(f"{path}: the table has no rows.")
    names = [n.strip() for n in filled[0][1]]
    check_names(names, path)
    for number, cells in filled[1:]:
        if len(cells) != len(names):
            raise DataError(
                f"{path}: line {number} has {len(cells)} fields, the header has {len(names)}. An answer that "
                "contains the separator must be quoted: write the file again with a CSV writer."
            )
    records = tuple(Record(row=number, fields=fields_of(names, cells)) for number, cells in filled[1:])
    notes = [f"the first line, {text[:start].strip()!r}, names the separator"] if start else []
    if blank := sum(bool(cells) for _, cells in rows) - len(filled):
        notes.append(f"{blank} rows with empty cells only were skipped")
    return RawFile(path=path, kind="records", cells="table", records=records, notes=tuple(notes))


def _lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends, one after the other: io.StringIO would hold four bytes a character."""
    return (found[0] for found in _LINE.finditer(text))


def _separator_line(text: str) -> tuple[int, str | None]:
    """The length of a first line `sep=X`, which Excel reads and leaves out of the table, and X; (0, None) without."""
    found = _SEP.match(text)
    return (found.end(), found[1].replace("\\t", "\t")) if found else (0, None)


def is_blank(row: Sequence[Any]) -> bool:
    """Whether no cell of a row has content."""
    return all(v is None or (isinstance(v, str) and not v.strip()) for v in row)


def fields_of(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """The cells of a row by column; cells of several unnamed columns are left out."""
    fields = dict(zip(names, cells, strict=False))
    if names.count("") > 1:
        del fields[""]
    return fields


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise DataError for a column name that occurs twice."""
    repeated = sorted({n for n in names if n and names.count(n) > 1})
    if repeated:
        raise DataError(
            f"{path}: the header contains {repeated[0]!r} more than once, which is ambiguous. Rename or delete one of "
            "the columns."
        )


def _csv_rows(text: str, separators: Sequence[str], path: Path, skipped: int) -> list[tuple[int, list[str]]]:
    """The rows under the separator that fits best, with their line numbers; skipped: lines before the text."""
    problems: list[DataError] = []
    found: list[list[tuple[int, list[str]]]] = []
    for separator in separators:
        reader = csv.reader(_lines(text), delimiter=separator, strict=True)
        try:
            found.append([(reader.line_num + skipped, cells) for cells in reader])
        except csv.Error as e:
            problems.append(
                DataError(
                    f"{path}: line {reader.line_num + skipped}: {e}. A quote inside a field must be doubled: write the "
                    "file again with a CSV writer."
                )
            )
    if not found:
        raise problems[0]

    def fit(rows: list[tuple[int, list[str]]]) -> tuple[bool, int]:
        filled = [cells for _, cells in rows if not is_blank(cells)]
        return len({len(cells) for cells in filled}) == 1, len(filled[0]) if filled else 0

    return max(found, key=fit)


def parse_parquet(path: Path) -> RawFile:
    """Parse the columns of a parquet file with text, numbers or lists of them; columns with images are not loaded."""
    import pyarrow

    try:
        with open_parquet(path) as file:
            wanted = [place for f in file.schema_arrow for place in _without_bytes(f.name, f.type)]
            read = {place.split(".")[0] for place in wanted} | set(wanted)
            check_names([n for n in file.schema_arrow.names if n in read], path)
            rows = enumerate(parquet_records(file, wanted), 1)
            records = tuple(Record(row=i, fields=row) for i, row in rows)
    except (OSError, ValueError, pyarrow.ArrowException) as e:
        raise DataError(f"{path}: not a readable parquet file ({e}).") from None
    return RawFile(path=path, kind="records", cells="parquet", records=records)


def _without_bytes(name: str, kind: Any) -> list[str]:
    """The parts of a column to read: none of an image, and of an object with an image in it the other fields."""
    import pyarrow.types as t

    if not _holds_bytes(kind):
        return [name]
    fields = [kind.field(i) for i in range(kind.num_fields)] if t.is_struct(kind) else []
    if any(t.is_binary(f.type) or t.is_large_binary(f.type) or t.is_fixed_size_binary(f.type) for f in fields):
        return []  # the fields of an image: its bytes and its path
    return [place for f in fields for place in _without_bytes(f"{name}.{f.name}", f.type)]


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    return bool(
        t.is_binary(kind)
        or t.is_large_binary(kind)
        or t.is_fixed_size_binary(kind)
        or any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    )
