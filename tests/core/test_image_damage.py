"""Every kind of reference and every pixel layout becomes upright 8-bit RGB, and whatever is broken is named."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from evalkit.core.errors import DataError
from evalkit.core.image_changes import GREY
from evalkit.core.images import Broken, digest, open_image, probe, read_bytes, to_rgb
from evalkit.core.medical_images import expand_volume
from evalkit.core.types import ImageRef

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 255, (40, 56, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **settings)
    return target.getvalue()


def on_disk(folder: Path, name: str, content: bytes) -> ImageRef:
    path = folder / name
    path.write_bytes(content)
    return ImageRef(kind="file", path=str(path))


def first_pixel(image: Image.Image) -> tuple[int, ...]:
    value = image.getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


def flat(mode: str, value: Any) -> Image.Image:
    return Image.new(mode, (4, 3), value)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat("1", 1), (255, 255, 255)),
        (flat("L", 0), (0, 0, 0)),
        (flat("L", 200), (200, 200, 200)),
        (flat("RGB", (1, 2, 3)), (1, 2, 3)),
        (flat("RGBA", (200, 100, 50, 0)), (0, 0, 0)),  # alpha over black
        (flat("RGBA", (200, 100, 50, 255)), (200, 100, 50)),
        (flat("LA", (200, 0)), (0, 0, 0)),
        (flat("LA", (200, 255)), (200, 200, 200)),
        (flat("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
        (flat("I", 77), (77, 77, 77)),  # 8-bit values in a wider container
        (flat("I;16", 77), (77, 77, 77)),
        (flat("I", 70000), (0, 0, 0)),  # a constant image has no range
        (flat("F", 0.5), (0, 0, 0)),
    ],
)
def test_each_mode_has_one_conversion(image: Image.Image, expected: tuple[int, ...]) -> None:
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    assert first_pixel(converted) == expected


def test_sixteen_bits_are_scaled_by_their_own_range_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[1000, 2000], [3000, 5000]], dtype=np.uint16)
    opened = open_image(on_disk(tmp_path, "x.png", encoded(Image.fromarray(values), "PNG")))
    assert np.asarray(opened)[..., 0].tolist() == [[0, 64], [128, 255]]


@given(st.lists(st.integers(0, 65535), min_size=4, max_size=4))
@settings(max_examples=40)
def test_scaling_keeps_the_order_of_grey_values(values: list[int]) -> None:
    scaled = np.asarray(to_rgb(Image.fromarray(np.array([values], dtype=np.uint16))))[0, :, 0].tolist()
    by_value = [grey for _, grey in sorted(zip(values, scaled, strict=True))]
    assert by_value == sorted(scaled)
    if max(values) > 255 and max(values) > min(values):
        assert (min(scaled), max(scaled)) == (0, 255)


def test_a_palette_with_a_transparent_colour_goes_over_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    reopened = Image.open(io.BytesIO(encoded(image, "PNG", transparency=1)))
    assert np.asarray(to_rgb(reopened)).tolist() == [[[10, 20, 30], [0, 0, 0]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (6, 4), (0, 0, 0))
    upright.putpixel((0, 0), (255, 255, 255))
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(on_disk(tmp_path, "x.png", encoded(stored, "PNG", exif=exif)))
    assert opened.size == (6, 4)
    assert first_pixel(opened) == (255, 255, 255)


def test_a_blank_is_grey_and_as_large_as_the_image_that_it_stands_for(tmp_path: Path) -> None:
    ref = on_disk(tmp_path, "x.png", encoded(PICTURE, "PNG"))
    blank = open_image(ImageRef(kind="blank", of=ref))
    assert blank.size == PICTURE.size
    assert blank.getcolors() == [(56 * 40, (GREY, GREY, GREY))]
    assert digest(ImageRef(kind="blank", of=ref)) != digest(ref)


def test_a_zip_member_is_read_in_place_from_many_threads(tmp_path: Path) -> None:
    contents = {f"imgs/x{i}/source.png": encoded(PICTURE.rotate(i), "PNG") for i in range(24)}
    archive = tmp_path / "imgs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for name, content in contents.items():
            members.writestr(name, content)
    refs = {name: ImageRef(kind="zip", path=str(archive), member=name) for name in contents}
    found = probe([*refs.values(), *refs.values()], workers=8)
    assert {ref.member: d for ref, d in found.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["imgs.zip"]


def test_parquet_cells_are_found_across_row_groups(tmp_path: Path) -> None:
    contents = [encoded(PICTURE.rotate(i), "PNG") for i in range(7)]
    table = pa.table({"image": [{"bytes": c, "path": None} for c in contents], "question": ["q"] * 7})
    pq.write_table(table, tmp_path / "test.parquet", row_group_size=3)
    path = str(tmp_path / "test.parquet")
    got = [read_bytes(ImageRef(kind="parquet", path=path, member=f"image:{i}")) for i in (6, 0, 3, 2, 5, 1, 4)]
    assert got == [contents[i] for i in (6, 0, 3, 2, 5, 1, 4)]
    for member, said in (("image:7", "no row 7"), ("picture:0", "picture"), ("question:0", "no image bytes")):
        with pytest.raises(DataError, match=said):
            read_bytes(ImageRef(kind="parquet", path=path, member=member))


def test_code_outside_evalkit_is_not_called() -> None:
    with pytest.raises(DataError, match="outside evalkit"):
        open_image(ImageRef(kind="draw", path="os:getcwd", member="x"))


def huge_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


JPEG = encoded(PICTURE, "JPEG")
BROKEN = {
    "nothing": b"",
    "not an image": b"<html>404</html>",
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "half a progressive JPEG": encoded(PICTURE, "JPEG", progressive=True)[: len(JPEG) // 2],
    "half a PNG": encoded(PICTURE, "PNG")[:2000],
    "half a TIFF": encoded(PICTURE, "TIFF")[:3000],
    "half a GIF": encoded(PICTURE, "GIF")[:600],
    "a pointer to large file storage": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "larger than PIL opens": huge_png(),
    "grey values that are no numbers": encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found_when_it_is_checked_and_when_it_is_opened(tmp_path: Path, content: bytes) -> None:
    ref = on_disk(tmp_path, "broken.jpg", content)
    outcome = probe([ref])[ref]
    assert isinstance(outcome, Broken)
    assert "broken.jpg" in outcome.reason
    with pytest.raises(DataError, match=r"broken\.jpg"):
        open_image(ref)


@pytest.mark.parametrize("place", ["file", "zip without the member", "no zip", "damaged zip", "parquet"])
def test_what_is_missing_is_named(tmp_path: Path, place: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("x.png", bytes(range(256)) * 40)
    if place == "damaged zip":
        content = bytearray(archive.read_bytes())
        content[60:120] = bytes(60)
        (tmp_path / "b.zip").write_bytes(bytes(content))
    (tmp_path / "c.zip").write_bytes(b"no archive")
    ref = {
        "file": ImageRef(kind="file", path=str(tmp_path / "no.png")),
        "zip without the member": ImageRef(kind="zip", path=str(archive), member="no.png"),
        "no zip": ImageRef(kind="zip", path=str(tmp_path / "c.zip"), member="x.png"),
        "damaged zip": ImageRef(kind="zip", path=str(tmp_path / "b.zip"), member="x.png"),
        "parquet": ImageRef(kind="parquet", path=str(tmp_path / "no.parquet"), member="image:0"),
    }[place]
    assert isinstance(probe([ref])[ref], Broken)
    with pytest.raises(DataError, match="cannot be read"):
        read_bytes(ref)


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(PICTURE, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


WHOLE = {
    "jpg": JPEG,
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "cmyk": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "palette": encoded(PICTURE.convert("P"), "PNG", transparency=3),
    "png16": encoded(Image.fromarray(RNG.integers(0, 60000, (40, 56), dtype=np.uint16)), "PNG"),
    "gif": encoded(PICTURE, "GIF"),
    "bmp": encoded(PICTURE, "BMP"),
    "tiff": encoded(PICTURE, "TIFF"),
    "lzw": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "float": encoded(Image.fromarray(RNG.random((40, 56), dtype=np.float32)), "TIFF"),
    "lab": encoded(lab(), "TIFF"),
    "webp": encoded(PICTURE, "WEBP"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore")  # PIL warns of damaged metadata; the question here is the pixels
def test_damage_gives_an_error_of_ours_or_an_image_and_the_check_says_the_same(tmp_path: Path, name: str) -> None:
    content = WHOLE[name]
    draw = np.random.default_rng(len(content))
    for trial in range(40):
        damaged = bytearray(content[: draw.integers(len(content))] if trial % 3 == 0 else content)
        for _ in range(3 if trial and damaged else 0):
            damaged[draw.integers(len(damaged))] = draw.integers(256)
        ref = on_disk(tmp_path, f"{trial}.{name}", bytes(damaged))
        try:
            usable = open_image(ref).mode == "RGB"
        except DataError:
            usable = False
        assert usable == isinstance(probe([ref])[ref], str), (name, trial)


def test_checking_answers_in_order_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    refs = [on_disk(tmp_path, f"{i}.jpg", encoded(PICTURE.rotate(40 * i), "JPEG")) for i in range(8)]
    found = probe(refs)
    assert threading.active_count() == before
    assert list(found) == refs
    assert len({*found.values()}) == 8


@pytest.mark.data
def test_every_released_image_that_we_hold_opens(shared: Path) -> None:
    paths = [*sorted((shared / "slake" / "imgs").rglob("*.jpg"))[:30], *sorted(shared.rglob("synpic*.jpg"))[:30]]
    found = probe(ImageRef(kind="file", path=str(p)) for p in paths)
    assert len(found) == 60
    assert not [o for o in found.values() if isinstance(o, Broken)]


@pytest.mark.filterwarnings("ignore")  # PIL warns of tags that it does not know
def test_damaged_lists_of_pages_are_one_error_each(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 8), 40 * k) for k in range(3)]
    whole = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    outcomes = set()
    for _ in range(300):
        content = bytearray(whole)
        for at in RNG.integers(8, len(whole), size=2):
            content[at] = RNG.integers(256)
        ref = on_disk(tmp_path, "a.tif", bytes(content))
        try:
            outcomes.add(len(expand_volume(ref, 2)))
        except DataError as problem:
            outcomes.add(str(problem).partition("cannot be decoded: ")[2] != "")
    assert {2, True} <= outcomes and False not in outcomes
