"""Reader for records with known column names, shared by most formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.importers.base import Answer, Answers, Columns, RawFile, Record, answered, as_id, first_text, only_text

SHEET_LIMIT = 32_767  # characters in one cell of an .xlsx file; Excel's and every writer's limit
FAILURES = (
    "Failed to obtain answer",  # VLMEvalKit, for an exception or a failed API call
    "[LMMS_EVAL_REQUEST_FAILED",  # lmms-eval, after its retries
)


# Columns in which tools keep a model's thought beside its answer.
REASONING = ("reasoning_content", "reasoning", "thinking")


def pick(fields: Any, name: str | None) -> Any:
    """The value of a column; "doc.question" is a field of an object.  None if it is absent or no name is given."""
    if not name or not isinstance(fields, Mapping):
        return None
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; empty if the value is not a list."""
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def has(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a record has the column, even with the value null."""
    if name in fields:
        return True
    parent, _, leaf = name.rpartition(".")
    inside = pick(fields, parent) if parent else None
    return isinstance(inside, Mapping) and leaf in inside


def read_columns(raw: RawFile, columns: Columns) -> Answers:
    """One answer per record.  A record without the prediction column is an error of that row, not an empty answer."""
    _check_names(raw, columns)
    answers = [_answer(raw, record, columns) for record in raw.records]
    notes = []
    empty = sum(a.text == "" for a in answers)
    if empty and raw.cells in ("table", "sheet"):
        notes.append(
            f"{empty} empty cells in column {columns.prediction!r} were read as empty answers (a table cannot "
            "distinguish them from missing ones)"
        )
    return Answers(answers, notes)


def override(known: Columns, named: Columns) -> Columns:
    """The columns of the format, with those named by the user replaced."""
    return Columns(
        id=known.id if named.id is None else named.id,
        prediction=named.prediction or known.prediction,
        question=known.question if named.question is None else named.question,
        reference=known.reference if named.reference is None else named.reference,
    )


def refuse_named(columns: Columns, name: str) -> None:
    """Raise ConfigError if the user named columns for a format with fixed columns."""
    if columns.any:
        raise ConfigError(
            f"id=, prediction=, question= and reference= name columns, but the columns of format {name!r} are fixed. "
            "Leave them out, or use format=plain to read the file as plain records."
        )


def failure(text: str) -> str | None:
    """The error, if a text is what a harness writes in place of a missing answer; else None."""
    return f"not an answer: the harness wrote {text.strip()[:80]!r}" if text.strip().startswith(FAILURES) else None


def _check_names(raw: RawFile, columns: Columns) -> None:
    known: set[str] = set().union(*(r.fields.keys() for r in raw.records))
    for role in ("id", "prediction", "question", "reference"):
        name = getattr(columns, role)
        if name and not any(has(r.fields, name) for r in raw.records):
            raise DataError(
                f"{raw.path}: {role}={name}, but no record has a column with that name. {did_you_mean(name, known)}"
            )


def _answer(raw: RawFile, record: Record, columns: Columns) -> Answer:
    where = f"{raw.path}: row {record.row}"
    name = columns.prediction or ""
    value = pick(record.fields, name)
    text = only_text(value, f"{where}, column {name!r}")
    if text is None and raw.cells in ("table", "sheet") and has(record.fields, name):
        text = ""
    error = answered(text)[1] if has(record.fields, name) else f"no {name!r} in the record"
    if text is not None:
        cut = f"cut at {SHEET_LIMIT:,} characters" if raw.cells == "sheet" and len(text) >= SHEET_LIMIT else None
        error = cut or failure(text)
    return Answer(
        row=record.row,
        id=as_id(pick(record.fields, columns.id), f"{where}, column {columns.id!r}"),
        question=first_text(pick(record.fields, columns.question), f"{where}, column {columns.question!r}"),
        reference=first_text(pick(record.fields, columns.reference), f"{where}, column {columns.reference!r}"),
        text=text if error is None else None,
        error=error,
        reasoning=_reasoning(record, name),
    )


def _reasoning(record: Record, prediction: str) -> str:
    """The model's thought where the record has one in a column of its own."""
    found = (record.fields.get(name) for name in REASONING if name != prediction)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
