"""Reader of evalkit's own predictions.jsonl."""

from __future__ import annotations

from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import Prediction
from evalkit.importers.base import Answer, Answers, Columns, Format
from evalkit.importers.columns import refuse_named
from evalkit.records.base import RawFile, Record, as_id, as_text, first_text


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per line, with all fields of a Prediction."""
    refuse_named(columns, "evalkit")
    return Answers([_answer(raw, record) for record in raw.records], [])


def _answer(raw: RawFile, record: Record) -> Answer:
    fields, where = record.fields, f"{raw.path}: line {record.row}"
    text, error = (as_text(fields.get(k), f"{where}, {k}") for k in ("text", "error"))
    if (text is None) == (error is None):
        raise DataError(
            f"{where}: expected exactly one of text and error in evalkit's predictions; the file was edited."
        )
    reason = fields.get("finish_reason", "unknown")
    if reason not in ("stop", "length", "error", "unknown"):
        raise DataError(f"{where}: finish_reason {reason!r}, expected one of stop, length, error, unknown.")
    return Answer(
        row=record.row,
        id=as_id(fields.get("sample_id"), f"{where}, sample_id"),
        question=as_text(fields.get("question"), f"{where}, question"),
        reference=first_text(fields.get("references"), f"{where}, references"),
        text=text,
        error=error,
        finish_reason=reason,
        n_tokens=_number(fields.get("n_tokens"), int, f"{where}, n_tokens"),
        seconds=_number(fields.get("seconds"), (int, float), f"{where}, seconds"),
        fingerprint=as_text(fields.get("fingerprint"), f"{where}, fingerprint") or "",
        reasoning=as_text(fields.get("reasoning"), f"{where}, reasoning") or "",
        raw=as_text(fields.get("raw"), f"{where}, raw"),
    )


def _number(value: Any, kind: Any, where: str) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise DataError(f"{where}: expected a number, found {value!r}.")
    return value


def to_prediction(answer: Answer, sample_id: str) -> Prediction:
    """Convert an answer to the prediction for a sample."""
    return Prediction(
        sample_id=sample_id,
        text=answer.text,
        error=answer.error,
        finish_reason=answer.finish_reason,
        n_tokens=answer.n_tokens,
        seconds=answer.seconds,
        fingerprint=answer.fingerprint,
        reasoning=answer.reasoning,
        raw=answer.raw,
    )


FORMAT = Format(
    about="evalkit's own predictions.jsonl, or the folder of a run",
    recognises=lambda raw: raw.kind == "records" and {"sample_id", "text", "error"} <= raw.keys,
    read=read,
    drops_torn=True,
)
