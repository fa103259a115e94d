"""Opening of image files within limits: the formats that are opened, and the size of what a file unfolds to.

A small file can describe a picture that fills the memory, and some formats of PIL run other programs (EPS runs
Ghostscript).  What a file claims is therefore checked before anything is decoded.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ConfigError
from evalkit.core.image_structure import (
    MAX_PARTS,
    MAX_PASSES,
    MAX_PIECES,
    check_gif,
    check_jpeg,
    check_structure,
    refuse_more,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# The formats of PIL that are opened.  MPO (a JPEG with several pictures) is opened as JPEG.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Pixels of one picture: 8192 x 8192.  The environment variable LIMIT_VARIABLE replaces it, in every process.
MAX_PIXELS = 1 << 26
LIMIT_VARIABLE = "EVALKIT_MAX_IMAGE_PIXELS"
# Pictures with more pixels than this are decoded one at a time, because decoding takes several times their size.
LARGE = 1 << 24
# Largest encoded file: uncompressed, four channels of 16 bits a pixel, and room for its metadata.
_BYTES_A_PIXEL, _METADATA = 8, 1 << 24
# Tags of a TIFF or of EXIF may share values, but not so many bytes.
_SHARED_TAGS = 1 << 16
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_STRIPS, _TILES = 273, 324
# Formats of which a frame is drawn over the one before it.
_DRAWN_OVER = frozenset({"GIF", "PNG", "WEBP"})
_large = threading.RLock()


def damage() -> tuple[type[Exception], ...]:
    """PIL's errors for damaged files; its two for "decompression bombs" derive directly from Exception and Warning."""
    from PIL import Image as images

    bombs = (images.DecompressionBombError, images.DecompressionBombWarning, MemoryError)
    return (OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error, *bombs)


class Unusable(ValueError):
    """Reason why a picture cannot be shown, in words of evalkit alone: it quotes nothing of the file."""


def max_pixels() -> int:
    """The largest number of pixels of a picture: MAX_PIXELS, or what the environment variable says.

    Raises:
        ConfigError: the variable is not a positive whole number.
    """
    given = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not given:
        return MAX_PIXELS
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(
            f"The environment variable {LIMIT_VARIABLE} is {given!r}; expected the largest number of pixels of a "
            f"picture, such as {MAX_PIXELS}."
        )
    return int(given)


def max_file_bytes() -> int:
    """The largest encoded image file in bytes; it follows `max_pixels`."""
    return max_pixels() * _BYTES_A_PIXEL + _METADATA


@contextmanager
def opened(content: bytes, frame: int = 0) -> Iterator[Image]:
    """An image file at one of its frames or pages, opened and within the limits, but not decoded.

    Raises:
        ValueError: another format, over a limit, or no such frame.
        Exception: PIL's errors for damaged files.
    """
    from PIL import Image as images
    from PIL import UnidentifiedImageError

    most = max_pixels()
    _silence()
    if images.MAX_IMAGE_PIXELS is not None and most > images.MAX_IMAGE_PIXELS:
        images.MAX_IMAGE_PIXELS = most  # PIL's own limit, beyond which it warns
    check_structure(content, most)
    if content[:4] in _TIFF_HEADS:
        _check_tags(content, pages=frame > 0)
    elif content[:2] == b"\xff\xd8":
        _check_tags(_jpeg_exif(content))
    elif frame and content.startswith(b"GIF8"):
        check_gif(content, frames=True)
    try:
        found = images.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as problem:
        raise ValueError(
            f"it is damaged or in none of the formats that are opened ({', '.join(FORMATS)}); convert it to PNG"
        ) from problem
    except (images.DecompressionBombError, images.DecompressionBombWarning) as problem:
        raise ValueError(f"it has more than {most} pixels, the limit; {_RAISE}") from problem
    with found as image:
        _check_size(image, most)
        if frame:
            _seek(image, frame, most)
            _check_size(image, most)
            if image.format == "MPO":  # each of its frames is a JPEG of its own
                check_jpeg(content[getattr(image, "offset", 0) :], most)
        exif = image.info.get("exif", b"")
        _check_tags(exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b"")
        with taking_turns(image.width * image.height):
            yield image


def _seek(image: Any, frame: int, most: int) -> None:
    """Go to a frame.  Those before it are decoded too where each is drawn over the one before."""
    frames = frame_count(image)
    if frame >= frames:
        only = f"it has {frames} frames, frame=0 to frame={frames - 1}" if frames > 1 else "it has one frame, frame=0"
        raise Unusable(f"{only}, and no frame={frame}")
    if image.format in _DRAWN_OVER and frame * image.width * image.height > MAX_PASSES * most:
        raise Unusable(
            f"{frame} frames of {image.width} x {image.height} pixels are decoded before frame={frame}, more than "
            f"{MAX_PASSES} times the limit of {most} pixels; {_RAISE}"
        )
    image.seek(frame)


