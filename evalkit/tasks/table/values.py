"""Values of fields: texts, lists, and lists that are written as text."""

from __future__ import annotations

import ast
import json
from typing import Any

from evalkit.core.errors import DataError
from evalkit.records.base import as_text


def text_or_none(value: Any, where: str) -> str | None:
    """A field as text without outer white space; None for null and blank.

    Raises:
        DataError: a list, an object, or a cell that lost its text.
    """
    text = as_text(value, where)
    return text.strip() if text is not None and text.strip() else None


def listed(value: Any) -> list[Any] | None:
    """The items of a list, or of a text that is a list of texts in JSON's or Python's notation; None for all else.

    >>> listed(["a", "b"]), listed("['a', 'b']"), listed("[left] lung")
    (['a', 'b'], ['a', 'b'], None)
    """
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):  # an array of parquet
        return list(value.tolist())
    if not isinstance(value, str) or not (text := value.strip()).startswith("[") or not text.endswith("]"):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            items = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(items, list) and items and all(isinstance(i, str | int | float) for i in items):
            return items
    return None


def one_text(value: Any, where: str) -> str:
    """A field that must hold text.  Raises DataError where it is empty."""
    text = text_or_none(value, where)
    if text is None:
        raise DataError(f"{where} is empty. Fill it, or leave the row out with task.on_bad_row=skip.")
    return text
