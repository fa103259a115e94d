"""Files of several pages or frames in ordinary formats, one picture a page."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalkit.analysis.empty_images import empty_images
from evalkit.analysis.image_fingerprint import fingerprints
from evalkit.core.errors import DataError
from evalkit.core.image_files import LIMIT_VARIABLE
from evalkit.core.images import Broken, digest, encoded_bytes, open_image, probe
from evalkit.core.medical_images import expand_volume, frames, medical_kind, rendering_rule
from evalkit.engines.chat_format import data_urls
from evalkit.judge.image_encoding import read_image
from tests.core.test_dicom import ref_to
from tests.core.test_limits import repeated_tags
from tests.support import dicom_files as make


def pages(kind: str) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [(8, 9), (10, 7), (8, 9)] if kind == "TIFF" else [(8, 9)] * 3
    return [Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)) for shape in shapes]


def save(path: Path, kind: str, pictures: list[Image.Image]) -> Path:
    more: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], **more)
    return path


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_each_page_is_a_picture_of_its_own(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a", kind, pages(kind))
    assert frames(path) == 3
    with Image.open(path) as stored:
        for k in range(3):
            stored.seek(k)
            ref = ref_to(path, f"frame={k}")
            assert np.array_equal(np.asarray(open_image(ref)), np.asarray(stored.convert("RGB")))
            assert probe([ref])[ref] == digest(ref)
    assert len({digest(ref_to(path, f"frame={k}")) for k in range(3)}) == 3
    assert np.array_equal(np.asarray(open_image(ref_to(path))), np.asarray(open_image(ref_to(path, "frame=0"))))
    assert [r.member for r in expand_volume(path, 2)] == ["frame=0", "frame=2"]
    assert rendering_rule(ref_to(path, "frame=1")) == medical_kind(ref_to(path)) == ""


def test_pages_of_sixteen_bits_are_scaled_each_by_its_own_range(tmp_path: Path) -> None:
    values = [make.ramp(high=high) for high in (4000, 60000)]
    path = save(tmp_path / "a", "TIFF", [Image.fromarray(v) for v in values])
    for k in range(2):
        shown = np.asarray(open_image(ref_to(path, f"frame={k}")))[..., 0]
        assert abs(shown - values[k].astype(float) / values[k].max() * 255).max() <= 0.5001


@pytest.mark.parametrize(
    ("view", "reason"),
    [("frame=3", "it has 3 frames, frame=0 to frame=2, and no frame=3"), ("window=40/400", "for DICOM and NIfTI"),
     ("slice=0", "for DICOM and NIfTI")],
)  # fmt: skip
def test_a_page_or_setting_that_is_not_there_is_named(tmp_path: Path, view: str, reason: str) -> None:
    path = save(tmp_path / "a.tif", "TIFF", pages("TIFF"))
    with pytest.raises(DataError, match=reason):
        open_image(ref_to(path, view))
    assert isinstance(probe([ref_to(path, view)])[ref_to(path, view)], Broken)
    single = tmp_path / "b.png"
    pages("PNG")[0].save(single, "PNG")
    assert [r.member for r in expand_volume(single, 4)] == [""]
    with pytest.raises(DataError, match="it has one frame, frame=0, and no frame=1"):
        open_image(ref_to(single, "frame=1"))


def test_the_limit_holds_for_later_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", "TIFF", [Image.new("L", (4, 4)), Image.new("L", (40, 40))])
    monkeypatch.setenv(LIMIT_VARIABLE, "100")
    assert open_image(ref_to(path, "frame=0")).size == (4, 4)
    with pytest.raises(DataError, match="40 x 40 = 1600 pixels, the limit is 100"):
        open_image(ref_to(path, "frame=1"))


def test_tags_of_later_pages_are_checked_and_a_ring_of_pages_ends(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "TIFF")
    first = bytearray(out.getvalue())
    (start,) = struct.unpack_from("<I", first, 4)
    (count,) = struct.unpack_from("<H", first, start)
    link = start + 2 + 12 * count
    second = bytearray(repeated_tags())
    struct.pack_into("<I", first, link, len(first) + 8)
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(first) + bytes(second))
    assert open_image(ref_to(path)).size == (4, 4)
    for use in (lambda: open_image(ref_to(path, "frame=1")), lambda: frames(path)):
        with pytest.raises(DataError, match="its tags claim"):
            use()
    struct.pack_into("<I", first, link, start)
    path.write_bytes(bytes(first))
    assert frames(path) == 1


def test_every_reader_of_images_sees_the_view(tmp_path: Path) -> None:
    """Engines, judges and the audit open a page, a frame of DICOM and a slice of NIfTI through the same function."""
    tiff = save(tmp_path / "a.tif", "TIFF", pages("TIFF"))
    dark = np.stack([make.ramp(), np.full((20, 30), 7)]).astype(np.uint8)
    dicom = make.write(tmp_path / "a.dcm", dark, **make.MARKERS)
    volume = tmp_path / "a.nii"
    volume.write_bytes(make.nifti(np.random.default_rng(0).integers(0, 99, (20, 20, 3)).astype(np.int16)))
    refs = [ref_to(tiff, "frame=1"), ref_to(dicom, "frame=0"), ref_to(volume, "slice=1")]
    for ref, url in zip(refs, data_urls(refs), strict=True):
        expected = np.asarray(open_image(ref))
        sent = __import__("base64").b64decode(url.partition(",")[2])
        for content in (sent, read_image(ref)):
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), expected)
            assert b"ZZNAME" not in content
        assert encoded_bytes(ref) is None
    assert fingerprints({str(ref): ref for ref in refs}).failures == {}
    black = ref_to(dicom, "frame=1")
    assert empty_images([*refs, black]) == {black: "black"}
    assert "almost flat" in fingerprints({"black": black}).failures["black"]
