"""Reader of CSV, TSV and parquet.  Without a data frame, so that "NA", "None" and "007" stay text."""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.parquet import open_parquet, parquet_records
from evalkit.records.base import PackedRecords, RawFile
from evalkit.records.encoding import open_text, without_zeros

_CSV_LIMIT = threading.Lock()  # csv.field_size_limit is global to the process
_MAX_FIELD = 2**31 - 1
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SEP = re.compile(r'"?sep=(\\t|[^\r\n"])"?[ \t]*(?:\r\n|\n|\r)', re.IGNORECASE)


def stream_csv(path: Path) -> RawFile | None:
    """Parse a table line by line; None for JSON, and for any file of which the reader of a whole text says what is
    wrong."""
    file, notes = open_text(path, "")

    def lines() -> Iterator[str]:
        file.seek(0)
        return without_zeros(file)

    try:
        with file:
            first = next((line.lstrip()[0] for line in lines() if line.strip()), "[")
            raw = None if first in "[{" else parse_csv(lines, path)
    except (UnicodeError, DataError):
        return None
    return raw and replace(raw, notes=(*notes, *raw.notes))


def parse_csv(lines: Callable[[], Iterator[str]], path: Path) -> RawFile:
    """Parse a table with a header line.

    The separator is named by a first line `sep=X`, else the one of tab, comma, semicolon and bar under which all rows
    have as many fields as the header.

    lines: gives the lines with their ends, from the first one at each call.
    """
    first = next(lines(), "")
    named = _named_separator(first)
    skipped = 0 if named is None else 1
    header = next((line.rstrip("\r\n") for line in islice(lines(), skipped, None) if line.strip()), "")
    candidates = [named] if named else [s for s in "\t,;|" if s in header]
    if not candidates:
        raise DataError(
            f"{path}: neither JSON nor a table. Expected JSON, JSON lines, or a header line with column names "
            f"separated by commas or tabs; its first line is {header[:80]!r}."
        )
    with _CSV_LIMIT:
        before = csv.field_size_limit(_MAX_FIELD)  # base64 images are far larger than the default limit
        try:
            table = _best_table(lines, candidates, path, skipped)
        finally:
            csv.field_size_limit(before)
    if table.names is None:
        raise DataError(f"{path}: the table has no rows.")
    check_names(table.names, path)
    if table.misfit is not None:
        number, size = table.misfit
        raise DataError(
            f"{path}: line {number} has {size} fields, the header has {len(table.names)}. An answer that "
            "contains the separator must be quoted: write the file again with a CSV writer."
        )
    notes = [f"the first line, {first.strip()!r}, names the separator"] if named else []
    if table.n_blank:
        notes.append(f"{table.n_blank} rows with empty cells only were skipped")
    return RawFile(path=path, kind="records", cells="table", records=table.records, notes=tuple(notes))


class _Table(NamedTuple):
    """The rows of a table under one separator.

    names: the cells of the first row that is not blank; None without any.  records: the rows after it, up to the first
    one of another length.  misfit: that one's line and length.  n_blank: rows with empty cells only.
    """

    names: list[str] | None
    records: PackedRecords
    misfit: tuple[int, int] | None
    n_blank: int

    @property
    def fit(self) -> tuple[bool, int]:
        """How well the separator fits: whether all rows have as many fields as the header, and its length."""
        return self.names is not None and self.misfit is None, len(self.names or ())


def _best_table(lines: Callable[[], Iterator[str]], separators: Sequence[str], path: Path, skipped: int) -> _Table:
    """The rows under the separator that fits best; skipped: lines before the table."""
    problems: list[DataError] = []
    best: _Table | None = None
    for separator in separators:
        reader = csv.reader(islice(lines(), skipped, None), delimiter=separator, strict=True)
        try:
            found = _table((reader.line_num + skipped, cells) for cells in reader)
        except csv.Error as e:
            problems.append(
                DataError(
                    f"{path}: line {reader.line_num + skipped}: {e}. A quote inside a field must be doubled: write the "
                    "file again with a CSV writer."
                )
            )
            continue
        if best is None or found.fit > best.fit:
            best = found
    if best is None:
        raise problems[0]
    return best


def _table(rows: Iterable[tuple[int, list[str]]]) -> _Table:
    """The table in rows with their line numbers."""
    names: list[str] | None = None
    records, misfit, n_blank = PackedRecords(), None, 0
    for number, cells in rows:
        if is_blank(cells):
            n_blank += bool(cells)
        elif names is None:
            names = [n.strip() for n in cells]
        elif misfit is None and len(cells) != len(names):
            misfit = number, len(cells)
        elif misfit is None:
            records.append(number, fields_of(names, cells))
    return _Table(names, records, misfit, n_blank)


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text with their ends, one after the other: io.StringIO would hold four bytes a character."""
    return (found[0] for found in _LINE.finditer(text))


def _named_separator(line: str) -> str | None:
    """The separator X in a first line `sep=X`, which Excel reads and leaves out of the table; None in any other."""
    found = _SEP.match(line)
    return found[1].replace("\\t", "\t") if found else None


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


def parse_parquet(path: Path) -> RawFile:
    """Parse the columns of a parquet file with text, numbers or lists of them; columns with images are not loaded."""
    import pyarrow

    try:
        with open_parquet(path) as file:
            wanted = [place for f in file.schema_arrow for place in _without_bytes(f.name, f.type)]
            read = {place.split(".")[0] for place in wanted} | set(wanted)
            check_names([n for n in file.schema_arrow.names if n in read], path)
            records = PackedRecords()
            for number, fields in enumerate(parquet_records(file, wanted), 1):
                records.append(number, fields)
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
