"""Records whose columns are known by name: the part that most formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.importers.base import Answer, Columns, Raw, Record, answered, as_id, first_text, only_text

SHEET_LIMIT = 32_767  # characters in one cell of an .xlsx file; Excel's and every writer's limit
FAILURES = (
    "Failed to obtain answer",  # VLMEvalKit, for an exception or an API that gave up
    "[LMMS_EVAL_REQUEST_FAILED",  # lmms-eval, after its retries
)


def pick(fields: Any, name: str | None) -> Any:
    """The value of a column; "doc.question" reaches into an object.  None where it is absent or has no name."""
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
    """The objects in a list; none if it is no list."""
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def has(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a record has the column, be its value null or not."""
    if name in fields:
        return True
    parent, _, leaf = name.rpartition(".")
    inside = pick(fields, parent) if parent else None
    return isinstance(inside, Mapping) and leaf in inside


def read_columns(raw: Raw, columns: Columns) -> tuple[list[Answer], list[str]]:
    """One answer a record.  A record without the prediction's column is an error of that row, never an empty answer."""
    _check_names(raw, columns)
    answers = [_answer(raw, record, columns) for record in raw.records]
    notes = []
    empty = sum(a.text == "" for a in answers)
    if empty and raw.cells in ("table", "sheet"):
        notes.append(
            f"{empty} empty cells in column {columns.prediction!r} read as empty answers (a table cannot tell them "
            "from missing ones)"
        )
    return answers, notes


def override(known: Columns, named: Columns) -> Columns:
    """The format's columns, except where the user named another."""
    return Columns(
        id=known.id if named.id is None else named.id,
        prediction=named.prediction or known.prediction,
        question=known.question if named.question is None else named.question,
        reference=known.reference if named.reference is None else named.reference,
    )


def refuse_named(columns: Columns, name: str) -> None:
    """ConfigError if columns were named for a format that has none to choose from."""
    if columns.any:
        raise ConfigError(
            f"id=, prediction=, question= and reference= name columns, and the format {name!r} has fixed ones. Leave "
            "them out, or say format=plain to read the file as plain records."
        )


def failure(text: str) -> str | None:
    """The reason, if a text is what a harness writes in place of an answer that it never got."""
    return f"not an answer: the harness wrote {text.strip()[:80]!r}" if text.strip().startswith(FAILURES) else None


def _check_names(raw: Raw, columns: Columns) -> None:
    every: set[str] = set().union(*(r.fields.keys() for r in raw.records))
    for role in ("id", "prediction", "question", "reference"):
        name = getattr(columns, role)
        if name and not any(has(r.fields, name) for r in raw.records):
            raise DataError(
                f"{raw.path}: {role}={name}, but no record has a column of that name. {did_you_mean(name, every)}"
            )


def _answer(raw: Raw, record: Record, columns: Columns) -> Answer:
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
    )
