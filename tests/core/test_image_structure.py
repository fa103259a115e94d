"""Small files that take minutes to open are refused in a second with the limit; files that look alike are opened."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from evalkit.core.errors import DataError
from evalkit.core.image_files import FORMATS, count_frames, opened
from evalkit.core.image_structure import MAX_HEADER, MAX_PARTS, MAX_PASSES, MAX_SCANS, check_jpeg, check_structure
from evalkit.core.images import Broken, open_image, probe
from evalkit.core.types import ImageRef

LONGEST = 5.0  # seconds of the processor, on a loaded machine


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encoded(form: str, size: tuple[int, int] = (8, 8), mode: str = "RGB", **settings: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, form, **settings)
    return out.getvalue()


def with_scans(more: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    whole = encoded("JPEG", size, "L", progressive=True)
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * more + b"\xff\xd9"


def jpeg(inserted: bytes) -> bytes:
    whole = encoded("JPEG")
    return whole[:2] + inserted + whole[2:]


def png(inserted: bytes, *, behind: int = 33) -> bytes:
    whole = encoded("PNG")
    return whole[:behind] + inserted + whole[behind:]


def gif(inserted: bytes = b"", frames: int = 1, size: tuple[int, int] = (8, 8)) -> bytes:
    whole = encoded("GIF", size)
    at = 13 + (3 << (whole[10] & 7) + 1)
    return whole[:at] + inserted + whole[at:-1] * frames + b";"


def jp2(inserted: bytes) -> bytes:
    whole = encoded("JPEG2000")
    return whole[:12] + inserted + whole[12:]


def tiff(pages: int = 1, strips: int = 1) -> bytes:
    """A TIFF with pages of one directory each; the strips share their places."""
    content, size = b"II*\0" + struct.pack("<I", 8), 2 + 8 * 12 + 4
    end = 8 + pages * size
    values = [(256, 3, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    one = [(273, 4, 1, 8), (278, 4, 1, 8), (279, 4, 1, 64)]
    values += one if strips == 1 else [(273, 4, strips, end), (278, 4, 1, 1), (279, 4, strips, end)]
    tags = struct.pack("<H", len(values)) + b"".join(struct.pack("<HHII", *v) for v in values)
    for k in range(pages):
        content += tags + struct.pack("<I", 8 + (k + 1) * size if k + 1 < pages else 0)
    return content + (struct.pack("<I", 8) * strips if strips > 1 else bytes(64))


def rle_bmp(width: int, height: int) -> bytes:
    data = (b"\x01\x05" * width + b"\0\0") * height + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + head + bytes(1024) + data


SLOW: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: with_scans(5000), f"more than {MAX_SCANS} scans"),
    "scans of a large picture": (lambda: with_scans(60, (7000, 7000)), "scans, more than"),
    "segments": (lambda: jpeg(b"\xff\xe5\0\x02" * 1_000_000), "segments"),
    "comments of a JPEG": (lambda: jpeg(b"\xff\xfe\0\x03a" * 300_000), "segments"),
    "EXIF again and again": (lambda: jpeg(b"\xff\xe1\0\x08Exif\0\0" * 300_000), "segments"),
    "profiles of a JPEG": (lambda: jpeg(b"\xff\xe2\0\x10ICC_PROFILE\0\1\1" * 300_000), "segments"),
    "tables of a JPEG": (lambda: jpeg((b"\xff\xdb\0\x43\0" + bytes(range(1, 65))) * 100_000), "segments"),
    "fill bytes": (lambda: jpeg(b"\xff" * 10_000_000), "bytes between"),
    "restarts before the picture": (lambda: jpeg(b"\xff\xd0" * 5_000_000), "bytes between"),
    "chunks": (lambda: png(chunk(b"xxXx") * 1_000_000), "chunks"),
    "texts": (lambda: png(chunk(b"tEXt", b"k\0v") * 300_000), "chunks"),
    "compressed texts": (lambda: png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 100_000), "chunks"),
    "profiles of a PNG": (lambda: png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(900_000))) * 2000), "profiles"),
    "data in pieces": (lambda: png(chunk(b"IDAT") * 1_000_000), "chunks of data"),
    "chunks behind the picture": (lambda: encoded("PNG")[:-12] + chunk(b"tEXt", b"k\0v") * 300_000, "chunks"),
    "a comment of a PGM": (lambda: b"P5\n#" + b"a" * 20_000_000 + b"\n8 8 255\n" + bytes(64), "header"),
    "a comment of a PPM": (lambda: b"P6 8 8 #" + b"a" * 20_000_000 + b"\n255\n" + bytes(192), "header"),
    "a comment of a PBM": (lambda: b"P4\n8 #" + b"a" * 20_000_000 + b"\n8\n" + bytes(8), "header"),
    "comments of a PGM": (lambda: b"P5\n" + b"#\n" * 10_000_000 + b"8 8 255\n" + bytes(64), "header"),
    "spaces of a PGM": (lambda: b"P5\n" + b" " * 20_000_000 + b"8 8 255\n" + bytes(64), "header"),
    "a comment without end": (lambda: b"P6\n#" + b"a" * 20_000_000, "header"),
    "decimal numbers": (lambda: b"P3\n1500 1500\n255\n" + b"1 " * 6_750_000, "decimal numbers"),
    "bits": (lambda: b"P1\n8000 8000\n" + b"1" * 64_000_000, "decimal numbers"),
    "comments between numbers": (lambda: b"P2\n8 8 255\n" + b"#\n" * 2_000_000 + b"1 " * 64, "comments"),
    "runs of one pixel": (lambda: rle_bmp(2000, 2000), "run-length"),
    "comments of a GIF": (lambda: gif(b"\x21\xfe\x01a\0" * 300_000), "extensions"),
    "a long comment of a GIF": (lambda: gif(b"\x21\xfe" + (b"\xff" + b"a" * 255) * 200_000 + b"\0"), "blocks"),
    "blocks of one byte": (lambda: gif(b"\x21\xfe" + b"\1a" * 5_000_000 + b"\0"), "blocks"),
    "boxes": (lambda: jp2(b"\0\0\0\x08free" * 1_000_000), "boxes"),
    "strips": (lambda: tiff(strips=2_000_000), "strips"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.few(12)
def test_a_file_that_takes_minutes_is_refused_in_time_with_its_limit(name: str, tmp_path: Path) -> None:
    make, says = SLOW[name]
    path = tmp_path / "picture.png"
    path.write_bytes(make())
    ref = ImageRef(kind="file", path=str(path))
    started = time.process_time()
    found = probe([ref])[ref]
    assert isinstance(found, Broken) and says in str(found)
    with pytest.raises(DataError, match=says):
        open_image(ref)
    assert time.process_time() - started < LONGEST


MANY: dict[str, tuple[Callable[[], bytes], str]] = {
    "frames of a GIF": (lambda: gif(frames=MAX_PARTS + 1), "frames"),
    "pages of a TIFF": (lambda: tiff(pages=MAX_PARTS + 1), "pages"),
    "blocks of a GIF": (lambda: gif() [:-1] + b"\x21\xfe" + b"\1a" * 5_000_000, "blocks"),
}  # fmt: skip


@pytest.mark.few(1)
@pytest.mark.parametrize("name", MANY)
def test_frames_and_pages_are_counted_within_a_limit(name: str) -> None:
    make, says = MANY[name]
    content = make()
    started = time.process_time()
    with pytest.raises(ValueError, match=says):
        count_frames(content)
    with pytest.raises(ValueError, match=says), opened(content, 1):
        pass
    assert time.process_time() - started < LONGEST


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_frames_that_are_drawn_over_each_other_are_bounded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size, frames = (50, 50), MAX_PASSES + 3
    more = [Image.new("RGB", size, (k * 9, 0, 99)) for k in range(frames - 1)]
    content = encoded(form, size, save_all=True, append_images=more)
    monkeypatch.setenv("EVALKIT_MAX_IMAGE_PIXELS", "2500")
    with opened(content, MAX_PASSES) as image:
        image.load()
    with pytest.raises(ValueError, match="are decoded before"), opened(content, frames - 1):
        pass


ORDINARY: dict[str, Callable[[], bytes]] = {
    **{form: lambda form=form: encoded(form, (640, 480)) for form in FORMATS},  # type: ignore[misc]
    "progressive": lambda: encoded("JPEG", (640, 480), progressive=True),
    "restarts": lambda: encoded("JPEG", (2000, 2000), restart_marker_blocks=1),
    "ninety scans": lambda: with_scans(MAX_SCANS - 10),
    "comments": lambda: jpeg(b"\xff\xfe\0\x03a" * 500),
    "a marker in a comment": lambda: jpeg(b"\xff\xfe\xff\xff" + b"\xff\xda" * 32_766 + b"a"),
    "fill": lambda: jpeg(b"\xff" * 200),
    "a film behind the picture": lambda: encoded("JPEG") + b"\xff\xda\xff\xe5" * 100_000,
    "texts": lambda: png(chunk(b"tEXt", b"k\0v") * 500),
    "zeros behind a PNG": lambda: encoded("PNG") + bytes(1 << 19),
    "a PGM of spaces": lambda: b"P5\n400 400\n255\n" + b" " * 160_000,
    "a PGM of signs": lambda: b"P5\n# by a program\n400 400 255 " + b"#" * 160_000,
    "a PPM of line breaks": lambda: b"P6\n# one\n# two\n300 300\n255\n" + b"\n" * 270_000,
    "a PBM": lambda: b"P4 800 800\n" + b"\n" * 80_000,
    "decimal": lambda: b"P2\n#x\n100 100\n255\n" + b"12 " * 10_000,
    "run-length encoded": lambda: rle_bmp(100, 100),
    "an animation": lambda: gif(frames=50, size=(100, 100)),
    "a comment": lambda: gif(b"\x21\xfe" + (b"\xff" + b"a" * 255) * 50 + b"\0"),
    "strips of one row": lambda: tiff(strips=8),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_file_is_opened(name: str) -> None:
    with opened(ORDINARY[name]()) as image:
        image.load()
        assert image.width * image.height > 0


def test_a_header_of_almost_the_limit_is_read() -> None:
    content = b"P5\n#" + b"a" * (MAX_HEADER - 100) + b"\n8 8 255\n" + bytes(64)
    with opened(content + bytes(MAX_HEADER)) as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_cut_anywhere_is_left_to_its_reader(form: str) -> None:
    content = encoded(form, (40, 40))
    for end in range(0, len(content), max(1, len(content) // 150)):
        check_structure(content[:end], 1 << 26)
    for at in range(0, len(content) - 1, max(1, len(content) // 100)):
        check_structure(content[:at] + b"\xff" + content[at + 1 :], 1 << 26)


def test_each_picture_of_a_file_of_several_is_checked() -> None:
    first, second = encoded("JPEG", (16, 16)), with_scans(5000)
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])
    whole = out.getvalue()
    with opened(whole, 1) as image:
        image.load()
    at = whole.index(b"\xff\xd9") + 2
    assert at < len(whole) and first
    with pytest.raises(ValueError, match="scans"), opened(whole[:at] + second, 1):
        pass
    with pytest.raises(ValueError, match="scans"):
        check_jpeg(second, 1 << 26)
