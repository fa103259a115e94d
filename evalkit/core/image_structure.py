"""Limits of how an image file is built: parts, headers and passes over the picture, counted before it is opened.

PIL reads many parts of a file one by one, and some coders go over the whole picture again for a few bytes: a file that
is small, with few pixels, can take minutes.  An honest file is far below these limits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

# Parts of a file beside its data: segments of a JPEG, chunks of a PNG, boxes of a JPEG 2000, blocks, frames, pages.
MAX_PARTS = 10_000
# Pieces of the data: chunks, strips and tiles; tags of all pages.
MAX_PIECES = 100_000
# Passes over a progressive JPEG, which has about ten; and how often a file may go over as many pixels as are allowed.
MAX_SCANS, MAX_PASSES = 100, 16
# Bytes of a PPM's header, and between the segments of a JPEG.
MAX_HEADER = 1 << 16
# Bytes of a picture that is read value by value in Python: a PPM of decimal numbers, a run-length encoded BMP.
MAX_SLOW_BYTES = 1 << 22
# Comments of such a PPM.
MAX_COMMENTS = 100
# Colour profiles of a PNG, which has one.
_MAX_PROFILES = 10
# Blocks of at most 255 bytes, in which a GIF of the largest size is stored.
_MAX_BLOCKS = 1 << 22
# Markers of a JPEG but those within the data of a scan.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, 0xD8})
_COMMENT = re.compile(rb"#[^\r\n]*+(?:[\r\n]|$)")


def check_structure(content: bytes, most_pixels: int) -> None:
    """Check how an image file is built; other formats and damaged files are left to PIL.

    Args:
        most_pixels: the limit of a picture, for the passes over it.

    Raises:
        ValueError: a limit is exceeded; the message is a clause about the file.
    """
    checks: dict[bytes, Callable[[bytes], None]] = {
        b"\xff\xd8": lambda data: check_jpeg(data, most_pixels),
        b"\x89PNG\r\n\x1a\n": _check_png,
        b"\0\0\0\x0cjP  ": _check_jp2,
        b"GIF8": check_gif,
        b"BM": _check_bmp,
        b"P": _check_ppm,
    }
    for start, check in checks.items():
        if content.startswith(start):
            check(content)


def refuse_more(number: int, most: int, what: str) -> None:
    """Refuse a file with more parts than a limit.

    Raises:
        ValueError: there are more.
    """
    if number > most:
        raise ValueError(f"it has more than {most} {what}, so it is damaged or made to take time; convert it to PNG")


def check_jpeg(content: bytes, most_pixels: int) -> None:
    """Check the segments and scans of a JPEG, to the end of its first picture.  Raises ValueError."""
    n_segments = n_scans = pixels = fill = 0
    place = 2
    while (match := _MARKER.search(content, place)) is not None and (code := content[match.end() - 1]) != _END:
        fill += 0 if n_scans else match.start() - place
        place = match.end()
        if code == _SCAN:
            n_scans += 1
        else:
            n_segments += 1
        if code in _FRAMES and place + 7 <= len(content):
            height, width = struct.unpack_from(">HH", content, place + 3)
            pixels = max(pixels, height * width)
        if code not in _WITHOUT_LENGTH:
            place += max(2, int.from_bytes(content[place : place + 2], "big"))
        refuse_more(n_segments, MAX_PARTS, "segments")
        refuse_more(fill, MAX_HEADER, "bytes between its segments")
        refuse_more(n_scans, MAX_SCANS, "scans, which are passes over the picture")
    if n_scans > MAX_PASSES and n_scans * pixels > MAX_PASSES * most_pixels:
        raise ValueError(
            f"it goes over {pixels} pixels in {n_scans} scans, more than {MAX_PASSES} times the limit of {most_pixels} "
            "pixels; convert it to PNG"
        )


def _check_png(content: bytes) -> None:
    n_chunks = n_data = n_profiles = 0
    place = 8
    while place + 8 <= len(content):
        kind = content[place + 4 : place + 8]
        if kind == b"IEND":
            return
        place += int.from_bytes(content[place : place + 4], "big") + 12
        is_data = kind in (b"IDAT", b"fdAT")
        n_data, n_chunks = n_data + is_data, n_chunks + (not is_data)
        n_profiles += kind == b"iCCP"
        refuse_more(n_data, MAX_PIECES, "chunks of data")
        refuse_more(n_chunks, MAX_PARTS, "chunks beside its data")
        refuse_more(n_profiles, _MAX_PROFILES, "colour profiles")


def _check_jp2(content: bytes) -> None:
    """Boxes of a JPEG 2000 up to its codestream, and those in its header."""
    n_boxes, place = 0, 0
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind == b"jp2c":
            return
        if length == 1:
            length = int.from_bytes(content[place + 8 : place + 16], "big")
        # The header and its resolution are boxes of boxes.
        place += 8 if kind in (b"jp2h", b"res ") else max(8, length or len(content))
        n_boxes += 1
        refuse_more(n_boxes, MAX_PARTS, "boxes")


def check_gif(content: bytes, *, frames: bool = False) -> None:
    """Check the blocks of a GIF up to its first frame, or all of them and the number of frames.  Raises ValueError."""
    n_extensions = n_frames = n_blocks = 0
    place = 13 + _colours(content, 10)
    while (kind := content[place : place + 1]) in (b"!", b","):
        if kind == b",":
            n_frames += 1
            if not frames:
                return
            place += 11 + _colours(content, place + 9)
        else:
            n_extensions += 1
            place += 2
        while size := content[place] if place < len(content) else 0:
            place += 1 + size
            n_blocks += 1
            refuse_more(n_blocks, _MAX_BLOCKS if frames else MAX_PIECES, "blocks")
        place += 1
        refuse_more(n_frames, MAX_PARTS, "frames")
        refuse_more(n_extensions - n_frames, MAX_PARTS, "extensions")


def _colours(content: bytes, place: int) -> int:
    """Bytes of the colour table whose flags are at a place of a GIF."""
    flags = content[place] if place < len(content) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _check_bmp(content: bytes) -> None:
    """A run-length encoded BMP; `biCompression` is 1 or 2."""
    if content[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        refuse_more(len(content), MAX_SLOW_BYTES, "bytes of run-length encoded pixels")


def _check_ppm(content: bytes) -> None:
    kind = content[1:2]
    if kind not in b"0123456fy" or not kind:
        return
    needed = 4 - (kind in b"14")  # the kind, width, height and, but for bitmaps, the largest value
    head = content[: MAX_HEADER + 1]
    if len(head) > MAX_HEADER and len(_COMMENT.sub(b" ", head).split(None, needed)) < needed:
        raise ValueError(f"its header has more than {MAX_HEADER} bytes, so it is damaged; convert it to PNG")
    if kind in b"123":
        refuse_more(len(content), MAX_SLOW_BYTES, "bytes of pixels in decimal numbers")
        refuse_more(content.count(b"#"), MAX_COMMENTS, "comments")