def frame_count(image: Any) -> int:
    """The number of frames or pages of an opened image; 1 where the format has no others.

    Raises:
        Unusable: the list of its pages is damaged.
    """
    try:
        return int(getattr(image, "n_frames", 1))
    except (LookupError, TypeError, ArithmeticError, struct.error) as problem:  # as the reader of a page fails
        raise Unusable("the list of its frames or pages is damaged") from problem


def count_frames(content: bytes) -> int:
    """The number of frames or pages of an image file.  Raises as `opened` does."""
    if content[:4] in _TIFF_HEADS:
        _check_tags(content, pages=True)
    elif content.startswith(b"GIF8"):
        check_gif(content, frames=True)
    with opened(content) as image:
        return frame_count(image)


@cache
def _silence() -> None:
    """Switch off PIL's warning of large pictures: the limit here is below PIL's, and its message names the file."""
    from PIL import Image as images

    warnings.filterwarnings("ignore", category=images.DecompressionBombWarning)


_RAISE = f"set the environment variable {LIMIT_VARIABLE} to allow larger ones"


def check_size(width: int, height: int, most: int | None = None) -> None:
    """Check the size that a file states against the limit, that of `max_pixels` unless another is given.

    Raises:
        Unusable: it is larger.
    """
    limit = max_pixels() if most is None else most
    if width * height > limit:
        raise Unusable(f"it has {width} x {height} = {width * height} pixels, the limit is {limit}; {_RAISE}")


def taking_turns(pixels: int) -> AbstractContextManager[Any]:
    """A lock for the decoding of a picture of so many pixels, if it is a large one."""
    return _large if pixels > LARGE else nullcontext()


def _check_size(image: Any, most: int) -> None:
    check_size(image.width, image.height, most)
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)]
    if all(isinstance(side, int) for side in tile) and tile[0] * tile[1] > most:
        raise ValueError(f"it has tiles of {tile[0]} x {tile[1]} pixels, the limit is {most}; {_RAISE}")


_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _check_tags(block: bytes, *, pages: bool = False) -> None:
    """Check that the tags of a TIFF (or of EXIF, which is one) have no more bytes than it has; of all pages if asked.

    PIL copies the value of every tag; thousands of tags that share one value would multiply it.  Tags, pages, strips
    and tiles are counted.

    Raises:
        ValueError: they claim more.
    """
    if block[:4] not in _TIFF_HEADS:
        return
    order = "<" if block[:2] == b"II" else ">"
    big = b"+" in block[:4]
    start_form, count_form, entry_form, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    length = struct.calcsize(order + entry_form) + inline
    link, seen, n_tags = 8 if big else 4, set[int](), 0
    try:
        while (start := struct.unpack_from(order + start_form, block, link)[0]) and start not in seen:
            seen.add(start)
            refuse_more(len(seen), MAX_PARTS, "pages")
            (count,) = struct.unpack_from(order + count_form, block, start)
            refuse_more(n_tags := n_tags + count, MAX_PIECES, "tags")
            first = start + struct.calcsize(order + count_form)
            claimed = 0
            for place in range(first, min(first + count * length, len(block) - length + 1), length):
                tag, kind, number = struct.unpack_from(order + entry_form, block, place)
                refuse_more(number if tag in (_STRIPS, _TILES) else 0, MAX_PIECES, "strips or tiles")
                size = _TYPE_SIZES.get(kind, 0) * number
                claimed += size if size > inline else 0
            if claimed > len(block) + _SHARED_TAGS:
                raise ValueError(f"its tags claim {claimed} bytes in a block of {len(block)}, so it is damaged")
            if not pages:
                return
            link = first + count * length
    except struct.error:
        return  # PIL reports the damage


def _jpeg_exif(content: bytes) -> bytes:
    """The EXIF block of a JPEG: its APP1 segments joined, as PIL joins them."""
    found, place = [], 2
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA or length < 2:  # the picture starts
            break
        segment = content[place + 4 : place + 2 + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            found.append(segment[6:])
        place += 2 + length
    return b"".join(found)


@contextmanager
def reader_faults(package: str, faults: tuple[type[Exception], ...], reason: str) -> Iterator[None]:
    """Replace errors of a package that reads medical files, whose texts quote header fields, by a reason without them.

    faults: the errors of others that a damaged file causes; every error of the package's own is one.

    Raises:
        Unusable: one of them was raised.
    """
    import numpy as np

    try:
        with np.errstate(all="ignore"):  # damaged values are black
            yield
    except Unusable:
        raise
    except faults as problem:
        raise Unusable(f"{reason} ({type(problem).__name__})") from None
    except Exception as problem:
        if not type(problem).__module__.startswith(f"{package}."):
            raise
        raise Unusable(f"{reason} ({type(problem).__name__})") from None
