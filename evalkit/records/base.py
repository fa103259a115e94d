"""Values of records: a row of a table or an object of a JSON file, before anything is known of what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit.core.errors import DataError


@dataclass(frozen=True, slots=True)
class BadCell:
    """A value that is not what was written: converted or lost by the program that made the file.

    Reading it as text raises DataError with `problem`, so a bad cell in a column that nobody reads does no harm.
    """

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One object of a file: a JSON object, a line of a table, a row of a sheet."""

    row: int
    fields: Mapping[str, Any]


class ArchiveMember(NamedTuple):
    """A JSON member of an archive: its name and its parsed content."""

    name: str
    content: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """The content of a file before its format is recognised.

    records: the records of a list-like file.  whole: the single object of a JSON file that is not a list.  members: for
    an archive, a function from a prefix to the JSON members whose names start with it.
    torn: number of an incomplete last record, 0 if none.  tail: text after the end of a JSON array.
    cells: the kind of source.  In "table" and "sheet" an empty cell and a missing value look the same.
    """

    path: Path
    kind: Literal["records", "whole", "archive"]
    cells: Literal["json", "table", "sheet", "parquet"] = "json"
    records: tuple[Record, ...] = ()
    whole: Mapping[str, Any] | None = None
    members: Callable[[str], list[ArchiveMember]] | None = None
    torn: int = 0
    tail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The keys that all of the first twenty records have, by which a format is recognised."""
        first = [frozenset(r.fields) for r in self.records[:20]]
        return frozenset.intersection(*first) if first else frozenset()


def check_whole(raw: RawFile) -> None:
    """Raise DataError for a file that ends in the middle of a record, or goes on behind its array."""
    if raw.torn or raw.tail:
        raise DataError(
            f"{raw.path}: the file ends in the middle of a record, so rows would be missing. Copy it again."
        )


def as_text(value: Any, where: str) -> str | None:
    """A scalar as text; None for null.  The strings "None", "NA" and "" are kept as text.

    Whole floats lose their ".0" (a data frame turns a column of integers with a missing value into floats).
    Raises DataError for lists, objects and cells that lost their text.
    """
    if isinstance(value, BadCell):
        raise DataError(f"{where}: {value.problem}")
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    raise DataError(f"{where}: expected text or a number, found {type(value).__name__} {_short(value)}.")


def as_id(value: Any, where: str) -> str | None:
    """An identifier as text; "0", 0 and 0.0 give the same id.  None for null and blank."""
    if isinstance(value, bool):
        raise DataError(f"{where}: an id cannot be {value}. Name the column with the ids with id=NAME.")
    text = as_text(value, where)
    return text.strip() if text is not None and text.strip() else None


def first_text(value: Any, where: str) -> str | None:
    """A scalar as text, or the first item of a list (of several gold answers)."""
    if isinstance(value, (list, tuple)):
        return as_text(value[0], where) if value else None
    return as_text(value, where)


def only_text(value: Any, where: str) -> str | None:
    """The text of an answer, inside nested lists of length one.

    Raises:
        DataError: a list of several items, or a truth value, into which the text was converted.
    """
    while isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise DataError(
                f"{where}: expected one answer, found a list of {len(value)}. Name the column with the answer to be "
                "scored with prediction=NAME, or keep one answer per record."
            )
        value = value[0]
    return answer_text(value, where)


def answer_text(value: Any, where: str) -> str | None:
    """The text of an answer.

    Raises:
        DataError: a truth value, into which the text was converted, and like as_text.
    """
    if isinstance(value, bool):
        raise DataError(
            f"{where}: expected text or a number, found the truth value {value}: pandas, spreadsheets and JSON make "
            "one of an answer such as 'True' or 'TRUE', and which it was is lost. Give the answers as texts: what the "
            "model wrote, with pandas by read_csv(FILE, dtype=str), in a sheet by the column's format Text."
        )
    return as_text(value, where)


def first_few(names: Sequence[object], most: int = 5) -> str:
    """The first few names, and how many more there are, for a message."""
    shown = ", ".join(str(n) for n in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def whole_characters(text: str) -> str:
    """The text with unpaired surrogates, which JSON can express but UTF-8 cannot encode, replaced by U+FFFD."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
