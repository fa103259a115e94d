"""Tolerant reader for JSON and JSON lines: wrong extensions, byte order marks, trailing commas, incomplete ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import DataError
from evalkit.records.base import PackedRecords, RawFile
from evalkit.records.encoding import open_text, without_zeros

_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])')
_FIRST = re.compile(r"\S")
# Characters of a first line that is looked at.
_LONGEST_FIRST = 1 << 24
_LIST_KEYS = ("predictions", "results", "answers", "data", "samples", "records", "outputs")


def parse_json(text: str, path: Path) -> RawFile | None:
    """Parse a JSON array, a JSON object or JSON lines, whatever the file is called; None for any other text."""
    found = _FIRST.search(text)  # without a copy of the text, which may be large
    first = found[0] if found else ""
    try:
        if first == "[":
            return _array(text, path)
        if first == "{":
            return _object(text, path) or _lines(_split(text), path)
    except json_text.DoubledKeyError as e:
        raise DataError(f"{path}{_line_of(text, e.key)}: {e}.") from None
    except (RecursionError, ValueError) as e:  # raised by json for thousands of nested brackets or of digits
        raise _unreadable(path, e) from None
    return None


def _unreadable(path: Path, problem: Exception) -> DataError:
    return DataError(f"{path}: the JSON is nested too deeply or contains a number that is too long ({problem}).")


def _line_of(text: str, key: str) -> str:
    """ ": line N" of the second place of a key that occurs twice in a text of several lines, else ""."""
    places = [m.start() for m in re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)]
    return f": line {text[: places[-1]].count(chr(10)) + 1}" if len(places) == 2 and "\n" in text.strip() else ""


def _loads(text: str) -> tuple[Any, list[str]]:
    """json.loads that accepts trailing commas and NaN, with notes.  Raises ValueError like json."""
    notes: list[str] = []

    def constant(name: str) -> None:
        notes.append(f"{name} read as null")

    try:
        return json_text.loads(text, parse_constant=constant), notes
    except json.JSONDecodeError:
        cleaned = _without_trailing_commas(text)
        if cleaned == text:
            raise
        notes.clear()
        return json_text.loads(cleaned, parse_constant=constant), [*notes, "trailing commas ignored"]


def _without_trailing_commas(text: str) -> str:
    return _STRING_OR_TRAILING_COMMA.sub(lambda m: m[0] if m[0].startswith('"') else "", text)


def _array(text: str, path: Path) -> RawFile:
    notes: list[str] = []
    tail = ""
    try:
        items, notes = _loads(text)
    except json.JSONDecodeError as e:
        items, tail, notes = _array_with_tail(text, path, e)
    records = PackedRecords()
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise _no_object(path, "item", number, item)
        records.append(number, item)
    if path.suffix == ".jsonl":
        notes.append("a JSON array in a file named .jsonl")
    return RawFile(path=path, kind="records", records=records, tail=tail, notes=_once(notes))


def _array_with_tail(text: str, path: Path, error: json.JSONDecodeError) -> tuple[list[Any], str, list[str]]:
    """Parse an array that is followed by other text; DataError if the array itself is malformed.

    Returns the items, the text after the array, and notes.
    """
    constants: list[str] = []
    decoder = json_text.decoder(lambda name: constants.append(f"{name} read as null"))
    source, notes = text, constants
    try:
        items, end = decoder.raw_decode(source, len(source) - len(source.lstrip()))
    except json.JSONDecodeError:
        source = _without_trailing_commas(text)
        constants.clear()
        try:
            items, end = decoder.raw_decode(source, len(source) - len(source.lstrip()))
        except json.JSONDecodeError:
            raise DataError(
                f"{path}: malformed JSON at line {error.lineno}, column {error.colno}: {error.msg}. A JSON array is "
                "not read in part, because the number of missing answers is unknown. Repair the file or write it again."
            ) from None
        notes = [*constants, "trailing commas ignored"]
    if not isinstance(items, list):
        raise DataError(f"{path}: expected an array, found {type(items).__name__}.")
    return items, source[end:].strip(), notes


def _object(text: str, path: Path) -> RawFile | None:
    """Parse a file that is a single JSON object; None if it is to be read line by line."""
    lines_by_name = path.suffix == ".jsonl"
    body = text.strip()
    if "\n" not in body and lines_by_name:
        return None
    if "\n" in body and _is_json(body[: body.index("\n")]):
        return None  # an object that ends before the text does
    try:
        whole, notes = _loads(text)
    except json.JSONDecodeError as e:
        if lines_by_name or "\n" not in body:
            return None
        raise DataError(
            f"{path}: malformed JSON at line {e.lineno}, column {e.colno}: {e.msg}. Repair the file or write it again."
        ) from None
    return RawFile(path=path, kind="whole", whole=whole, notes=_once(notes))


def _is_json(line: str) -> bool:
    try:
        _loads(line.rstrip().rstrip(","))
    except json.JSONDecodeError:
        return False
    return True


def stream_lines(path: Path) -> RawFile | None:
    """Parse a file that is plainly JSON lines, so that its text is never held as a whole; None for any other file.

    Raises:
        DataError: like `parse_json`.
    """
    file, notes = open_text(path, "\n")
    try:
        with file:
            if file.read(1) != "{":  # an array may be one line
                return None
            first = "{" + file.readline(_LONGEST_FIRST)
            if not file.read(1).strip() or not _is_json(first):
                return None
            file.seek(0)
            return _lines(without_zeros(file), path, notes)
    except (UnicodeError, json_text.DoubledKeyError):  # the reader of a whole text says where
        return None
    except (RecursionError, ValueError) as e:
        raise _unreadable(path, e) from None


def _split(text: str) -> Iterator[str]:
    """The lines of a text with their ends, split at LF alone; io.StringIO would hold four bytes a character."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _lines(lines: Iterator[str], path: Path, found: Iterable[str] = ()) -> RawFile:
    """Parse JSON lines.  Split only at LF, because other Unicode line separators are legal inside a JSON string.

    found: notes before these.
    """
    notes: dict[str, None] = dict.fromkeys(found)
    records, torn = PackedRecords(), 0
    first_odd: DataError | None = None
    for number, line in enumerate(lines, 1):
        body = line.strip()
        if not body:
            continue
        if body.endswith(","):
            body = body[:-1]
            notes["trailing commas ignored"] = None
        try:
            value, line_notes = _loads(body)
        except json_text.DoubledKeyError as e:
            raise DataError(f"{path}: line {number}: {e}.") from None
        except json.JSONDecodeError as e:
            rest = [line, *lines]
            if not any(r.strip() for r in rest[1:]) and not rest[-1].endswith("\n"):
                torn = number
                break
            raise DataError(
                f"{path}: line {number} is not JSON ({e.msg} at column {e.colno}). Expected one JSON object per line. "
                "Repair the line or write the file again."
            ) from None
        notes |= dict.fromkeys(line_notes)
        if isinstance(value, dict):
            records.append(number, value)
        elif first_odd is None:  # a line that is no JSON at all comes first
            first_odd = _no_object(path, "line", number, value)
    if first_odd is not None:
        raise first_odd
    if path.suffix == ".json":
        notes["JSON lines in a file named .json"] = None
    return RawFile(path=path, kind="records", records=records, torn=torn, notes=tuple(notes))


