"""What a small file unfolds to is bounded before it is decoded, and formats that are not on the list are not opened."""

from __future__ import annotations

import io
import json
import resource
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evalkit.analysis.empty_images import empty_images
from evalkit.analysis.image_fingerprint import fingerprints
from evalkit.core import archives, image_files, images, parquet
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.image_files import FORMATS, LIMIT_VARIABLE, MAX_PIXELS, opened
from evalkit.core.images import Broken, digest, open_image, probe
from evalkit.core.types import ImageRef
from evalkit.judge.image_encoding import data_url
from evalkit.records.load import load
from evalkit.tasks.formats import parquet_rows


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A black PNG, whose data are complete and compress a thousandfold."""
    n = height * (1 + width * {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8)
    # One block of zeros again and again: compressing a gigabyte takes seconds.  The end is the Adler-32 of n zeros.
    packer, size = zlib.compressobj(9, wbits=-15), 1 << 20
    block = packer.compress(bytes(size)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(n % size)) + packer.flush()
    data = b"\x78\xda" + block * (n // size) + rest + struct.pack(">HH", n % 65521, 1)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(form: str, size: tuple[int, int] = (8, 8), **settings: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, form, **settings)
    return out.getvalue()


def tiff(tags: list[tuple[int, int, int, int]], *, tail: bytes = b"") -> bytes:
    """A TIFF of one directory: (tag, type, count, value or offset)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + tail


def repeated_tags(count: int = 2000) -> bytes:
    """A block of tags that all have the same value, nearly as long as the block."""
    whole = 14 + 12 * count
    return tiff([(40000 + k, 1, whole - 8, 8) for k in range(count)])


