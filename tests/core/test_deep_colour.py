"""Colour and grey with alpha of 16 bits a channel is scaled as 16-bit grey is, or refused; never cut to its upper bits.

Pillow writes no such files, so that they are written here byte by byte.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalkit.core.errors import DataError
from evalkit.core.images import CONVERSION, Broken, digest, open_image, probe
from evalkit.core.types import ImageRef
from tests.support.paths import SHARED

RNG = np.random.default_rng(0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, *, line_filter: int = 0, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """A PNG with 16 bits a channel: (height, width, channels) -> bytes."""
    height, width, channels = values.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column, first row, step of columns, step of rows
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b"".join(_lines(values[y::dy, x::dx], line_filter) for x, y, dx, dy in passes)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, int(interlaced))
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _lines(values: np.ndarray, line_filter: int) -> bytes:
    if not values.size:
        return b""
    lines = values.astype(">u2").reshape(len(values), -1).view(np.uint8).astype(int)
    step = values.shape[2] * 2
    left = np.pad(lines, ((0, 0), (step, 0)))[:, : lines.shape[1]]
    up = np.pad(lines, ((1, 0), (0, 0)))[: len(lines)]
    corner = np.pad(lines, ((1, 0), (step, 0)))[: len(lines), : lines.shape[1]]
    guess = left + up - corner
    near = [abs(guess - p) for p in (left, up, corner)]
    paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], up, corner))
    filtered = (lines - (0, left, up, (left + up) // 2, paeth)[line_filter]) % 256
    return b"".join(bytes([line_filter]) + bytes(line.tolist()) for line in filtered)


def tiff(values: np.ndarray, *, order: str = "<", deflate: bool = False, planes: bool = False, alpha: int = 2) -> bytes:
    """A TIFF with 16 bits a channel."""
    height, width, channels = values.shape
    parts = [values[..., c] for c in range(channels)] if planes else [values]
    data = [
        zlib.compress(p.astype(f"{order}u2").tobytes()) if deflate else p.astype(f"{order}u2").tobytes() for p in parts
    ]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [16] * channels), 259: ("H", [8 if deflate else 1]),
        262: ("H", [2]), 273: ("I", [0] * len(data)), 277: ("H", [channels]), 278: ("H", [height]),
        279: ("I", [len(d) for d in data]), 284: ("H", [2 if planes else 1]),
    }  # fmt: skip
    if channels == 4:
        tags[338] = ("H", [alpha])
    start = 8 + 2 + 12 * len(tags) + 4 + sum(_long(kind, v) for kind, v in tags.values())
    tags[273] = ("I", [start + sum(map(len, data[:i])) for i in range(len(data))])
    directory, tail, place = struct.pack(order + "H", len(tags)), b"", 8 + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind, numbers = tags[tag]
        packed = struct.pack(order + kind * len(numbers), *numbers)
        here = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", place + len(tail))
        tail += packed if len(packed) > 4 else b""
        directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(numbers)) + here
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, 8) + directory + bytes(4) + tail + b"".join(data)


def _long(kind: str, numbers: list[int]) -> int:
    size = struct.calcsize(kind) * len(numbers)
    return size if size > 4 else 0


def by_the_rule(values: np.ndarray) -> np.ndarray:
    """The rule in numpy: colour by its own range, alpha over black."""
    colours = 1 if values.shape[2] == 2 else 3
    colour = values[..., :colours].astype(float)
    low, high = (0, 255) if colour.max() <= 255 else (colour.min(), colour.max())
    spread = (colour - low) * 255 / (high - low)
    if values.shape[2] > colours:
        spread *= values[..., colours:] / 65535
    return np.repeat(np.rint(spread).astype(np.uint8), 3 // colours, axis=2)


def some(channels: int, depth: int) -> np.ndarray:
    values = RNG.integers(0, 2**depth, (9, 11, channels))
    if channels != 3:
        values[..., -1] = RNG.integers(0, 65536, (9, 11))
    return values


def ref_to(folder: Path, content: bytes) -> ImageRef:
    # A file of its own for each content: two of one size, written within a tick of the clock, look like one file.
    path = folder / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return ImageRef(kind="file", path=str(path))


def pixels(folder: Path, content: bytes) -> np.ndarray:
    ref = ref_to(folder, content)
    assert probe([ref])[ref] == digest(ref)
    return np.asarray(open_image(ref))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("line_filter", range(5))
@pytest.mark.parametrize("depth", [8, 12, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_of_16_bits_a_channel_is_spread_by_its_own_range(tmp_path, channels, depth, line_filter, interlaced):
    values = some(channels, depth)
    content = png(values, line_filter=line_filter, interlaced=interlaced)
    assert (pixels(tmp_path, content) == by_the_rule(values)).all()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
def test_tiff_of_16_bits_a_channel_is_spread_by_its_own_range(tmp_path, order, deflate):
    for depth in (8, 12, 16):
        for channels, alpha in ((3, 2), (4, 2), (4, 0), (4, 1)):
            values = some(channels, depth)
            expected = by_the_rule(values if alpha == 2 else values[..., :3])  # 0: no alpha; 1: over black already
            content = tiff(values, order=order, deflate=deflate, alpha=alpha)
            assert (pixels(tmp_path, content) == expected).all(), (depth, channels, alpha)


def test_colour_of_equal_channels_is_scaled_as_grey_of_16_bits_is(tmp_path):
    values = RNG.integers(300, 4096, (9, 11, 1))
    colour = pixels(tmp_path, png(np.repeat(values, 3, axis=2)))
    assert (colour == pixels(tmp_path, png(values))).all() and colour.max() == 255 and colour.min() == 0


def test_orientation_and_the_transparent_value_hold_for_16_bits(tmp_path):
    values = some(3, 12)
    values[0, 0] = (7, 300, 9)
    expected = by_the_rule(values)
    expected[0, 0] = 0
    clear = chunk(b"tRNS", struct.pack(">HHH", 7, 300, 9))
    assert (pixels(tmp_path, png(values, extra=clear)) == expected).all()
    grey = png(np.array([[[1000], [2000], [3000]]]), extra=chunk(b"tRNS", struct.pack(">H", 3000)))
    assert pixels(tmp_path, grey)[0, :, 0].tolist() == [0, 128, 0]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        buffer = io.BytesIO()
        Image.fromarray(by_the_rule(values)).save(buffer, "PNG", exif=exif)
        extra = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        assert (pixels(tmp_path, png(values, extra=extra)) == pixels(tmp_path, buffer.getvalue())).all(), turn


UNREADABLE: dict[str, Any] = {
    "planes": lambda: tiff(some(3, 12), planes=True),
    "planes, compressed": lambda: tiff(some(3, 12), planes=True, deflate=True),
    "planes with alpha": lambda: tiff(some(4, 12), planes=True),
    "ppm": lambda: b"P6 11 9 65535\n" + some(3, 12).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_form_whose_lower_bits_are_not_read_is_refused_with_a_remedy(tmp_path, name):
    ref = ref_to(tmp_path, UNREADABLE[name]())
    with pytest.raises(DataError, match="16 bits a channel"):
        open_image(ref)
    assert isinstance(probe([ref])[ref], Broken)


def test_only_images_that_were_read_wrong_have_another_digest_and_the_rule_keeps_its_text(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(by_the_rule(some(3, 16))).save(buffer, "PNG")
    grey = png(RNG.integers(0, 4096, (9, 11, 1)))
    for content, same in (
        (buffer.getvalue(), True),
        (grey, True),
        (png(some(3, 12)), False),
        (png(some(2, 12)), False),
    ):
        ref = ref_to(tmp_path, content)
        assert (digest(ref) == hashlib.sha256(content).hexdigest()) == same
    # Recorded in every run and compared by the gate: a change would make earlier runs incomparable.
    assert CONVERSION.startswith("rgb.1: EXIF rotation applied; 16-bit scaled by its own range to 0..255; alpha over")


@pytest.mark.skipif(not (SHARED / "cases" / "images").is_dir(), reason="needs the shared cases")
def test_the_12_bit_image_is_not_black():
    image = open_image(ImageRef(kind="file", path=str(SHARED / "cases" / "images" / "rgb-12-bit.png")))
    assert image.getextrema() == ((0, 255),) * 3
