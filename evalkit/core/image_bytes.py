"""The bytes of a stored image file: on disk, in a zip archive or in a cell of a Parquet table."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit.core.archives import DAMAGE, member_bytes
from evalkit.core.errors import DataError
from evalkit.core.image_files import max_file_bytes
from evalkit.core.image_view import placed
from evalkit.core.parquet import open_parquet
from evalkit.core.types import ImageRef

STORED = ("file", "zip", "parquet")


def stored_bytes(ref: ImageRef) -> bytes:
    """The file that a reference of a kind in STORED names, whole.

    For `evalkit.core.images` alone: a DICOM file has the patient's name in it.

    Raises:
        DataError: the file, archive member or table row is missing, or larger than any picture.
    """
    try:
        member = placed(ref).member
        if ref.kind == "file":
            return _file_bytes(Path(ref.path))
        return _zip_member(ref.path, member) if ref.kind == "zip" else _parquet_cell(ref.path, member)
    except (OSError, KeyError, ValueError) as problem:
        raise DataError(f"The image {ref} cannot be read: {str(problem).rstrip('.')}.") from problem


def stored_head(ref: ImageRef, length: int) -> bytes:
    """The first bytes of what `stored_bytes` gives, without reading the rest of a file on disk."""
    if ref.kind != "file":
        return stored_bytes(ref)[:length]
    try:
        with Path(ref.path).open("rb") as file:
            return file.read(length)
    except OSError as problem:
        raise DataError(f"The image {ref} cannot be read: {problem}.") from problem


_zip_lock = threading.Lock()


@lru_cache(maxsize=8)
def _archive(path: str) -> Any:
    import zipfile

    return zipfile.ZipFile(path)


def _zip_member(path: str, member: str) -> bytes:
    with _zip_lock:  # one file handle, whose position every read changes
        try:
            archive = _archive(path)
            return member_bytes(archive, archive.getinfo(member), max_file_bytes())
        except DAMAGE as problem:  # KeyError, a missing member, is reported by the caller
            raise ValueError(str(problem)) from problem


def _file_bytes(path: Path) -> bytes:
    size, most = path.stat().st_size, max_file_bytes()
    if size > most:
        raise ValueError(f"the file has {size} bytes, and an image may have {most}")
    return path.read_bytes()


_parquet_lock = threading.Lock()


@lru_cache(maxsize=8)
def _table_file(path: str) -> Any:
    return open_parquet(path)


@lru_cache(maxsize=2)
def _row_group(path: str, group: int, column: str) -> Any:
    return _table_file(path).read_row_group(group, columns=[column]).column(column)


def _parquet_cell(path: str, member: str) -> bytes:
    """The bytes in an image column (struct of bytes and path, or plain bytes); member is "column:row"."""
    column, _, row_text = member.rpartition(":")
    row = int(row_text)
    with _parquet_lock:
        meta = _table_file(path).metadata
        for group in range(meta.num_row_groups):
            rows = meta.row_group(group).num_rows
            if row < rows:
                cell = _row_group(path, group, column)[row].as_py()
                break
            row -= rows
        else:
            raise ValueError(f"there is no row {row_text}")
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ValueError("the cell holds no image bytes")
    return content
