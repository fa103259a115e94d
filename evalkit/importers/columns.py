"""Reader for records with known column names, shared by most formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.core.error_texts import looks_like_error
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.importers.base import Answer, Answers, Columns, answered
from evalkit.importers.failures import failure, finish_reason, stop_error
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.records.base import RawFile, Record, as_id, first_text, only_text
from evalkit.records.cells import control_decoded, table_problem

SHEET_LIMIT = 32_767  # characters in one cell of an .xlsx file; Excel's and every writer's limit
_STOPPED = ("finish_reason", "stop_reason", "finishReason", "stopReason")
_SETTING = {"image": "image_id"}  # on the command line; `image` is another setting of a run
UNNAMED = "(unnamed)"  # a data frame writes its row numbers under no name
_KEY_LENGTH = 200
_KEY_DEPTH = 3
_NO_KEYS: Mapping[str, str] = {}  # one object for all answers without any


# Columns in which tools keep a model's thought beside its answer.
REASONING = ("reasoning_content", "reasoning", "thinking")


def pick(fields: Any, name: str | None) -> Any:
    """The value of a column; "doc.question" is a field of an object, "choices.0" the first item of a list.

    None if it is absent or no name is given.
    """
    if not name or not isinstance(fields, Mapping):
        return None
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return None
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
    if isinstance(inside, list):
        return leaf.isdecimal() and int(leaf) < len(inside)
    return isinstance(inside, Mapping) and leaf in inside


def read_columns(raw: RawFile, columns: Columns) -> Answers:
    """One answer per record.  A record without the prediction column is an error of that row, not an empty answer."""
    _check_names(raw, columns)
    _check_cells(raw, columns)
    answers, notes, empty, escaped = PackedAnswers(), [], 0, 0
    for record in raw.records:
        answer = _answer(raw, record, columns)
        answers.append(answer)
        empty += answer.text == ""
        escaped += "_x000" in str(pick(record.fields, columns.prediction))
    if empty and raw.cells in ("table", "sheet"):
        notes.append(
            f"{empty} empty cells in column {columns.prediction!r} were read as empty answers (a table cannot "
            "distinguish them from missing ones)"
        )
    if escaped:
        notes.append(f"{escaped} answers contain a spreadsheet's escapes such as _x000D_, which were decoded")
    return Answers(answers, notes, columns.id or "id")


def override(known: Columns, named: Columns) -> Columns:
    """The columns of the format, with those named by the user replaced."""
    return Columns(
        id=known.id if named.id is None else named.id,
        prediction=named.prediction or known.prediction,
        question=known.question if named.question is None else named.question,
        reference=known.reference if named.reference is None else named.reference,
        image=known.image if named.image is None else named.image,
    )


def refuse_named(columns: Columns, name: str) -> None:
    """Raise ConfigError if the user named columns for a format with fixed columns."""
    if columns.any:
        raise ConfigError(
            f"id=, prediction=, question=, reference= and image_id= name columns, but the columns of "
            f"format {name!r} are fixed. Leave them out, or use format=plain to read the file as plain records."
        )


def _check_names(raw: RawFile, columns: Columns) -> None:
    known = set(raw.records.names)
    for role in ("id", "prediction", "question", "reference", "image"):
        name = getattr(columns, role)
        if name and not any(has(r.fields, name) for r in raw.records):
            raise DataError(
                f"{raw.path}: {_SETTING.get(role, role)}={name}, but no record has a column with that name. "
                f"{did_you_mean(name, known)}"
            )
        twin = next((k for k in known if name and k != name and _is_twin(k, name)), None)
        if twin and any(r.fields.get(name) != r.fields.get(twin) for r in raw.records):
            raise DataError(
                f"{raw.path}: the columns {name!r} and {twin!r} look like one column that occurs twice, with different "
                f"values, and either could be the {role}. Rename or delete one of them."
            )


def _is_twin(other: str, name: str) -> bool:
    """Whether a column differs from another in case and spaces only, or is its double as pandas renames it: NAME.1."""
    stem, _, number = other.rpartition(".")
    return other.strip().casefold() == name.strip().casefold() or (stem == name and number.isdecimal())


def identifiers(fields: Any, leave_out: Sequence[str | None] = (), depth: int = _KEY_DEPTH) -> dict[str, str]:
    """The short values of a record by their dotted names: its candidates for an id, a row number or an image."""
    found: dict[str, str] = {}
    for column, value in fields.items():
        if column in leave_out:
            continue
        name = column or UNNAMED
        inner = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
        if isinstance(inner, Mapping):
            if depth > 1:
                nested = identifiers(inner, depth=depth - 1)
                found |= {full: v for k, v in nested.items() if (full := f"{name}.{k}") not in leave_out}
        elif isinstance(inner, str):
            if 0 < len(inner) <= _KEY_LENGTH and inner.strip():
                found[name] = inner.strip()
        elif isinstance(inner, (int, float)) and not isinstance(inner, bool) and inner == inner:
            found[name] = str(int(inner)) if isinstance(inner, int) or inner.is_integer() else str(inner)
    return found


def _answer(raw: RawFile, record: Record, columns: Columns) -> Answer:
    where = f"{raw.path}: row {record.row}"
    fields, name = record.fields, columns.prediction or ""
    value = pick(fields, name)
    text = only_text(value, f"{where}, column {name!r}")
    if text is None and raw.cells in ("table", "sheet") and has(fields, name):
        text = ""
    error = (_said(fields) or answered(text)[1]) if has(fields, name) else f"no {name!r} in the record"
    named = (columns.id, columns.prediction, columns.question, columns.reference, "resps")
    reference = first_text(pick(fields, columns.reference), f"{where}, column {columns.reference!r}")
    if text is not None:
        text = text if raw.cells == "sheet" else control_decoded(text)
        error = _failed(raw, record, name, text)
    return Answer(
        row=record.row,
        id=as_id(pick(fields, columns.id), f"{where}, column {columns.id!r}"),
        question=first_text(pick(fields, columns.question), f"{where}, column {columns.question!r}"),
        reference=reference,
        image=as_id(pick(fields, columns.image), f"{where}, column {columns.image!r}"),
        keys=identifiers(fields, named) or _NO_KEYS,
        text=text if error is None else None,
        error=error,
        finish_reason="error" if error else finish_reason(_stop_word(fields)),
        reasoning=_reasoning(record, name),
    )


def _failed(raw: RawFile, record: Record, prediction: str, text: str) -> str | None:
    """The error of a record that has a text: cut by a sheet, written by a harness, stopped by a filter, or failed."""
    cut = len(text) >= SHEET_LIMIT if raw.cells == "sheet" else raw.cells == "table" and len(text) == SHEET_LIMIT
    if cut:
        return f"cut at {SHEET_LIMIT:,} characters"
    stopped = stop_error(_stop_word(record.fields), text, _reasoning(record, prediction))
    return failure(text) or stopped or _noted(record.fields, text)


def _noted(fields: Mapping[str, Any], text: str) -> str | None:
    """The error that a record states: beside a text only one that is certainly an error, because columns may be named
    `error` for other reasons."""
    said = _said(fields)
    is_certain = not text.strip() or (said is not None and (stop_error(said, text) or looks_like_error(said)))
    return said if is_certain else None


def _said(fields: Mapping[str, Any]) -> str | None:
    """Error that a record states in addition to its answer."""
    noted = fields.get("error")
    return str(noted).strip()[:200] or None if isinstance(noted, (str, Mapping)) and noted else None


def _stop_word(fields: Mapping[str, Any]) -> str | None:
    return next((v for k in _STOPPED if isinstance(v := fields.get(k), str)), None)


def _check_cells(raw: RawFile, columns: Columns) -> None:
    """Raise DataError for a cell of a CSV or TSV file that a spreadsheet program has changed."""
    if raw.cells != "table":
        return
    ids, texts, references = (
        raw.records.column(name or "") for name in (columns.id, columns.prediction, columns.reference)
    )
    for k, (reference, *cells) in enumerate(zip(references, ids, texts, strict=True)):
        for name, text in zip((columns.id, columns.prediction), cells, strict=True):
            if isinstance(text, str) and text:
                problem = table_problem(text, reference if isinstance(reference, str) else None)
                if problem:
                    raise DataError(f"{raw.path}: line {raw.records.row(k)}, column {name!r} {problem}")


def _reasoning(record: Record, prediction: str) -> str:
    """The model's thought where the record has one in a column of its own."""
    found = (record.fields.get(name) for name in REASONING if name != prediction)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
