"""Reader of evalkit's own predictions.jsonl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from evalkit.core.errors import DataError
from evalkit.core.json_text import count, finite_number, shown
from evalkit.core.types import OptionScore
from evalkit.importers.base import Answer, Answers, Columns, Format
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.records.base import RawFile, Record, answer_text, as_id, as_text, first_text

Number = TypeVar("Number", int, float)


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per line, with all fields of a Prediction."""
    del columns  # they are fixed
    return Answers(PackedAnswers(_answer(raw, record) for record in raw.records), [])


def _answer(raw: RawFile, record: Record) -> Answer:
    fields, where = record.fields, f"{raw.path}: line {record.row}"
    text, error = answer_text(fields.get("text"), f"{where}, text"), as_text(fields.get("error"), f"{where}, error")
    if (text is None) == (error is None):
        raise DataError(
            f"{where}: expected exactly one of text and error in evalkit's predictions; the file was edited."
        )
    reason = fields.get("finish_reason", "unknown")
    if reason not in ("stop", "length", "error", "unknown"):
        raise DataError(f"{where}: finish_reason {shown(reason)}, expected one of stop, length, error, unknown.")
    return Answer(
        row=record.row,
        id=as_id(fields.get("sample_id"), f"{where}, sample_id"),
        question=as_text(fields.get("question"), f"{where}, question"),
        reference=first_text(fields.get("references"), f"{where}, references"),
        text=text,
        error=error,
        finish_reason=reason,
        n_tokens=_number(fields.get("n_tokens"), count, f"{where}, n_tokens"),
        seconds=_number(fields.get("seconds"), finite_number, f"{where}, seconds"),
        fingerprint=as_text(fields.get("fingerprint"), f"{where}, fingerprint") or "",
        reasoning=as_text(fields.get("reasoning"), f"{where}, reasoning") or "",
        raw=as_text(fields.get("raw"), f"{where}, raw"),
        options=_options(fields.get("options"), where),
        logprob=_logprob(fields.get("logprob"), f"{where}, logprob"),
        thought_tokens=_number(fields.get("thought_tokens"), count, f"{where}, thought_tokens"),
    )


def _number(value: Any, read: Callable[[Any], Number | None], where: str) -> Number | None:
    found = read(value)
    if value is not None and found is None:
        raise DataError(f"{where}: expected a number, found {shown(value)}.")
    return found


def _logprob(value: Any, where: str) -> float | None:
    found = _number(value, finite_number, where)
    if found is not None and found > 0:
        raise DataError(f"{where}: expected a log-probability, which is at most 0, found {shown(value)}.")
    return found


def _options(value: Any, where: str) -> tuple[OptionScore, ...]:
    """The log-probabilities of an answer's options; none where the line has none."""
    try:
        return tuple(
            OptionScore(text=str(o["text"]), logprob=float(o["logprob"]), n_tokens=int(o["n_tokens"]))
            for o in value or ()
        )
    except (TypeError, KeyError, ValueError) as problem:
        raise DataError(
            f"{where}, options: {problem}; expected a list of objects with text, logprob and n_tokens."
        ) from None


FORMAT = Format(
    about="evalkit's own predictions.jsonl, or the folder of a run",
    recognises=lambda raw: raw.kind == "records" and {"sample_id", "text", "error"} <= raw.keys,
    read=read,
    drops_torn=True,
    has_fixed_columns=True,
)
