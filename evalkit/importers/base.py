"""The values that travel between a foreign file and a task: raw content, answers, and what was met on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import DataError

NULL_ANSWER = "null answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One record of a foreign file: exactly one of `text` and `error`.

    row: its line (text files, sheets) or its number in the array, counted from 1, for messages.
    question, reference: as the file spells them; they serve to find the sample and to check that it is the right one.
    """

    row: int
    id: str | None = None
    question: str | None = None
    reference: str | None = None
    text: str | None = None
    error: str | None = None
    finish_reason: Literal["stop", "length", "error", "unknown"] = "unknown"
    n_tokens: int | None = None
    seconds: float | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError(f"answer in row {self.row}: exactly one of text and error must be given")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """A whole file.  notes: what dirt was met and how it was read, in words that are shown to the user."""

    path: str
    format: str
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One object of a file: a JSON object, a line of a table, a row of a sheet."""

    row: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A file's content before anybody knows whose it is.

    records: of a list-like file.  whole: the one object of a JSON file that is not a list.  members: for an archive,
    a function that gives the parsed JSON of each member whose name starts with the prefix it is given.
    torn: number of a half-written last record, 0 if none.  tail: text behind the end of a JSON array.
    cells: "table" and "sheet" tell an empty cell from nothing only by convention.
    """

    path: Path
    kind: Literal["records", "whole", "archive"]
    cells: Literal["json", "table", "sheet", "parquet"] = "json"
    records: tuple[Record, ...] = ()
    whole: Mapping[str, Any] | None = None
    members: Callable[[str], list[tuple[str, Any]]] | None = None
    torn: int = 0
    tail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The keys that every one of the first twenty records has: what a format is recognised by."""
        first = [frozenset(r.fields) for r in self.records[:20]]
        return frozenset.intersection(*first) if first else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns to read; None means that the format knows, or guesses, "" that there is none."""

    id: str | None = None
    prediction: str | None = None
    question: str | None = None
    reference: str | None = None

    @property
    def any(self) -> bool:
        """Whether the user named one."""
        return any(name is not None for name in (self.id, self.prediction, self.question, self.reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: what it is, how its content is recognised, how its answers are read.

    `read` gives answers and notes.  drops_torn: a half-written last record is left out with a note, because the
    writer is known to append and to go on from there; elsewhere it is refused.
    """

    about: str
    recognises: Callable[[Raw], bool]
    read: Callable[[Raw, Columns], tuple[list[Answer], list[str]]]
    drops_torn: bool = False
    allows_tail: bool = False


def as_text(value: Any, where: str) -> str | None:
    """A scalar as the text it stands for; None for null.  "None", "NA" and "" are texts and stay so.

    Whole floats lose their ".0" (a column of integers with a gap in it comes out of a data frame as floats).
    DataError for lists and objects.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return _whole_characters(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    raise DataError(f"{where}: expected a text or a number, found {type(value).__name__} {_short(value)}.")


def as_id(value: Any, where: str) -> str | None:
    """An identifier as text: "0", 0 and 0.0 are the same one."""
    if isinstance(value, bool):
        raise DataError(f"{where}: an id cannot be {value}; name the right column with id=NAME.")
    text = as_text(value, where)
    return text.strip() if text is not None and text.strip() else None


def first_text(value: Any, where: str) -> str | None:
    """A text, or the first one of a list of texts (several gold answers)."""
    if isinstance(value, (list, tuple)):
        return as_text(value[0], where) if value else None
    return as_text(value, where)


def only_text(value: Any, where: str) -> str | None:
    """The text inside lists of length one, however deep; DataError where there are several."""
    while isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise DataError(
                f"{where}: expected one answer, found a list of {len(value)}. Name the column that holds the answer "
                "to be scored with prediction=NAME, or keep one answer a record."
            )
        value = value[0]
    return as_text(value, where)


def answered(text: str | None) -> tuple[str | None, str | None]:
    """The `text` and `error` of an Answer: a null is a failure to answer, not an empty answer."""
    return (None, NULL_ANSWER) if text is None else (text, None)


def named(names: Sequence[object], most: int = 5) -> str:
    """The first few of some names, for a message."""
    shown = ", ".join(str(n) for n in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _whole_characters(text: str) -> str:
    """The text with half surrogate pairs, which JSON can spell and no file can hold, as U+FFFD."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