def jpeg_with_exif(block: bytes) -> bytes:
    parts = [block[k : k + 60000] for k in range(0, len(block), 60000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in parts)
    content = encoded("JPEG")
    return content[:2] + segments + content[2:]


def huge(form: str) -> bytes:
    """A small file of this format that states 60,000 x 60,000 pixels (16,384 x 16,384 in WebP, whose largest it is)."""
    big = struct.pack("<H", 60000)
    content = bytearray(encoded(form))
    if form == "GIF":
        content[6:10] = big * 2
    elif form == "BMP":
        content[18:26] = struct.pack("<ii", 60000, 60000)
    elif form == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", 60000, 60000)
    elif form == "PPM":
        content = bytearray(b"P6 60000 60000 255\n" + bytes(60))
    elif form == "PNG":
        content = bytearray(png(13000, 13000, depth=16, colour=6))
    elif form == "TIFF":
        content = bytearray(tiff([(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (259, 3, 1, 1),
                                  (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 60000),
                                  (279, 4, 1, 100)]))  # fmt: skip
    elif form == "WEBP":
        canvas = struct.pack("<I", 0x10 | 0x02) + (16383).to_bytes(3, "little") * 2
        frames = encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
        at = frames.index(b"VP8X") + 8
        content = bytearray(frames[:at] + canvas + frames[at + 10 :])
    elif form == "JPEG2000":
        content[content.index(b"ihdr") + 4 :][:8] = b""
        at = content.index(b"ihdr") + 4
        content[at : at + 8] = struct.pack(">II", 60000, 60000)
    return bytes(content)


# Made when they are used: compressing the largest ones takes seconds.
HOSTILE: dict[str, Callable[[], bytes]] = {
    **{f"huge {form}": cache(partial(huge, form)) for form in FORMATS},
    "deep colour": cache(lambda: png(9000, 9000, depth=16, colour=6)),
    "tags of a TIFF": repeated_tags,
    "tags of a JPEG": lambda: jpeg_with_exif(repeated_tags(1500)),
    "tags of a PNG": lambda: png(4, 4, extra=chunk(b"eXIf", repeated_tags())),
    "profile of a PNG": lambda: png(4, 4, extra=chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1 << 28), 9))),
    "text of a PNG": lambda: png(4, 4, extra=chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(1 << 28), 9))),
    "tiles of a TIFF": lambda: tiff([(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
                                     (277, 3, 1, 1), (322, 4, 1, 40000), (323, 4, 1, 40000), (324, 4, 1, 8),
                                     (325, 4, 1, 50)]),
}  # fmt: skip
OTHER_FORMATS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n",
    **{form: encoded(form) for form in ("TGA", "ICO", "PCX", "SGI", "DDS", "PDF")},
}
# Reads FILE as every reader of an image does, and prints the largest memory in MiB besides what the imports took.
READ = """
import resource, sys
from pathlib import Path
from evalkit.analysis.image_fingerprint import fingerprints
from evalkit.core.images import open_image, probe
from evalkit.core.errors import DataError
from evalkit.core.types import ImageRef
from PIL import Image
import numpy, PIL.TiffImagePlugin, PIL.WebPImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refs = [ImageRef(kind="file", path="/" * k + sys.argv[1]) for k in range(4)]
probe(refs)
fingerprints({str(k): ref for k, ref in enumerate(refs)})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def on_disk(folder: Path, content: bytes) -> ImageRef:
    path = folder / "picture.png"
    path.write_bytes(content)
    return ImageRef(kind="file", path=str(path))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.few(2)
def test_a_small_file_that_unfolds_to_a_large_picture_takes_little_memory(name: str, tmp_path: Path) -> None:
    ref = on_disk(tmp_path, HOSTILE[name]())
    process = subprocess.run(
        [sys.executable, "-c", READ, ref.path], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(process.stdout) < 150, process.stdout
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(probe([ref])[ref], Broken)
        with pytest.raises(DataError, match=r"picture\.png cannot be decoded: ."):
            open_image(ref)


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.startswith("huge") or n == "deep colour"])
@pytest.mark.filterwarnings("ignore")
def test_a_picture_over_the_limit_is_named_with_the_limit_by_every_reader(name: str, tmp_path: Path) -> None:
    ref = on_disk(tmp_path, HOSTILE[name]())
    assert f"limit is {MAX_PIXELS}" in str(probe([ref])[ref]) or f"{MAX_PIXELS} pixels, the limit" in str(
        probe([ref])[ref]
    )
    assert LIMIT_VARIABLE in fingerprints({"a": ref}).failures["a"]
    assert empty_images([ref]) == {}
    assert len(digest(ref)) == 64
    with pytest.raises(DataError, match=LIMIT_VARIABLE):
        data_url(HOSTILE[name](), "a picture")


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_a_format_that_is_not_on_the_list_is_not_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    ref = on_disk(tmp_path, OTHER_FORMATS[name])
    outcome = probe([ref])[ref]
    assert isinstance(outcome, Broken)
    assert "none of the formats that are opened (BMP, GIF" in outcome.reason
    assert "0x" not in outcome.reason
    with pytest.raises(DataError, match="none of the formats"):
        data_url(OTHER_FORMATS[name], "a picture")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_on_the_list_is_opened(form: str) -> None:
    with opened(encoded(form)) as image:
        image.load()
        assert image.size == (8, 8)


def test_a_setting_raises_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = on_disk(tmp_path, png(300, 200))
    monkeypatch.setenv(LIMIT_VARIABLE, "59999")
    with pytest.raises(DataError, match="300 x 200 = 60000 pixels, the limit is 59999"):
        open_image(ref)
    monkeypatch.setenv(LIMIT_VARIABLE, "60000")
    assert open_image(ref).size == (300, 200)
    monkeypatch.setenv(LIMIT_VARIABLE, "many")
    with pytest.raises(ConfigError, match="many"):
        open_image(ref)


def test_a_raised_limit_is_above_that_of_pil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    monkeypatch.setenv(LIMIT_VARIABLE, "60000")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(on_disk(tmp_path, png(300, 200))).size == (300, 200)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "LARGE", 1000)
    at_once, most, guard = {True: 0, False: 0}, {True: 0, False: 0}, threading.Lock()
    real = images.to_rgb

    def to_rgb(image: Image.Image) -> Image.Image:
        large = image.width > 40
        with guard:
            at_once[large] += 1
            most[large] = max(most[large], at_once[large])
        time.sleep(0.02)
        with guard:
            at_once[large] -= 1
        return real(image)

    monkeypatch.setattr(images, "to_rgb", to_rgb)
    refs = {}
    for k in range(8):
        path = tmp_path / f"{k}.png"
        path.write_bytes(png(50, 50) if k % 2 else png(20, 20))
        refs[path.name] = ImageRef(kind="file", path=str(path))
    fingerprints(refs, workers=8)
    assert most[True] == 1
    assert most[False] > 1


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="an image may have"):
        open_image(ImageRef(kind="file", path=str(path)))


def zipped(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("lies", [False, True], ids=["honest", "understated"])
@pytest.mark.few(2)
def test_members_of_archives_are_bounded(
    tmp_path: Path, compression: int, lies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "UNCHECKED", 1 << 20)
    path = zipped(tmp_path / "a.zip", "header.json", bytes(1 << 26), compression)
    if lies:  # the sizes in the local header and in the directory
        content = path.read_bytes().replace(struct.pack("<I", 1 << 26), struct.pack("<I", 1000))
        path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("header.json")
        with pytest.raises((ValueError, zipfile.BadZipFile), match=r"limit is 250 times|CRC"):
            archives.member_bytes(archive, info, 1 << 30)
        with pytest.raises((ValueError, zipfile.BadZipFile), match=r"limit is 1024|CRC"):
            archives.member_bytes(archive, info, 1024)
    ref = ImageRef(kind="zip", path=str(path), member="header.json")
    assert isinstance(probe([ref])[ref], Broken)


def test_an_honest_member_of_any_compression_is_read(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        content = json.dumps([{"id": str(k), "text": f"answer {k * 7919}"} for k in range(5000)]).encode()
        with zipfile.ZipFile(zipped(tmp_path / "a.zip", "x.json", content, compression)) as archive:
            assert archives.member_bytes(archive, archive.getinfo("x.json"), 1 << 30) == content


@pytest.mark.parametrize("name", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"])
def test_a_workbook_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "UNCHECKED", 1 << 20)
    path = zipped(tmp_path / "a.xlsx", name, bytes(1 << 24))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match=f"{name} unpacks"):
        load(path)


def test_members_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 1000)
    path = zipped(tmp_path / "a.xlsx", "xl/workbook.xml", bytes(2000))
    with pytest.raises(DataError, match="2000 bytes together, the limit is 1000"):
        load(path)


def test_a_parquet_file_that_repeats_a_long_text_is_refused_within_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_ARCHIVE", 1 << 26)
    path = tmp_path / "answers.parquet"
    text = pa.array(["x" * (1 << 19)]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"id": [str(k) for k in range(20_000)], "prediction": column}), path)
    assert path.stat().st_size < 1 << 20  # 10 GiB of text
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="the limit"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_a_parquet_column_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "UNCHECKED", 1 << 20)
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"question": ["q" * (1 << 22)]}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="the limit is 250 times as many"):
        load(path)
    with pytest.raises(DataError, match="the limit is 250 times as many"):
        list(parquet_rows([path]))


@pytest.mark.slow
def test_repeated_pictures_of_a_parquet_file_are_held_once(tmp_path: Path) -> None:
    content = png(64, 64) + bytes(1 << 19)
    path = tmp_path / "test.parquet"
    image = pa.array([{"bytes": content, "path": None}] * 300)
    pq.write_table(pa.table({"image": image, "question": ["q"] * 300, "answer": ["a"] * 300}), path)
    del image
    rows = list(parquet_rows([path]))
    assert len(rows) == 300
    assert len({row.image for row in rows}) == 1
    assert open_image(ImageRef(kind="parquet", path=str(path), member="image:299")).size == (64, 64)
