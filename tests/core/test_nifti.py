"""Slices of NIfTI volumes are shown as radiologists see them, whatever the order in which they are stored."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.image_files import LIMIT_VARIABLE
from evalkit.core.images import Broken, digest, encoded_bytes, open_image, probe, read_bytes
from evalkit.core.medical_images import expand_volume, frames, medical_kind, rendering_rule, without_personal_fields
from evalkit.core.types import ImageRef
from tests.core.test_dicom import READ, grey, ref_to
from tests.support.dicom_files import nifti, nifti_gz

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
ORIENTATIONS = [
    "".join(pair[k] for pair, k in zip(order, side, strict=True))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for side in itertools.product((0, 1), repeat=3)
]


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def canonical(content: bytes) -> Any:
    """The values along right, front and head, by nibabel."""
    return nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(content)).get_fdata()


def as_seen(values: Any, axis: int, number: int) -> Any:
    """A slice of canonical values: right (or front) at the left, head (or front) at the top."""
    return np.take(values, number, axis=axis)[::-1, ::-1].T


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_every_stored_order_gives_the_canonical_slices(tmp_path: Path, axes: str) -> None:
    content = nifti(VALUES, axes)
    path = save(tmp_path / "a", content)
    values = canonical(content)
    for axis in range(3):
        assert frames(ref_to(path, f"axis={axis}")) == values.shape[axis]
        for number in (0, values.shape[axis] - 1):
            expected = as_seen(values, axis, number) / 119 * 255
            shown = grey(ref_to(path, f"slice={number};axis={axis};window=59.5/119"))
            assert abs(shown - expected).max() <= 0.5001, (axis, number)


def test_the_patients_right_is_at_the_left_and_the_front_at_the_top(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), dtype=np.int16)
    values[3, 4, 5] = 100  # right, front, head
    path = save(tmp_path / "a", nifti(values))
    for axis, last in ((0, 3), (1, 4), (2, 5)):
        shown = grey(ref_to(path, f"slice={last};axis={axis};window=50/100"))
        assert shown[0, 0] == 255 and shown.sum() == 255


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_the_window_is_that_of_the_volumes_percentiles(tmp_path: Path, dtype: Any, packed: bool) -> None:
    values = np.random.default_rng(0).integers(0, 200, (8, 9, 10)).astype(dtype)
    content = nifti_gz(values, "LPS") if packed else nifti(values, "LPS")
    path = save(tmp_path / "a.bin", content)
    low, high = np.percentile(values, (1, 99))
    expected = ((as_seen(canonical(nifti(values, "LPS")), 2, 3) - low) / (high - low)).clip(0, 1) * 255
    assert abs(grey(ref_to(path, "slice=3")) - expected).max() <= 0.5001
    assert rendering_rule(ref_to(path, "slice=3")) == (
        "NIfTI, axial slice in RAS as radiologists see it, window from percentile 1 to 99 of the volume"
    )
    assert rendering_rule(ref_to(path, "slice=3;axis=0;window=1/2")) == (
        "NIfTI, sagittal slice in RAS as radiologists see it, window 1/2 as set"
    )
    assert medical_kind(ref_to(path)) == "NIfTI"


@pytest.mark.parametrize(("slope", "inter"), [(2.5, -1000.0), (-1.0, 10.0)])
def test_scaled_values_are_the_units_of_a_window(tmp_path: Path, slope: float, inter: float) -> None:
    content = bytearray(nifti(VALUES))
    header = nibabel.Nifti1Header.from_fileobj(__import__("io").BytesIO(bytes(content)))
    header["scl_slope"], header["scl_inter"] = slope, inter
    content[:348] = header.binaryblock
    path = save(tmp_path / "a", bytes(content))
    real = as_seen(VALUES * slope + inter, 2, 2)
    low, high = sorted(np.percentile(VALUES, (1, 99)) * slope + inter)
    assert abs(grey(ref_to(path, "slice=2")) - ((real - low) / (high - low)).clip(0, 1) * 255).max() <= 0.5001
    center = inter + slope * 60
    expected = ((real - center) / 50 + 0.5).clip(0, 1) * 255
    assert abs(grey(ref_to(path, f"slice=2;window={center}/50")) - expected).max() <= 0.5001


def test_values_that_are_not_finite_are_black_and_do_not_count(tmp_path: Path) -> None:
    values = np.linspace(1, 2, 120, dtype=np.float32).reshape(4, 5, 6)
    values[0, 0, 0], values[1, 0, 0] = np.nan, np.inf
    shown = grey(ref_to(save(tmp_path / "a", nifti(values)), "slice=0"))
    assert shown[-1, -1] == 0 and shown.max() == 255 and len(np.unique(shown)) > 15
    assert grey(ref_to(save(tmp_path / "b", nifti(np.full((4, 5, 6), 7, np.int16))), "slice=0")).max() == 0


def test_a_series_in_time_needs_its_volume(tmp_path: Path) -> None:
    values = np.stack([VALUES, VALUES[::-1] * 2], axis=3)
    path = save(tmp_path / "a", nifti(values))
    with pytest.raises(DataError, match="it has 2 volumes; name one, volume=0 to volume=1"):
        open_image(ref_to(path, "slice=0"))
    with pytest.raises(DataError, match="no volume=2"):
        open_image(ref_to(path, "slice=0;volume=2"))
    low, high = np.percentile(values[..., 1], (1, 99))
    expected = ((as_seen(values[..., 1], 2, 4) - low) / (high - low)).clip(0, 1) * 255
    assert abs(grey(ref_to(path, "slice=4;volume=1")) - expected).max() <= 0.5001
    assert [r.member for r in expand_volume(ref_to(path, "volume=1"), 2)] == ["slice=1;volume=1", "slice=4;volume=1"]


def test_slices_are_named_counted_and_spread(tmp_path: Path) -> None:
    path = save(tmp_path / "a", nifti(np.zeros((4, 5, 100), np.int16)))
    assert frames(path) == 100 and frames(ref_to(path, "axis=1")) == 5
    assert [r.member for r in expand_volume(path, 4)] == ["slice=12", "slice=37", "slice=62", "slice=87"]
    assert [r.member for r in expand_volume(ref_to(path, "axis=1;window=40/400"), 2)] == [
        "slice=1;axis=1;window=40/400", "slice=3;axis=1;window=40/400"
    ]  # fmt: skip
    assert len(expand_volume(path, 1000)) == 100
    with pytest.raises(ValueError, match="expected 1 or more"):
        expand_volume(path, 0)
    for view, reason in (("", "name one, slice=0 to slice=99"), ("slice=100", "no slice=100"), ("frame=1", "frame is")):
        with pytest.raises(DataError, match=reason):
            open_image(ref_to(path, view))


def test_a_second_file_of_the_same_name_is_another_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a", nifti(VALUES))
    before = digest(ref_to(path, "slice=1"))
    save(path, nifti(VALUES[::-1].copy()))
    assert digest(ref_to(path, "slice=1")) != before
    assert digest(ref_to(path, "slice=1")) == probe([ref_to(path, "slice=1")])[ref_to(path, "slice=1")]


def test_nifti_2_big_endian_and_members_of_archives_are_read(tmp_path: Path) -> None:
    big = nibabel.Nifti1Image(VALUES.astype(">i2"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    two = nibabel.Nifti2Image(VALUES, np.eye(4))
    expected = grey(ref_to(save(tmp_path / "a", nifti(VALUES)), "slice=2"))
    for content in (big.to_bytes(), two.to_bytes(), gzip.compress(two.to_bytes())):
        with zipfile.ZipFile(tmp_path / f"{len(content)}.zip", "w") as archive:
            archive.writestr("v", content)
        inside = ImageRef(kind="zip", path=str(tmp_path / f"{len(content)}.zip"), member="v::slice=2")
        assert np.array_equal(grey(inside), expected)
        assert frames(inside) == 6


def test_an_oblique_volume_is_shown_along_its_nearest_axes(tmp_path: Path) -> None:
    turn = np.array([[0.1, -0.98, 0.1, 5], [0.99, 0.1, 0, 6], [0, 0.1, 1.0, 7], [0, 0, 0, 1]])
    content = nibabel.Nifti1Image(VALUES, turn).to_bytes()
    path = save(tmp_path / "a", content)
    expected = as_seen(canonical(content), 2, 1) / 119 * 255
    assert abs(grey(ref_to(path, "slice=1;window=59.5/119")) - expected).max() <= 0.5001


# --- damage and limits


@pytest.mark.slow
def test_damage_is_named_without_the_headers_texts(tmp_path: Path) -> None:
    content = bytearray(nifti(VALUES, descrip=b"ZZDESCRIPTION", aux_file=b"ZZFILE"))
    rng = np.random.default_rng(0)
    outcomes = set()
    for k in range(300):
        changed = bytearray(content)
        for at in rng.integers(0, 352, size=2):
            changed[at] = rng.integers(256)
        whole = gzip.compress(bytes(changed)) if k % 2 else bytes(changed)
        ref = ref_to(save(tmp_path / f"{k}.nii", whole), "slice=0")
        found = probe([ref])[ref]
        outcomes.add(type(found))
        assert isinstance(found, str) or ("ZZ" not in found.reason and "cannot be decoded" in found.reason)
    assert outcomes == {str, Broken}
    for broken in (bytes(content[:-20]), gzip.compress(bytes(content))[:-30]):
        with pytest.raises(DataError, match=r"cut off|none of the formats"):
            open_image(ref_to(save(tmp_path / "cut", broken), "slice=0"))
    ref = ref_to(save(tmp_path / "whole", bytes(content)), "slice=0")
    assert encoded_bytes(ref) is None and b"ZZDESC" not in read_bytes(ref)


def test_values_at_the_ends_of_their_type_warn_of_nothing(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6))
    values[0], values[1] = -1.7e308, 1.7e308
    shown = grey(ref_to(save(tmp_path / "a", nifti(values)), "slice=0"))
    assert shown.shape == (5, 4)
    content = bytearray(nifti(np.full((4, 5, 6), np.nan, dtype=np.float32)))
    assert grey(ref_to(save(tmp_path / "b", bytes(content)), "slice=0")).max() == 0


def test_a_pair_colours_and_flat_files_are_refused_by_name(tmp_path: Path) -> None:
    pair = nifti(VALUES).replace(b"n+1\0", b"ni1\0")
    with pytest.raises(DataError, match=r"pair \(\.hdr and \.img\); convert"):
        open_image(ref_to(save(tmp_path / "a.hdr", pair), "slice=0"))
    colours = nibabel.Nifti1Image(np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)).to_bytes()
    with pytest.raises(DataError, match="colours or complex"):
        open_image(ref_to(save(tmp_path / "b", colours), "slice=0"))
    with pytest.raises(DataError, match="shape"):
        open_image(ref_to(save(tmp_path / "c", nibabel.Nifti1Image(VALUES[..., 0], np.eye(4)).to_bytes()), "slice=0"))


def test_sizes_over_the_limit_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 4))
    path = save(tmp_path / "a", bytes(header.binaryblock[:344]) + b"n+1\0" + bytes(100))
    with pytest.raises(DataError, match=rf"30000 x 30000 = 900000000 pixels.*{LIMIT_VARIABLE}"):
        open_image(ref_to(path, "slice=0"))
    header.set_data_shape((3000, 3000, 3000))
    path = save(tmp_path / "b", bytes(header.binaryblock[:344]) + b"n+1\0" + bytes(100))
    with pytest.raises(DataError, match="cut off"):
        open_image(ref_to(path, "slice=0"))
    monkeypatch.setenv(LIMIT_VARIABLE, "19")
    with pytest.raises(DataError, match="limit is 19"):
        open_image(ref_to(save(tmp_path / "c", nifti(VALUES)), "slice=0"))


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_a_large_one_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1000000")
    packer = zlib.compressobj(9, wbits=31)
    whole = packer.compress(nifti(VALUES)) + b"".join(packer.compress(bytes(1 << 24)) for _ in range(32))
    path = save(tmp_path / "a.nii.gz", whole + packer.flush())
    process = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    reason, memory = process.stdout.strip().splitlines()
    assert "unpacks to more than 24777216 bytes" in reason and int(memory) < 150, process.stdout


def test_without_the_extra_one_paragraph_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii", nifti(VALUES + 1))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ConfigError, match=r"a\.nii is a NIfTI file, and .*pip install 'evalkit-medvqa\[dicom\]'"):
        open_image(ref_to(path, "slice=0"))


@pytest.mark.parametrize("form", ["one", "two", "big", "packed"])
def test_a_copy_without_personal_fields_shows_the_same(tmp_path: Path, form: str) -> None:
    kind = nibabel.Nifti2Image if form == "two" else nibabel.Nifti1Image
    header = kind.header_class(endianness=">" if form == "big" else "<")
    for name in ("descrip", "aux_file", "intent_name"):
        header[name] = f"ZZ{name}".encode()
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"ZZEXTENSION"))
    image = kind(VALUES.astype(">i2" if form == "big" else "<i2"), np.eye(4), header)
    content = gzip.compress(image.to_bytes()) if form == "packed" else image.to_bytes()
    assert b"ZZEXTENSION" in (gzip.decompress(content) if form == "packed" else content)
    copy = without_personal_fields(content)
    assert b"ZZ" not in (gzip.decompress(copy) if form == "packed" else copy)
    before, after = save(tmp_path / "before", content), save(tmp_path / "after", copy)
    for k in range(6):
        assert np.array_equal(grey(ref_to(after, f"slice={k}")), grey(ref_to(before, f"slice={k}")))
