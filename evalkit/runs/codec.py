"""Typed records to and from JSON: validation with errors that name file, line and key, and JSON Schemas.

The records are the frozen dataclasses of `evalkit.runs.schema`; pydantic checks them strictly (a number in quotes is no
number).  Unknown keys are ignored, so that a file of a later evalkit with additional keys stays readable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from evalkit.core.errors import StoreError
from evalkit.core.signature import Signature

Record = TypeVar("Record")


# One validator a type: building one takes milliseconds.
_ADAPTERS: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def decode(kind: type[Record], text: str | bytes, where: str) -> Record:
    """The record in a JSON text.

    Args:
        where: the file, or FILE:LINE, for the message.

    Raises:
        StoreError: the text is not JSON, or a key is missing, doubled or has an invalid value; names the first one.
    """
    record = _validated(kind, text, where)
    _refuse_doubled_keys(text, where)
    return record


def _validated(kind: type[Record], text: str | bytes, where: str) -> Record:
    from pydantic import ValidationError

    try:
        record: Record = _adapter(kind).validate_json(text, strict=True)
    except ValidationError as problem:
        raise StoreError(_message(problem.errors(include_url=False)[0], where)) from None
    return record


def _refuse_doubled_keys(text: str | bytes, where: str) -> None:
    """Refuse valid JSON with a key that occurs twice in an object: of two values pydantic takes the last."""
    import jiter

    try:
        jiter.from_json(text.encode() if isinstance(text, str) else text, catch_duplicate_keys=True)
    except ValueError as problem:
        raise StoreError(
            f"{where}: {problem}. evalkit writes each key once: the file was edited or badly merged. Make it again "
            "with the command that wrote it."
        ) from None


def decode_object(kind: type[Record], content: Any, where: str) -> Record:
    """The record in parsed JSON; see `decode`."""
    return _validated(kind, json.dumps(content), where)


def _message(error: Any, where: str) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "json_invalid":
        return (
            f"{where} is not valid JSON ({error['msg']}): the file was damaged after evalkit wrote it. Restore it, or "
            "make it again with the command that wrote it."
        )
    found = f"; found {_shown(error['input'])}" if key and error["type"] != "missing" else ""
    at = f", key {key!r}" if key else ""
    return (
        f"{where}{at}: {error['msg'][:1].lower()}{error['msg'][1:]}{found}. This is not what evalkit writes: the file "
        "was edited, or another program wrote it. Make it again with the command that wrote it."
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def read_records(kind: type[Record], path: Path, seen: Callable[[bytes], None] | None = None) -> list[Record]:
    """The records of a JSON Lines file, one a line.

    Args:
        seen: called with every line, so that a file is read once to be read and checked.

    Raises:
        StoreError: the file is missing, or a line is invalid; names the line.
    """
    found = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if seen is not None:
                    seen(line)
                found.append(decode(kind, line, f"{path}:{number}"))
    except FileNotFoundError:
        raise StoreError(f"There is no {path}: is {path.parent} the folder of a finished run?") from None
    return found


def encode(value: Any) -> Any:
    """A record as JSON-ready values: dataclasses become objects with their fields in order, signatures become text."""
    if isinstance(value, Signature):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    return value


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a record."""
    schema: dict[str, Any] = _adapter(kind).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
