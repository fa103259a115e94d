"""Images: one conversion whatever the mode, and nothing that a file can hold ends in a crash."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalkit.core import images as module
from evalkit.core.errors import DataError
from evalkit.core.images import Broken, digest, open_image, probe, read_bytes, size
from evalkit.core.types import ImageRef


def encode(image: Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def file_ref(folder: Path, content: bytes, name: str = "an image.jpg") -> ImageRef:
    (folder / name).write_bytes(content)
    return ImageRef(kind="file", path=str(folder / name))


def opened(folder: Path, content: bytes) -> np.ndarray:
    ref = file_ref(folder, content)
    assert isinstance(probe([ref])[ref], str)
    image = open_image(ref)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(values: list[list[int]], kind: Any) -> Image.Image:
    return Image.fromarray(np.array(values, dtype=kind))


CASES = [
    ("grey", grey([[0, 100, 255]], np.uint8), [0, 100, 255]),
    ("1-bit", grey([[0, 255, 255]], np.uint8).convert("1"), [0, 255, 255]),
    ("16-bit", grey([[1000, 2000, 3000]], np.uint16), [0, 128, 255]),
    ("16-bit with 8-bit values", grey([[0, 100, 255]], np.uint16), [0, 100, 255]),
    ("16-bit of one value", grey([[1000, 1000, 1000]], np.uint16), [0, 0, 0]),
    ("32-bit", grey([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
    ("float", grey([[0, 1, 2]], np.float32), [0, 128, 255]),
]


@pytest.mark.parametrize(("name", "image", "expected"), CASES, ids=[c[0] for c in CASES])
def test_grey_of_any_depth_becomes_8_bit_and_is_never_clipped_to_white(tmp_path, name, image, expected):
    pixels = opened(tmp_path, encode(image, "TIFF"))
    assert pixels.shape == (1, 3, 3)
    assert pixels[0, :, 0].tolist() == expected
    assert (pixels == pixels[:, :, :1]).all()


def test_16_bit_png_is_scaled_like_16_bit_tiff(tmp_path):
    image = grey([[1000, 2000, 3000]], np.uint16)
    assert image.mode == "I;16"
    assert opened(tmp_path, encode(image, "PNG"))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_is_laid_over_black_in_every_mode_that_has_it(tmp_path):
    rgba = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    rgba.putpixel((1, 0), (200, 100, 50, 0))
    assert opened(tmp_path, encode(rgba)).tolist() == [[[200, 100, 50], [0, 0, 0]]]

    la = Image.new("LA", (2, 1), (200, 255))
    la.putpixel((1, 0), (200, 0))
    assert opened(tmp_path, encode(la)).tolist() == [[[200] * 3, [0] * 3]]

    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([200, 100, 50, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    assert opened(tmp_path, encode(palette)).tolist() == [[[200, 100, 50], [9, 9, 9]]]
    assert opened(tmp_path, encode(palette, transparency=1)).tolist() == [[[200, 100, 50], [0, 0, 0]]]
    assert opened(tmp_path, encode(palette, "GIF", transparency=1)).tolist() == [[[200, 100, 50], [0, 0, 0]]]

    rgb = Image.new("RGB", (1, 1), (7, 8, 9))
    assert opened(tmp_path, encode(rgb, transparency=(7, 8, 9))).tolist() == [[[0, 0, 0]]]
    assert opened(tmp_path, encode(rgb, transparency=(1, 1, 1))).tolist() == [[[7, 8, 9]]]


def test_cmyk_becomes_the_colour_that_it_prints(tmp_path):
    pixels = opened(tmp_path, encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert abs(pixels[4, 4].astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, turn):
    upright = Image.fromarray(np.repeat(np.array([[250, 10, 10], [10, 10, 10]], np.uint8), 16, 0).repeat(16, 1))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose that makes the stored form of each orientation
    stored = upright if turn == 1 else upright.transpose(Image.Transpose(undo[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    for form, settings in (("JPEG", {"quality": 95}), ("PNG", {})):
        ref = file_ref(tmp_path, encode(stored, form, exif=exif, **settings))
        assert open_image(ref).size == size(ref) == (48, 32)
        assert np.abs(np.asarray(open_image(ref))[:, :, 0].astype(int) - np.asarray(upright)).max() < 40


def big_png(width: int, height: int) -> bytes:
    """A PNG that says it is huge and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
