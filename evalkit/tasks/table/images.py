"""Images of a row: paths, base64, bytes, and the image objects of the datasets library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.files import cache_folder
from evalkit.core.image_view import View, Window, parse_view, placed, with_view
from evalkit.core.medical_images import expand_volume, medical_kind, without_personal_fields
from evalkit.core.types import ImageRef
from evalkit.tasks.image_finder import ImageFinder
from evalkit.tasks.table.values import listed, text_or_none

_URL = re.compile(r"(?:https?|ftp|s3|gs)://", re.I)
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.I)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"})
# The shortest images in base64 are longer, and no path of this alphabet is as long.
_MIN_BASE64 = 64
_BYTES_OF_IMAGES = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"\x00\x00\x00\x0cjP",
    b"\xff\x4f\xff\x51", b"P4", b"P5", b"P6", b"\x1f\x8b",
)  # fmt: skip


class RowImage(NamedTuple):
    """An image of a row, and the name of it that tells images apart."""

    ref: ImageRef
    id: str


class ImageReader:
    """Reads the image fields of a table.

    folder: where relative paths start.  keep: write images that are inside of the table into evalkit's cache, from
    where they are opened, without the personal fields of medical files; false where no image will be opened.
    window: for DICOM and NIfTI; None: the file's own.  slices: volumes and files of several frames or pages become so
    many evenly spaced images; None: such a file needs a view, as in `scan.nii.gz::slice=40`.
    """

    def __init__(self, folder: Path, *, keep: bool, window: Window | None = None, slices: int | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.window = window
        self.slices = slices
        self._finder = ImageFinder(folder)
        self._views: dict[ImageRef, tuple[ImageRef, ...]] = {}
        self._paths: dict[str, RowImage] = {}

    def read(self, value: Any, where: str) -> list[RowImage]:
        """The images in one field, none where it is blank.

        Raises:
            DataError: a URL, a text that is neither a path nor base64, another type, or a list with a blank before an
                image.
        """
        if isinstance(value, Mapping):
            return self._shown(self._of_struct(value, where)) if any(value.values()) else []
        if isinstance(value, bytes | bytearray | memoryview):
            return self._shown(self._embedded(bytes(value), where))
        if hasattr(value, "save") and hasattr(value, "mode"):  # an opened image of the datasets library
            return [self._embedded(encoded(value), where)]
        items = listed(value)
        if items is not None:
            found = [self.read(item, f"{where}, image {k}") for k, item in enumerate(items, 1)]
            if missing := next((k for k, images in enumerate(found, 1) if not images and any(found[k:])), None):
                raise DataError(
                    f"{where}: image {missing} of the list is empty, but a later one is not. Fill it, or take it out "
                    "of the list."
                )
            return [image for images in found for image in images]
        text = text_or_none(value, where)
        return [] if text is None else self._shown(self._of_text(text, where))

    def _shown(self, image: RowImage) -> list[RowImage]:
        """The pictures of a file that are shown: itself, or slices of a volume, in the window that is set."""
        if not self.keep or (self.window is None and self.slices is None):
            return [image]
        if image.ref not in self._views:
            self._views[image.ref] = self._pictures(image.ref)
        return [RowImage(ref, image.id) for ref in self._views[image.ref]]

    def _pictures(self, ref: ImageRef) -> tuple[ImageRef, ...]:
        """The views of a file that are shown, by the window and the number of slices that are set."""
        try:
            is_medical = bool(medical_kind(ref))
            refs = expand_volume(ref, self.slices) if self.slices is not None else (ref,)
        except DataError:  # missing or damaged: the check of all images says so
            return (ref,)
        if self.window is None or not is_medical:
            return refs
        return tuple(with_view(r, replace(placed(r).view, window=self.window)) for r in refs)

    def _of_struct(self, value: Mapping[str, Any], where: str) -> RowImage:
        """The image of the datasets library's object of bytes and path.  Raises DataError where it has neither."""
        content, path = value.get("bytes"), value.get("path")
        if isinstance(content, bytes):
            return self._embedded(content, where)
        if isinstance(path, str) and path:
            return self._of_text(path, where)
        raise DataError(f"{where}: an object without bytes and without a path (keys {', '.join(map(str, value))}).")

    def _of_text(self, text: str, where: str) -> RowImage:
        """The image of a path, with a view or without, or of base64.  Raises DataError for a URL or another text."""
        if _URL.match(text):
            raise DataError(
                f"{where}: {text[:80]} is a URL. Images are not fetched while a table is read, since the picture "
                "behind a URL can change. Download it and give its path."
            )
        if uri := _DATA_URI.match(text):
            return self._embedded(_decoded(text[uri.end() :], where), where)
        if len(text) >= _MIN_BASE64 and _BASE64.fullmatch(text) and not (self.folder / text[:200]).exists():
            return self._embedded(_decoded(text, where), where)
        if text not in self._paths:
            self._paths[text] = self._of_path(text, where)
        return self._paths[text]

    def _of_path(self, text: str, where: str) -> RowImage:
        """The image of a path, with a view or without.  Raises DataError for a view that cannot be read."""
        name, view = _view_of(text, where)
        path = Path(name).expanduser()
        place = path if path.is_absolute() else self.folder / path
        ref = ImageRef(kind="file", path=str(place)) if _is_file(place) else self._finder.find(name)
        return RowImage(with_view(ref, view) if view != View() else ref, self._name(place, name) + text[len(name) :])

    def _name(self, place: Path, name: str) -> str:
        """One name for every spelling of a path: from the table's folder where the file is below it."""
        whole, folder = place.resolve(), self.folder.resolve()
        return (whole.relative_to(folder) if whole.is_relative_to(folder) else Path(name)).as_posix()

    def _embedded(self, content: bytes, where: str) -> RowImage:
        """An image inside of the table, kept in the cache under the sha256 of its bytes without personal fields."""
        try:
            content = without_personal_fields(content)
        except ValueError as problem:
            raise DataError(f"{where}: {problem}.") from None
        digest = hashlib.sha256(content).hexdigest()
        path = cache_folder("images") / digest[:2] / digest
        if self.keep and not _is_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{digest}.{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(path)
        return RowImage(ImageRef(kind="file", path=str(path)), digest[:16])


def _view_of(text: str, where: str) -> tuple[str, View]:
    """The path and the view in `PATH::frame=3`; a path alone has no view."""
    name, mark, view = text.rpartition("::")
    if not mark or "=" not in view:
        return text, View()
    try:
        return name, parse_view(view)
    except ValueError as problem:
        raise DataError(f"{where}: {text[:80]!r}: {problem}. Expected PATH, or PATH::frame=3.") from None


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a text that cannot be a path is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds a zero byte
        return False


def _decoded(text: str, where: str) -> bytes:
    """The bytes behind a base64 text.  Raises DataError where it is none, or of no image."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise DataError(f"{where}: a text of {len(text)} characters, neither a path nor base64 ({problem}).") from None
    if not content.startswith(_BYTES_OF_IMAGES) and content[128:132] != b"DICM":
        raise DataError(f"{where}: base64 of {len(content)} bytes that are no image (PNG, JPEG, TIFF, DICOM ...).")
    return content


def encoded(image: Any) -> bytes:
    """An opened image as the bytes of a file without loss, its EXIF orientation included.

    Raises:
        DataError: neither PNG nor TIFF holds its mode.
    """
    import io

    buffer = io.BytesIO()
    exif = {"exif": image.getexif()} if dict(image.getexif()) else {}
    try:
        image.save(buffer, format="PNG" if image.mode in _PNG_MODES else "TIFF", **exif)
    except (OSError, ValueError) as problem:
        raise DataError(f"An image of the mode {image.mode} cannot be kept: {problem}. Convert it to RGB.") from None
    return buffer.getvalue()
