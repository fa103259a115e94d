"""pandas objects that a caller gives: a table of questions as a file, and cells as plain values."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.api.home import Home
from evalkit.core.errors import DataError, EvalkitError, first_line
from evalkit.tasks.table.columns import choose
from evalkit.tasks.table.images import encoded

if TYPE_CHECKING:
    import pandas as pd


def is_frame(value: Any, kind: str = "DataFrame") -> bool:
    """Whether an object is a pandas DataFrame (or Series), without importing pandas."""
    return any(c.__name__ == kind and c.__module__.partition(".")[0] == "pandas" for c in type(value).__mro__)


def plain_frame(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """A copy with plain column names, and a named index as a column.

    Raises:
        DataError: two columns have one name, or a name is no text.
    """
    named = frame.reset_index() if any(name is not None for name in frame.index.names) else frame.reset_index(drop=True)
    columns = list(named.columns)
    if bad := [c for c in columns if not isinstance(c, str)]:
        raise DataError(f"{what} has the column {bad[0]!r}, whose name is no text; rename it.")
    if doubled := [c for k, c in enumerate(columns) if c in columns[:k]]:
        raise DataError(f"{what} has two columns {doubled[0]!r}; rename or drop one.")
    return named


def table_file(frame: pd.DataFrame, home: Home, named: dict[str, Any]) -> Path:
    """A table of questions as a Parquet file; images of PIL inside it, and relative paths as absolute ones.

    Args:
        named: columns that the caller named, by field.

    Raises:
        DataError: a column holds what no file can.
    """
    frame = plain_frame(frame, "The DataFrame of questions")
    images = _image_columns(list(frame.columns), named)
    for column in frame.columns:
        if frame[column].dtype == object or column in images:
            frame[column] = [_cell(value, is_image=column in images) for value in frame[column]]
    content = io.BytesIO()
    try:
        frame.to_parquet(content, index=False)
    except Exception as problem:  # pyarrow's errors of conversion have no common base
        raise DataError(
            f"The DataFrame of questions cannot be kept as a file: {first_line(problem)}. Expected texts, numbers, "
            "lists of them, and images (PIL, bytes, paths), of one type a column."
        ) from problem
    data = content.getvalue()
    return home.file("tables", f"{hashlib.sha256(data).hexdigest()[:16]}.parquet", data)


def _image_columns(names: Sequence[str], named: dict[str, Any]) -> frozenset[str]:
    """The columns that task=table reads as images; none where it would refuse the table, which it then says itself."""
    try:
        return frozenset(choose(names, named, "").images)
    except EvalkitError:
        return frozenset()


def _cell(value: Any, *, is_image: bool) -> Any:
    if hasattr(value, "save") and hasattr(value, "mode"):  # an image of PIL
        return encoded(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and is_image:
        path, mark, view = value.partition("::")
        return f"{Path(path).absolute()}{mark}{view}" if _is_file(path) else value
    if isinstance(value, list | tuple):
        return [_cell(inner, is_image=is_image) for inner in value]
    return value


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a text that no path can be, such as an image in base64
        return False
