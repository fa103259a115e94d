"""Values of fields: texts, lists, objects of labels, and those that are written as text."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import DataError
from evalkit.records.base import as_text

# Keys of an option's label and text in an object of both.
_LABELS = ("label", "key", "letter")
_TEXTS = ("text", "value", "content", "option")


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
    items = _parsed(text)
    if isinstance(items, list) and items and all(isinstance(i, str | int | float) for i in items):
        return items
    return None


def lettered_object(value: Any) -> Any:
    """An object of labels and texts as one from label to text; any other value as it is.

    Read are objects written as text, lists of objects with a label and a text, and objects of two such lists.

    >>> lettered_object('{"A": "CT"}'), lettered_object([{"label": "A", "text": "CT"}])
    ({'A': 'CT'}, {'A': 'CT'})
    >>> lettered_object({"label": ["A", "B"], "text": ["CT", "MRI"]})
    {'A': 'CT', 'B': 'MRI'}
    """
    found = value.tolist() if hasattr(value, "tolist") and not isinstance(value, str | bytes) else value
    if isinstance(found, str) and found.strip().startswith(("{", "[{", "[ {")):
        found = _parsed(found.strip()) or found
    if isinstance(found, Mapping) and (keys := _label_and_text(found)):
        labels, texts = (listed(found[key]) for key in keys)
        is_pair = labels is not None and texts is not None and len(labels) == len(texts) == len(set(map(str, labels)))
        return dict(zip(labels or (), texts or (), strict=True)) if is_pair else value
    if isinstance(found, list) and found and all(isinstance(i, Mapping) and _label_and_text(i) for i in found):
        pairs = [tuple(item[key] for key in _label_and_text(item)) for item in found]
        by_label = {str(label): text for label, text in pairs}
        return by_label if len(by_label) == len(pairs) else value
    return found if isinstance(found, Mapping) else value


def _label_and_text(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the label and the text in an object that has these two alone; none in any other."""
    keys = [next((k for k in names if k in item), "") for names in (_LABELS, _TEXTS)]
    return tuple(keys) if all(keys) and len(item) == 2 else ()


def _parsed(text: str) -> Any:
    """The value of a text in JSON's or Python's notation; None where it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def one_text(value: Any, where: str) -> str:
    """A field that must hold text.  Raises DataError where it is empty."""
    text = text_or_none(value, where)
    if text is None:
        raise DataError(f"{where} is empty. Fill it, or leave the row out with task.on_bad_row=skip.")
    return text
