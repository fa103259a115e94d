"""Reader of JSON Lines files of other tools: batch outputs, human labels, reviews."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import json_text
from evalkit.core.errors import DataError


class LocatedObject(NamedTuple):
    """A JSON object of a file; where: FILE:NUMBER of its line, for messages."""

    where: str
    content: dict[str, Any]


def located_objects(path: Path, lines: Iterable[str | bytes], advice: str) -> Iterator[LocatedObject]:
    """The JSON objects in the lines of a file; empty lines are skipped.

    Args:
        lines: texts, or bytes in UTF-8.
        advice: last sentence of the messages.

    Raises:
        DataError: a line is not a JSON object; names the line.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            content = json_text.loads(line)
        except ValueError as problem:
            raise DataError(f"{where} is not JSON ({problem}). {advice}") from problem
        if not isinstance(content, dict):
            raise DataError(f"{where} is not a JSON object. {advice}")
        yield LocatedObject(where, content)
