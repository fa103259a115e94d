"""Reader of JSON arrays, an object at a time, so that neither their text nor their objects are held as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from evalkit.core import json_text
from evalkit.records.base import PackedRecords, RawFile
from evalkit.records.encoding import open_text

_SPACE = re.compile(r"[ \t\n\r]*")
# Characters that are read at a time.
_BLOCK = 1 << 20


def stream_array(path: Path) -> RawFile | None:
    """Parse a file that is plainly an array of objects, one after the other; None for any other file, of which the
    reader of a whole text says what is wrong."""
    file, found = open_text(path, "\n")
    notes, records = dict.fromkeys(found), PackedRecords()
    try:
        with file:
            for number, item in enumerate(_items(file, lambda name: notes.update({f"{name} read as null": None})), 1):
                if not isinstance(item, dict):
                    return None
                records.append(number, item)
    except (RecursionError, ValueError):
        return None
    if path.suffix == ".jsonl":
        notes["a JSON array in a file named .jsonl"] = None
    return RawFile(path=path, kind="records", records=records, notes=tuple(notes))


def _items(file: TextIO, parse_constant: Callable[[str], None]) -> Iterator[Any]:
    """The items of the array that a file holds.  Raises ValueError for anything else, also for text that follows it."""
    decoder = json_text.decoder(parse_constant)
    text = file.read(_BLOCK)
    start = _after_space(text, 0)
    if text[start : start + 1] != "[":
        raise ValueError("no array")
    start += 1
    while True:
        try:
            item, end = decoder.raw_decode(text, _after_space(text, start))
            end = _after_space(text, end)
        except json.JSONDecodeError:
            end = len(text)
        if end == len(text):  # the item may go on in the next block
            more = file.read(max(_BLOCK, len(text) - start))
            if not more:
                raise ValueError("the array does not end")
            text, start = text[start:] + more, 0
            continue
        yield item
        if text[end] == "]":
            break
        if text[end] != ",":
            raise ValueError("no comma between two items")
        start = end + 1
    if (text[end + 1 :] + file.read()).strip():
        raise ValueError("text after the array")


def _after_space(text: str, start: int) -> int:
    """The place of the first character from `start` that is no white space of JSON."""
    found = _SPACE.match(text, start)
    return found.end() if found else start
