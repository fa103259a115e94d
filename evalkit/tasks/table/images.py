"""Images of a row: paths, base64, bytes, and the image objects of the datasets library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.files import cache_folder
from evalkit.core.types import ImageRef
from evalkit.tasks.image_finder import ImageFinder
from evalkit.tasks.table.values import listed, text_or_none

_URL = re.compile(r"(?:https?|ftp|s3|gs)://", re.I)
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.I)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
# The shortest images in base64 are longer, and no path of this alphabet is as long.
_MIN_BASE64 = 64
_BYTES_OF_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")


class RowImage(NamedTuple):
    """An image of a row, and the name of it that tells images apart."""

    ref: ImageRef
    id: str


class ImageReader:
    """Reads the image fields of a table.

    folder: where relative paths start.  keep: write images that are inside of the table into evalkit's cache, from
    where they are opened; false where no image will be opened.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self.folder = folder
        self.keep = keep
        self._finder = ImageFinder(folder)

    def read(self, value: Any, where: str) -> list[RowImage]:
        """The images in one field, none where it is blank.

        Raises:
            DataError: a URL, a text that is neither a path nor base64, or another type.
        """
        if isinstance(value, Mapping):
            return [self._of_struct(value, where)] if any(value.values()) else []
        if isinstance(value, bytes | bytearray | memoryview):
            return [self._embedded(bytes(value))]
        if hasattr(value, "save") and hasattr(value, "mode"):  # an opened image of the datasets library
            return [self._embedded(_png(value))]
        items = listed(value)
        if items is not None:
            return [image for k, item in enumerate(items) for image in self.read(item, f"{where}, image {k + 1}")]
        text = text_or_none(value, where)
        return [] if text is None else [self._of_text(text, where)]

    def _of_struct(self, value: Mapping[str, Any], where: str) -> RowImage:
        content, path = value.get("bytes"), value.get("path")
        if isinstance(content, bytes):
            return self._embedded(content)
        if isinstance(path, str) and path:
            return self._of_text(path, where)
        raise DataError(f"{where}: an object without bytes and without a path (keys {', '.join(map(str, value))}).")

    def _of_text(self, text: str, where: str) -> RowImage:
        if _URL.match(text):
            raise DataError(
                f"{where}: {text[:80]} is a URL. Images are not fetched while a table is read, since the picture "
                "behind a URL can change. Download it and give its path."
            )
        if uri := _DATA_URI.match(text):
            return self._embedded(_decoded(text[uri.end() :], where))
        if len(text) >= _MIN_BASE64 and _BASE64.fullmatch(text) and not (self.folder / text[:200]).exists():
            return self._embedded(_decoded(text, where))
        path = Path(text).expanduser()
        place = path if path.is_absolute() else self.folder / path
        ref = ImageRef(kind="file", path=str(place)) if _is_file(place) else self._finder.find(text)
        return RowImage(ref, Path(text).as_posix())

    def _embedded(self, content: bytes) -> RowImage:
        digest = hashlib.sha256(content).hexdigest()
        path = cache_folder("images") / digest[:2] / digest
        if self.keep and not _is_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{digest}.{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(path)
        return RowImage(ImageRef(kind="file", path=str(path)), digest[:16])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds a zero byte
        return False


def _decoded(text: str, where: str) -> bytes:
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise DataError(f"{where}: a text of {len(text)} characters, neither a path nor base64 ({problem}).") from None
    if not content.startswith(_BYTES_OF_IMAGES) and content[128:132] != b"DICM":
        raise DataError(f"{where}: base64 of {len(content)} bytes that are no image (PNG, JPEG, TIFF, DICOM ...).")
    return content


def _png(image: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
