"""Values of records: a row of a table or an object of a JSON file, before anything is known of what it means."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit.core.columns import Packed, SharedValues
from evalkit.core.errors import DataError

# Equal texts of up to so many characters in a column are held once.
_SHORT = 200


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


class PackedRecords(Packed[Record]):
    """Records held by the values of their fields, each made when it is asked for: a dict of each line of a large file
    would take more than the file."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._rows = array("q")
        self._ends = array("q", [0])  # into the values: a record's are those from the end of the one before it
        self._values: list[Any] = []
        self._shape_of = array("I")
        self._shapes: list[tuple[str, ...]] = []  # the names of a record's fields
        self._numbers: dict[tuple[str, ...], int] = {}  # of the shapes
        self._shared: dict[str, SharedValues] = {}  # by name
        self._shared_of: list[list[SharedValues]] = []  # of the names of a shape
        for record in records:
            self.append(record.row, record.fields)

    @classmethod
    def of(cls, records: Iterable[Record]) -> PackedRecords:
        """These records; without a copy if they are packed."""
        return records if isinstance(records, cls) else cls(records)

    def append(self, row: int, fields: Mapping[str, Any]) -> None:
        """Add a record."""
        shape = tuple(fields)
        number = self._numbers.get(shape)
        if number is None:
            number = self._numbers[shape] = len(self._shapes)
            self._shapes.append(shape)
            self._shared_of.append([self._shared.setdefault(name, SharedValues()) for name in shape])
        values = self._values
        for value, shared in zip(fields.values(), self._shared_of[number], strict=True):
            values.append(shared.once(value) if type(value) is str and len(value) <= _SHORT else value)
        self._rows.append(row)
        self._ends.append(len(self._values))
        self._shape_of.append(number)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all fields, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for shape in self._shapes for name in shape))

    def column(self, name: str) -> Iterator[Any]:
        """The value of a field in each record; None where a record has no such field."""
        places = [shape.index(name) if name in shape else None for shape in self._shapes]
        for k, shape in enumerate(self._shape_of):
            place = places[shape]
            yield None if place is None else self._values[self._ends[k] + place]

    def row(self, place: int) -> int:
        """The row of a record in its file."""
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same records."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    def value_at(self, place: int) -> Record:
        """The record of a place."""
        values = self._values[self._ends[place] : self._ends[place + 1]]
        return Record(row=self._rows[place], fields=dict(zip(self._shapes[self._shape_of[place]], values, strict=True)))


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
    records: PackedRecords = field(default_factory=PackedRecords)
    whole: Mapping[str, Any] | None = None
    members: Callable[[str], list[ArchiveMember]] | None = None
    torn: int = 0
    tail: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", PackedRecords.of(self.records))  # a plug-in may give a tuple

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
