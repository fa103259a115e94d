"""Colour and grey with alpha of 16 bits a channel, of which Pillow alone reads the upper 8 bits.

Pillow unpacks one byte of each sample, which one depending on the raw mode of the file's parts: decoding the file twice
gives both.  A 12-bit image in a 16-bit file, read to its upper 8 bits, would be black.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.image_files import opened

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoders that give a file's samples in the raw mode that is asked for.
_RAW = frozenset({"zip", "raw", "libtiff"})
# Raw modes that unpack the upper and the lower byte, by the byte order of the file (N: the machine's).
_UPPER_LOWER = {"B": "BL", "L": "LB", "N": "LB" if sys.byteorder == "little" else "BL"}


class DeepSamples(NamedTuple):
    """Samples of 16 bits, of shape (height, width, channels): grey and alpha, colour, or colour and alpha.

    premultiplied: whether colour is multiplied by alpha.  orientation: EXIF, as far as the samples do not follow it.
    """

    values: Any
    premultiplied: bool
    orientation: int


class _Tile(NamedTuple):
    """Decoder and raw mode of a part of a file; limit: the largest value in PPM, else 0."""

    codec: str
    raw: str
    limit: int


def is_deep(image: Image) -> bool:
    """Whether a file, opened but not loaded, has colour or grey with alpha of more than 8 bits a channel.

    Inks (CMYK) are excluded: they are amounts with a fixed full value, and their upper 8 bits are right.
    """
    if _in_planes(image):
        return True
    if image.mode.startswith(("I", "F", "CMYK")):
        return False
    if image.format == "JPEG2000":
        return _jpeg_2000_bits(image) > 8
    return any(";16" in tile.raw or tile.codec == "SGI16" or tile.limit > 255 for tile in _tiles(image))


def read_deep(content: bytes, image: Image, frame: int = 0) -> DeepSamples:
    """Read the samples of an image for which `is_deep` holds; `frame`: the one at which it was opened.

    Raises:
        ValueError: a form whose lower bytes Pillow does not give.
    """
    tiles = list(_tiles(image))
    raw = tiles[0].raw if tiles else ""
    unknown = any(tile.codec not in _RAW or tile.raw != raw or not re.search(r";16[BLN]$", raw) for tile in tiles)
    if unknown or not raw or _in_planes(image):
        raise ValueError(
            f"it is a {image.format} with more than 8 bits a channel of colour, of which Pillow reads only the upper "
            "8; convert it to a PNG with 16 bits a channel"
        )
    if raw.startswith("LA"):  # no raw mode for its lower bytes, but four bytes a pixel, as RGBA has
        four, orientation = _unpacked(content, frame, "RGBA", "RGBA")
        return DeepSamples(_joined(four[..., 0::2], four[..., 1::2]), False, orientation)
    stem = raw[:-1].replace("RGBa", "RGBA")
    (upper, orientation), (lower, _) = (
        _unpacked(content, frame, image.mode, stem + byte) for byte in _UPPER_LOWER[raw[-1]]
    )
    return DeepSamples(_joined(upper, lower), raw.startswith("RGBa"), orientation)


def _joined(upper: Any, lower: Any) -> Any:
    """Samples of 16 bits from their two bytes."""
    import numpy as np

    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def _tiles(image: Any) -> Iterator[_Tile]:
    for codec, _, _, given in getattr(image, "tile", ()):
        arguments = given if isinstance(given, tuple) else (given,)
        numbers = [a for a in arguments if isinstance(a, int)] if codec.startswith("ppm") else []
        yield _Tile(codec, next((a for a in arguments if isinstance(a, str)), ""), max(numbers, default=0))


def _in_planes(image: Any) -> bool:
    """Whether an image is a TIFF that stores each channel of 16 bits by itself, which Pillow mixes up."""
    if image.format != "TIFF":
        return False
    bits = image.tag_v2.get(258, (1,))
    return image.tag_v2.get(284) == 2 and len(bits) > 1 and max(bits) > 8


def _jpeg_2000_bits(image: Any) -> int:
    """Bits a channel in the SIZ segment of a JPEG 2000 file; 8 where there is none."""
    position = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    image.fp.seek(position)
    at = head.find(b"\xff\x4f\xff\x51") + 42  # SOC, SIZ, its length, profile, eight sizes, number of channels
    return (head[at] & 0x7F) + 1 if 42 <= at < len(head) else 8


def _unpacked(content: bytes, frame: int, mode: str, raw: str) -> tuple[Any, int]:
    """The file's pixels unpacked by another raw mode, and the EXIF orientation left to apply."""
    import numpy as np

    image: Any
    with opened(content, frame) as image:
        image._mode = mode
        image.tile = [
            type(tile)(*tile[:3], (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw)
            if hasattr(tile, "_fields")
            else (*tile[:3], (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw)
            for tile in image.tile
        ]
        image.load()
        return np.asarray(image), int(image.getexif().get(0x0112, 1) or 1)