def _no_object(path: Path, unit: str, number: int, value: Any) -> DataError:
    return DataError(
        f"{path}: {unit} {number} is {type(value).__name__}, expected an object with named fields. A "
        "bare list of answers does not say which questions they belong to."
    )


def unwrap(raw: RawFile) -> RawFile:
    """The records inside a single JSON object: a list under a usual name, or id -> answer.  Else `raw` unchanged."""
    whole = raw.whole or {}
    lists = [
        k
        for k in _LIST_KEYS
        if isinstance(whole.get(k), list) and whole[k] and all(isinstance(v, dict) for v in whole[k])
    ]
    if len(lists) == 1:
        return _unwrapped(raw, whole[lists[0]], f"answers read from the list in {lists[0]!r}")
    if whole and all(v is None or isinstance(v, str) for v in whole.values()):
        answers = ({"id": k, "prediction": v} for k, v in whole.items())
        return _unwrapped(raw, answers, "read as one object of id -> answer")
    if whole and all(isinstance(v, dict) for v in whole.values()):
        return _unwrapped(raw, ({"id": k, **v} for k, v in whole.items()), "read as one object of id -> record")
    return raw


def _unwrapped(raw: RawFile, found: Iterable[dict[str, Any]], note: str) -> RawFile:
    records = PackedRecords()
    for number, fields in enumerate(found, 1):
        records.append(number, fields)
    return RawFile(path=raw.path, kind="records", records=records, notes=(*raw.notes, note))


def _once(notes: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))
