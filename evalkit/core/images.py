"""Reading images by reference, for every storage format.

Images are read just before the model needs them and not kept; checking a split decodes each image once, cheaply, and
keeps only its digest.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import DataError
from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

# The conversion of every image to 8-bit RGB; its name is recorded in manifests, so that a changed rule is detected.
CONVERSION = (
    "rgb.1: EXIF rotation applied; 16-bit scaled by its own range to 0..255; alpha over black; palette and CMYK by PIL"
)
GREY = 127
# Modes that every PIL version converts; the others are converted already when a split is checked.
_ORDINARY = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"})


@dataclass(frozen=True, slots=True)
class Broken:
    """An image that cannot be used, with the reason."""

    reason: str


def open_image(ref: ImageRef) -> Image:
    """The image as 8-bit RGB, upright.

    Raises:
        DataError: missing, not an image, or cut off.
    """
    from PIL import Image as images

    if ref.kind == "blank":
        assert ref.of is not None
        return images.new("RGB", open_image(ref.of).size, (GREY, GREY, GREY))
    if ref.kind == "draw":
        return to_rgb(_draw(ref))
    content = read_bytes(ref)
    with _decoding_errors(ref), images.open(io.BytesIO(content)) as image:
        image.load()
        return to_rgb(image)


@contextmanager
def _decoding_errors(ref: ImageRef) -> Iterator[None]:
    """Turn PIL's errors on damaged, truncated or oversized files into a DataError that names the image."""
    from PIL import Image as images

    # The two "decompression bomb" types derive directly from Exception and Warning.
    bombs = (images.DecompressionBombError, images.DecompressionBombWarning)
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error, *bombs) as problem:
        reason = str(problem).rstrip(".") or type(problem).__name__
        raise DataError(f"The image {ref} cannot be decoded: {reason}.") from problem


def to_rgb(image: Image) -> Image:
    """The image as 8-bit RGB, by the rule CONVERSION."""
    from PIL import Image as images
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = images.new("RGBA", image.size, (0, 0, 0, 255))
        return images.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image) -> Image:
    """16-bit, 32-bit and float grey values scaled to 0..255: PIL's own conversion would clip them to white."""
    import numpy as np
    from PIL import Image as images

    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("grey values that are not finite")
    if image.mode.startswith("I") and low >= 0 and high <= 255:
        low, high = 0.0, 255.0  # 8-bit values in a wider type stay unchanged
    scale = 255.0 / (high - low) if high > low else 0.0
    return images.fromarray(np.rint((values - low) * scale).astype(np.uint8)).convert("RGB")


def read_bytes(ref: ImageRef) -> bytes:
    """The encoded bytes of an image; for a drawing its mode, size and raw pixels.

    Raises:
        DataError: the file, archive member or table row is missing.
    """
    try:
        if ref.kind == "file":
            return Path(ref.path).read_bytes()
        if ref.kind == "zip":
            return _zip_member(ref.path, ref.member)
        if ref.kind == "parquet":
            return _parquet_cell(ref.path, ref.member)
    except (OSError, KeyError, ValueError) as problem:
        raise DataError(f"The image {ref} cannot be read: {str(problem).rstrip('.')}.") from problem
    if ref.kind == "blank":
        assert ref.of is not None
        return b"blank " + read_bytes(ref.of)
    image = _draw(ref)
    return f"{image.mode} {image.size[0]}x{image.size[1]} ".encode() + image.tobytes()


def digest(ref: ImageRef) -> str:
    """sha256 (hex) of the encoded bytes."""
    return hashlib.sha256(read_bytes(ref)).hexdigest()


def size(ref: ImageRef) -> tuple[int, int]:
    """Width and height in pixels, upright."""
    return open_image(ref).size


def _draw(ref: ImageRef) -> Image:
    """Call the function of evalkit that draws the image; data cannot name code of other packages."""
    module, _, function = ref.path.partition(":")
    if not module.startswith("evalkit."):
        raise DataError(f"The image {ref} names code outside evalkit.")
    drawn: Image = getattr(importlib.import_module(module), function)(ref.member)
    return drawn


_zip_lock = threading.Lock()


@lru_cache(maxsize=8)
def _archive(path: str) -> Any:
    import zipfile

    return zipfile.ZipFile(path)


def _zip_member(path: str, member: str) -> bytes:
    import zipfile

    with _zip_lock:  # one file handle, whose position every read changes
        try:
            content: bytes = _archive(path).read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as problem:  # RuntimeError: encrypted
            raise ValueError(str(problem)) from problem
    return content


_parquet_lock = threading.Lock()


@lru_cache(maxsize=8)
def _table_file(path: str) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path)


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


def probe(refs: Iterable[ImageRef], workers: int = 4) -> dict[ImageRef, str | Broken]:
    """The digest of each distinct image, or the reason why it cannot be used.  Every image is decoded, as cheaply as
    possible."""
    from concurrent.futures import ThreadPoolExecutor

    distinct = list(dict.fromkeys(refs))
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(distinct, pool.map(_probe, distinct), strict=True))


def _probe(ref: ImageRef) -> str | Broken:
    from PIL import Image as images

    try:
        content = read_bytes(ref)
        if ref.kind not in ("draw", "blank"):
            with _decoding_errors(ref), images.open(io.BytesIO(content)) as image:
                image.draft("L", (16, 16))  # a JPEG is decoded at an eighth; other formats ignore it
                image.load()
                if image.mode not in _ORDINARY:
                    to_rgb(image)
    except DataError as problem:
        return Broken(str(problem))
    return hashlib.sha256(content).hexdigest()