DAMAGED = {
    "no bytes": b"",
    "text": b"<html>404 not found</html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "half a JPEG": encode(NOISE, "JPEG")[:900],
    "the head of a JPEG": encode(NOISE, "JPEG")[:20],
    "half a PNG": encode(NOISE)[:2000],
    "the head of a PNG": encode(NOISE)[:30],
    "half a TIFF": encode(NOISE, "TIFF")[:2000],
    "half a BMP": encode(NOISE, "BMP")[:2000],
    "half a GIF": encode(NOISE.convert("P"), "GIF")[:1000],
    "a PNG with a byte changed": encode(NOISE)[:60] + b"\xff\xff\xff" + encode(NOISE)[63:],
    "a bomb": big_png(40_000, 40_000),
    "a large bomb": big_png(2_000_000_000, 2_000_000_000),
    "a bomb that PIL only warns of": big_png(10_000, 10_000),
    "grey values that are no numbers": encode(Image.fromarray(np.array([[np.nan, 1.0]], np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_named_when_checked_and_when_opened(tmp_path, name):
    ref = file_ref(tmp_path, DAMAGED[name])
    found = probe([ref])[ref]
    assert isinstance(found, Broken) and "an image.jpg" in found.reason and found.reason.endswith(".")
    with pytest.raises(DataError, match=r"an image\.jpg cannot be decoded: ."):
        open_image(ref)


def test_any_change_to_a_file_is_an_image_or_a_named_error_and_checking_finds_what_opening_would(tmp_path):
    rng = np.random.default_rng(1)
    seeds = [encode(NOISE, form) for form in ("JPEG", "PNG", "BMP", "GIF", "PPM")]
    for turn in range(200):
        content = bytearray(seeds[turn % len(seeds)])
        for _ in range(rng.integers(0, 6)):
            content[rng.integers(min(len(content), [80, len(content)][turn % 2]))] = rng.integers(256)
        ref = file_ref(tmp_path, bytes(content[: rng.integers(1, len(content) + 1)] if turn % 3 == 0 else content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = probe([ref], workers=1)[ref]
            try:
                usable = open_image(ref).mode == "RGB"
            except DataError:
                usable = False
        assert usable == isinstance(checked, str), (turn, checked)


def test_a_missing_file_member_row_or_column_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in.png", encode(NOISE))
    pq.write_table(pa.table({"image": [encode(NOISE)], "n": [1]}), tmp_path / "a.parquet")
    (tmp_path / "not.zip").write_text("no")
    (tmp_path / "not.parquet").write_text("no")
    for kind, name, member in [
        ("file", "gone.jpg", ""), ("file", ".", ""), ("zip", "a.zip", "gone.png"), ("zip", "gone.zip", "in.png"),
        ("zip", "not.zip", "in.png"), ("parquet", "a.parquet", "image:1"), ("parquet", "a.parquet", "picture:0"),
        ("parquet", "a.parquet", "n:0"), ("parquet", "not.parquet", "image:0"), ("parquet", "gone.parquet", "image:0"),
        ("parquet", "a.parquet", "image:x"),
    ]:  # fmt: skip
        ref = ImageRef(kind=kind, path=str(tmp_path / name), member=member)
        for attempt in (open_image, digest):
            with pytest.raises(DataError, match="cannot be read"):
                attempt(ref)
        assert isinstance(probe([ref])[ref], Broken)


def test_an_encrypted_archive_member_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in.png", encode(NOISE))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        open_image(ImageRef(kind="zip", path=str(tmp_path / "a.zip"), member="in.png"))


def test_probing_in_threads_gives_what_reading_one_by_one_gives(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    contents = [encode(Image.new("RGB", (30, 20), (k, 255 - k, 5))) for k in range(100)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k, content in enumerate(contents):
            archive.writestr(f"imgs/{k}.png", content)
    cells = pa.array([{"bytes": c, "path": None} for c in contents])
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet", row_group_size=7)
    refs = [ImageRef(kind="zip", path=str(tmp_path / "a.zip"), member=f"imgs/{k}.png") for k in range(100)]
    refs += [ImageRef(kind="parquet", path=str(tmp_path / "a.parquet"), member=f"image:{k}") for k in range(100)]
    refs = [refs[k] for k in np.random.default_rng(2).permutation(200)]
    threaded = probe([*refs, *refs], workers=8)
    assert list(threaded) == refs
    expected = {r: hashlib.sha256(contents[int("".join(filter(str.isdecimal, r.member)))]).hexdigest() for r in refs}
    assert threaded == expected == {r: digest(r) for r in refs}


def test_a_parquet_cell_may_be_plain_bytes(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [encode(NOISE), None]}), tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert open_image(ImageRef(kind="parquet", path=path, member="image:0")).size == (40, 40)
    with pytest.raises(DataError, match="no image bytes"):
        open_image(ImageRef(kind="parquet", path=path, member="image:1"))


def test_a_blank_keeps_the_size_and_nothing_else(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    ref = file_ref(tmp_path, encode(NOISE.crop((0, 0, 30, 20)), "JPEG", exif=exif))
    blank = ImageRef(kind="blank", of=ref)
    image = open_image(blank)
    assert (image.size, image.mode, image.getcolors()) == ((20, 30), "RGB", [(600, (127, 127, 127))])
    assert digest(blank) != digest(ref)
    assert isinstance(probe([blank])[blank], str)
    broken = ImageRef(kind="blank", of=file_ref(tmp_path, b"", "gone.png"))
    with pytest.raises(DataError, match=r"gone\.png"):
        open_image(broken)


@pytest.mark.parametrize(
    "path",
    [
        "os:getcwd", "evalkit_other.mod:f", "evalkit:x", "builtins:eval", ":f", "", "evalkit.core.files:remove_tree",
        "evalkit.cli.main:main", "evalkit.core.images:importlib", "evalkit.importers:import_module",
        "evalkit.core.json_text:loads", "evalkit.tasks.phantom:make_scene", "evalkit.tasks.phantom:Phantom",
        "evalkit.tasks.phantom", "evalkit.tasks.phantom:", "evalkit.tasks.phantom:draw:draw",
        "evalkit.tasks.phantom:draw\n", " evalkit.tasks.phantom:draw", "evalkit.tasks.phantom:draw.__globals__",
        "evalkit.tasks.PHANTOM:draw", "evalkit.tools.train_phantom:main", "\x1b[31m",
    ],
)  # fmt: skip
def test_only_a_drawing_that_evalkit_names_is_called(monkeypatch, path):
    called: list[str] = []
    monkeypatch.setattr(module.importlib, "import_module", called.append)
    ref = ImageRef(kind="draw", path=path, member="1")
    for attempt in (open_image, read_bytes, digest):
        with pytest.raises(DataError, match="code outside evalkit") as caught:
            attempt(ref)
        assert str(caught.value).isprintable()
    assert isinstance(probe([ref])[ref], Broken)
    assert called == []


def test_every_drawing_is_a_function_that_draws():
    for path in module.DRAWINGS:
        ref = ImageRef(kind="draw", path=path, member="0/test/3")
        assert open_image(ref).size == (64, 71)
        with pytest.raises(DataError, match="expected SEED/SPLIT/INDEX"):
            open_image(replace(ref, member="../../x"))


def test_a_drawing_is_its_pixels(tmp_path):
    from evalkit.tasks.phantom import Phantom

    sample = Phantom(name="phantom", n_train=1, n_test=2).load().samples[0]
    (ref,) = sample.images
    assert ref.kind == "draw"
    assert open_image(ref).mode == "RGB"
    assert probe([ref])[ref] == digest(ref) == hashlib.sha256(read_bytes(ref)).hexdigest()
