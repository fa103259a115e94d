"""Types of the importers: answers, column names and formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from evalkit.core.types import OptionScore
from evalkit.records.base import RawFile

NULL_ANSWER = "null answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One record of an imported file: exactly one of `text` and `error`.

    row: line number (text files, sheets) or position in the array, from 1, for messages.
    question, reference: verbatim from the file; used to find the sample and to check that it is the right one.
    image: the image's name, if the user names its column.
    keys: other short values of the record by their dotted names ("doc.qid"), among which an id, a row number or an
    image may be.
    reasoning: the model's thought, where the file keeps it apart from the answer.  raw, options, logprob,
    thought_tokens: as in `Prediction`.
    """

    row: int
    id: str | None = None
    question: str | None = None
    reference: str | None = None
    image: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    error: str | None = None
    finish_reason: Literal["stop", "length", "error", "unknown"] = "unknown"
    n_tokens: int | None = None
    seconds: float | None = None
    fingerprint: str = ""
    reasoning: str = ""
    raw: str | None = None
    options: tuple[OptionScore, ...] = ()
    logprob: float | None = None
    thought_tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError(f"answer in row {self.row}: exactly one of text and error must be given")


class Answers(NamedTuple):
    """Result of a format's reader: the answers in file order, notes for the user, and the column of the ids."""

    answers: Sequence[Answer]
    notes: list[str]
    id_column: str = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns to read; None leaves the choice to the format, "" means that there is no such column."""

    id: str | None = None
    prediction: str | None = None
    question: str | None = None
    reference: str | None = None
    image: str | None = None

    @property
    def any(self) -> bool:
        """Whether at least one column is named."""
        return any(name is not None for name in (self.id, self.prediction, self.question, self.reference, self.image))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format: a description, a test that recognises its content, and a reader.

    drops_torn: an incomplete last record is left out with a note, because the writer is known to append and to resume;
    for other formats it is an error.  allows_tail: text after the end of a JSON array is ignored.
    has_fixed_columns: its columns cannot be named by the user.
    """

    about: str
    recognises: Callable[[RawFile], bool]
    read: Callable[[RawFile, Columns], Answers]
    drops_torn: bool = False
    allows_tail: bool = False
    has_fixed_columns: bool = False


def answered(text: str | None) -> tuple[str | None, str | None]:
    """The `text` and `error` of an Answer: null is an error, not an empty answer."""
    return (None, NULL_ANSWER) if text is None else (text, None)
