"""DICOM files become the pictures that the standard describes, by content and within the limits."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing, pixel_array

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.image_files import LIMIT_VARIABLE
from evalkit.core.image_view import View, Window, parse_view, with_view
from evalkit.core.images import Broken, digest, encoded_bytes, open_image, probe, read_bytes, size
from evalkit.core.medical_images import expand_volume, frames, medical_kind, rendering_rule, without_personal_fields
from evalkit.core.types import ImageRef
from tests.support import dicom_files as make


def ref_to(path: Path | str, view: str = "") -> ImageRef:
    return ImageRef(kind="file", path=str(path), member=view)


def grey(ref: ImageRef) -> Any:
    values = np.asarray(open_image(ref))
    assert (values == values[..., :1]).all()
    return values[..., 0].astype(int)


def by_pydicom(values: Any, made: Any, low: float, high: float) -> Any:
    """0..255 from what pydicom's windowing gives over its whole output range."""
    return (apply_voi_lut(values, made) - low) / (high - low) * 255


# --- grey values


@pytest.mark.filterwarnings("ignore:overflow")  # in pydicom's sigmoid
@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (1000.5, 1), (300, 2000)])
def test_a_window_gives_the_values_of_pydicom(tmp_path: Path, shape: str | None, center: float, width: float) -> None:
    more = {} if shape is None else {"VOILUTFunction": shape}
    fields = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": center, "WindowWidth": width, **more}
    path = make.write(tmp_path / "a", make.ramp(), BitsStored=12, HighBit=11, **fields)
    made = dcmread(path)
    real = apply_modality_lut(made.pixel_array, made)
    assert np.array_equal(real, made.pixel_array * 2.0 - 1024)
    low, high = -1024, 4095 * 2 - 1024  # pydicom's output range: that of 12 bits after rescaling
    expected = by_pydicom(real, made, low, high)
    assert abs(grey(ref_to(path)) - expected).max() <= 0.5001
    name = "" if shape in ("LINEAR", None) else f", {str(shape).lower().replace('_', ' ')}"
    assert rendering_rule(ref_to(path)) == f"DICOM, rescale 2/-1024, window {center:g}/{width:g} of the header{name}"


@pytest.mark.parametrize("name", ["MR_small.dcm", "693_J2KI.dcm", "examples_overlay.dcm", "MR_small_bigendian.dcm"])
def test_published_files_have_the_window_of_pydicom(name: str) -> None:
    path = get_testdata_file(name, download=False)
    made = dcmread(path)
    real = apply_modality_lut(made.pixel_array, made)
    shown = apply_windowing(real, made)  # the first of several
    ends = apply_windowing(np.array([-1e7, 1e7]), made)
    assert abs(grey(ref_to(str(path))) - (shown - ends[0]) / (ends[1] - ends[0]) * 255).max() <= 0.5001


def test_a_stated_window_replaces_that_of_the_header_and_is_another_image(tmp_path: Path) -> None:
    path = make.write(tmp_path / "a", make.ramp(), WindowCenter=[40, 300], WindowWidth=[400, 1500])
    own, set_ = ref_to(path), ref_to(path, "window=1000/2000")
    assert rendering_rule(own) == "DICOM, window 40/400 of the header (first of 2)"
    assert rendering_rule(set_) == "DICOM, window 1000/2000 as set"
    made = dcmread(path)
    made.WindowCenter, made.WindowWidth = 1000, 2000
    assert abs(grey(set_) - by_pydicom(made.pixel_array, made, 0, 65535)).max() <= 0.5001
    assert digest(own) != digest(set_)


@pytest.mark.parametrize("width", [0, -5, "nan"])
def test_an_impossible_window_of_the_header_is_refused_and_a_stated_one_helps(tmp_path: Path, width: object) -> None:
    made = make.dataset(make.ramp())
    made.add_new("WindowCenter", "LO", "40")
    made.add_new("WindowWidth", "LO", str(width))
    path = tmp_path / "a"
    path.write_bytes(make.encoded(made).replace(b"LO\x02\x00", b"DS\x02\x00").replace(b"LO\x04\x00", b"DS\x04\x00"))
    with pytest.raises(DataError, match=r"its header has the window 40/.*state one, as in window=40/400"):
        open_image(ref_to(path))
    assert grey(ref_to(path, "window=40/400")).max() == 255


def test_the_opposite_photometric_interpretation_is_inverted(tmp_path: Path) -> None:
    fields = {"WindowCenter": 2000, "WindowWidth": 3000}
    two = make.write(tmp_path / "2", make.ramp(), **fields)
    one = make.write(tmp_path / "1", make.ramp(), PhotometricInterpretation="MONOCHROME1", **fields)
    assert np.array_equal(grey(ref_to(one)), 255 - grey(ref_to(two)))
    assert "MONOCHROME1 inverted" in rendering_rule(ref_to(one))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int8, np.int32, np.uint32])
def test_without_a_window_values_are_scaled_by_their_own_range(tmp_path: Path, dtype: Any) -> None:
    low = -100 if np.issubdtype(dtype, np.signedinteger) else 3
    values = make.ramp(low=low, high=120, dtype=dtype)
    path = make.write(tmp_path / "a", values)
    expected = (values.astype(float) - low) / (120 - low) * 255
    assert abs(grey(ref_to(path)) - expected).max() <= 0.5001
    assert rendering_rule(ref_to(path)) == "DICOM, range of the frame's values"


def test_padding_does_not_count_for_the_range(tmp_path: Path) -> None:
    values = make.ramp(low=100, high=200, dtype=np.int16)
    values[0] = -2000
    path = make.write(tmp_path / "a", values, PixelPaddingValue=-2000)
    shown = grey(ref_to(path))
    assert (shown[0] == 0).all() and shown[-1, -1] == 255 and len(np.unique(shown[1:])) > 90


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_unsigned_values_of_up_to_eight_bits_keep_their_full_range(tmp_path: Path, bits: int) -> None:
    values = make.ramp(high=2**bits - 2 if bits > 1 else 1, dtype=np.uint8)
    path = make.write(tmp_path / "a", values, BitsStored=bits, HighBit=bits - 1)
    assert np.array_equal(grey(ref_to(path)), np.rint(values * (255 / (2**bits - 1))))


def test_tables_of_the_header_are_applied(tmp_path: Path) -> None:
    values = make.ramp(high=255, dtype=np.uint16)
    modality = make.item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US")
    modality.add_new("LUTData", "US", [k * 3 for k in range(256)])
    voi = make.item(LUTDescriptor=[1024, 0, 12])
    voi.add_new("LUTData", "US", [min(4095, k * k // 100) for k in range(1024)])
    path = make.write(tmp_path / "a", values, ModalityLUTSequence=[modality], VOILUTSequence=[voi, voi])
    made = dcmread(path)
    real = apply_modality_lut(made.pixel_array, made)
    assert abs(grey(ref_to(path)) - apply_voi_lut(real, made) / 4095 * 255).max() <= 0.5001
    expected = [[min(4095, (int(v) * 3) ** 2 // 100) / 4095 * 255 for v in row] for row in values]
    assert abs(grey(ref_to(path)) - expected).max() <= 0.5001
    assert rendering_rule(ref_to(path)) == "DICOM, modality table, VOI table of the header (first of 2)"


# --- colour


@pytest.mark.parametrize(
    "name",
    ["examples_rgb_color.dcm", "SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm",
     "examples_jpeg2k.dcm", "SC_rgb_small_odd.dcm"],
)  # fmt: skip
def test_colour_is_that_of_pydicom(name: str) -> None:
    path = str(get_testdata_file(name, download=False))
    assert np.array_equal(np.asarray(open_image(ref_to(path))), pixel_array(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_of_any_depth_is_scaled_by_its_bits(tmp_path: Path, dtype: Any) -> None:
    full = np.iinfo(dtype).max
    values = np.stack([make.ramp(high=full, dtype=dtype)] * 3, axis=-1)
    values[..., 1] //= 2
    path = make.write(tmp_path / "a", values)
    assert abs(np.asarray(open_image(ref_to(path))) - values.astype(float) / full * 255).max() <= 0.5001
    assert rendering_rule(ref_to(path)) == "DICOM, RGB"
    assert rendering_rule(ref_to(path, "window=40/400")) == "DICOM, RGB, window not applied to colour"
    assert np.array_equal(np.asarray(open_image(ref_to(path, "window=40/400"))), np.asarray(open_image(ref_to(path))))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_colours(tmp_path: Path, bits: int) -> None:
    values = make.ramp(high=255, dtype=np.uint8)
    made = make.dataset(values, PhotometricInterpretation="PALETTE COLOR")
    scale = 257 if bits == 16 else 1
    for name, colour in (("Red", lambda k: k), ("Green", lambda k: 255 - k), ("Blue", lambda k: k // 2)):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        table = np.array([colour(k) * scale for k in range(256)], dtype=np.uint16 if bits == 16 else np.uint8)
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", table.tobytes())
    path = tmp_path / "a"
    path.write_bytes(make.encoded(made))
    expected = np.stack([values, 255 - values, values // 2], axis=-1)
    assert np.array_equal(np.asarray(open_image(ref_to(path))), expected)


# --- frames and volumes


def test_frames_are_named_and_counted(tmp_path: Path) -> None:
    values = np.stack([make.ramp(low=k * 10, high=k * 10 + 100) for k in range(5)]).astype(np.uint8)
    path = make.write(tmp_path / "a", values)
    assert frames(path) == 5
    for k in range(5):
        assert np.array_equal(grey(ref_to(path, f"frame={k}")), values[k])
    assert len({digest(ref_to(path, f"frame={k}")) for k in range(5)}) == 5
    with pytest.raises(DataError, match="it has 5 frames; name one, frame=0 to frame=4"):
        open_image(ref_to(path))
    with pytest.raises(DataError, match="frame=0 to frame=4, and no frame=5"):
        open_image(ref_to(path, "frame=5"))
    with pytest.raises(DataError, match="settings of NIfTI"):
        open_image(ref_to(path, "slice=1"))
    assert [r.member for r in expand_volume(path, 2)] == ["frame=1", "frame=3"]
    assert [r.member for r in expand_volume(ref_to(path, "window=40/400"), 9)] == [
        f"frame={k};window=40/400" for k in range(5)
    ]


def test_enhanced_files_have_a_rule_for_each_frame(tmp_path: Path) -> None:
    def group(**parts: Any) -> Any:
        return make.item(**{f"{k}Sequence": [make.item(**v)] for k, v in parts.items()})

    values = np.stack([make.ramp(), make.ramp()])
    own = [group(FrameVOILUT={"WindowCenter": c, "WindowWidth": 400}) for c in (100, 900)]
    shared = [group(PixelValueTransformation={"RescaleSlope": 0.5, "RescaleIntercept": -100})]
    path = make.write(
        tmp_path / "a", values, SharedFunctionalGroupsSequence=shared, PerFrameFunctionalGroupsSequence=own
    )
    for k, center in enumerate((100, 900)):
        real = values[k] * 0.5 - 100
        expected = (((real - (center - 0.5)) / 399 + 0.5).clip(0, 1)) * 255
        assert abs(grey(ref_to(path, f"frame={k}")) - expected).max() <= 0.5001
        rule = f"DICOM, rescale 0.5/-100, window {center}/400 of the header"
        assert rendering_rule(ref_to(path, f"frame={k}")) == rule


def test_a_folder_is_a_series_in_the_order_of_positions(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    for k, z in enumerate((30.0, -10.0, 20.0, 0.0)):
        fields = {"SeriesInstanceUID": "1.2.3", "InstanceNumber": k, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        make.write(folder / f"{k}", make.ramp(), ImagePositionPatient=[0, 0, z], **fields)
    assert frames(folder) == 4
    assert [Path(r.path).name for r in expand_volume(folder, 4)] == ["1", "3", "2", "0"]
    assert [Path(r.path).name for r in expand_volume(ref_to(folder, "window=1/2"), 2)] == ["3", "0"]
    assert {r.member for r in expand_volume(ref_to(folder, "window=1/2"), 2)} == {"window=1/2"}
    make.write(folder / "other", make.ramp(), SeriesInstanceUID="1.2.4", InstanceNumber=9)
    with pytest.raises(DataError, match="several series") as found:
        frames(folder)
    assert "1.2.4" not in str(found.value)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no DICOM files"):
        frames(empty)


def test_a_series_without_positions_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        make.write(tmp_path / name, make.ramp(), SeriesInstanceUID="1.2", InstanceNumber=number)
    assert [Path(r.path).name for r in expand_volume(tmp_path, 3)] == ["b", "c", "a"]


# --- recognition


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = make.write(tmp_path / "scan.png", make.ramp())
    picture = tmp_path / "picture.dcm"
    Image.new("RGB", (4, 5), (1, 2, 3)).save(picture, "PNG")
    assert [medical_kind(ref_to(p)) for p in (path, picture)] == ["DICOM", ""]
    assert size(ref_to(picture)) == (4, 5) and size(ref_to(path)) == (30, 20)


@pytest.mark.parametrize(("name", "kind"), [("a.dcm", "DICOM"), ("a.DICOM", "DICOM"), ("a.bin", "")])
def test_without_the_preamble_the_name_is_needed(tmp_path: Path, name: str, kind: str) -> None:
    whole = make.encoded(make.dataset(make.ramp(), WindowCenter=2000, WindowWidth=3000))
    length = struct.unpack_from("<I", whole, 140)[0]
    for content in (whole[132:], whole[144 + length :]):  # with and without the file meta information
        path = tmp_path / name
        path.write_bytes(content)
        assert medical_kind(ref_to(path)) == kind
        if kind:
            assert size(ref_to(path)) == (30, 20)
        else:
            with pytest.raises(DataError, match="none of the formats"):
                open_image(ref_to(path))


def test_members_of_archives_and_cells_of_tables_are_read_alike(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = make.write(tmp_path / "a.dcm", np.stack([make.ramp(), make.ramp(low=50)]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "scans/a.dcm")
    pq.write_table(pa.table({"image": [{"bytes": path.read_bytes(), "path": None}]}), tmp_path / "a.parquet")
    expected = grey(ref_to(path, "frame=1;window=2000/3000"))
    for kind, inner in (("zip", "scans/a.dcm"), ("parquet", "image:0")):
        ref = ImageRef(kind=kind, path=str(tmp_path / f"a.{kind}"), member=inner)  # type: ignore[arg-type]
        seen = with_view(ref, View(frame=1, window=Window(2000, 3000)))
        assert seen.member == f"{inner}::frame=1;window=2000/3000"
        assert np.array_equal(grey(seen), expected)
        assert frames(ref) == 2 and medical_kind(ref) == "DICOM"
        assert [r.member for r in expand_volume(ref, 2)] == [f"{inner}::frame=0", f"{inner}::frame=1"]


@pytest.mark.parametrize(
    "text", ["1", "frame", "frame=-1", "frame=1;frame=2", "frames=1", "window=40", "window=40/0", "window=a/b",
             "axis=3", "slice=1.5", "window=nan/4", "frame=1" + "0" * 12],
)  # fmt: skip
def test_a_view_that_is_not_valid_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_view(text)
    path = make.write(tmp_path / "a.dcm", make.ramp())
    with pytest.raises(DataError, match=r"cannot be read: .*expected"):
        open_image(ref_to(path, text))
    assert isinstance(probe([ref_to(path, text)])[ref_to(path, text)], Broken)


# --- damage, limits, what is not installed


def _cut(content: bytes) -> bytes:
    return content[:-100]


def _no_rows(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 20), b"\x28\x00\x10\x00US\x02\x00\0\0")


def _word(content: bytes) -> bytes:
    return content.replace(b"MONOCHROME2 ", b"ZZSECRET    ")


def _no_pixels(content: bytes) -> bytes:
    at = content.index(b"\xe0\x7f\x10\x00")
    return content[: at + 8] + b"\0" * 4


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(_cut, "cut off"), (_no_pixels, "cut off"), (_no_rows, "30 x 0 pixels"), (_word, "photometric interpretation"),
     (lambda c: c[:400], "without pixels|damaged"), (lambda c: c[:140] + b"\xff" * 8, "without pixels|damaged")],
)  # fmt: skip
def test_damage_is_named_when_checked_and_when_opened(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(damage(make.encoded(make.dataset(make.ramp()))))
    ref = ref_to(path)
    with pytest.raises(DataError, match=rf"a\.dcm cannot be decoded: .*(?:{reason})") as found:
        open_image(ref)
    assert "SECRET" not in str(found.value)
    assert probe([ref])[ref] == Broken(str(found.value))


def test_any_change_to_a_file_is_a_picture_or_a_named_error(tmp_path: Path) -> None:
    whole = make.encoded(make.dataset(make.ramp(), WindowCenter=[40, 50], WindowWidth=[400, 500], **make.MARKERS))
    rng = np.random.default_rng(0)
    path = tmp_path / "a.dcm"
    outcomes = set()
    for _ in range(400):
        content = bytearray(whole)
        for at in rng.integers(132, len(whole) - 1200, size=rng.integers(1, 4)):
            content[at] = rng.integers(256)
        path.write_bytes(bytes(content))
        found = probe([ref_to(path)])[ref_to(path)]
        outcomes.add(type(found))
        if isinstance(found, Broken):
            assert "cannot be decoded: " in found.reason and "ZZ" not in found.reason
    assert outcomes == {str, Broken}


def test_a_size_over_the_limit_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.core.dicom.decoded", lambda *_: pytest.fail("decoded"))
    path = make.write(tmp_path / "a.dcm", make.ramp(), Rows=60000, Columns=60000)
    with pytest.raises(DataError, match=rf"60000 x 60000 = 3600000000 pixels, the limit is .*{LIMIT_VARIABLE}"):
        open_image(ref_to(path))
    path = make.write(tmp_path / "b.dcm", make.ramp())
    monkeypatch.setenv(LIMIT_VARIABLE, "599")
    with pytest.raises(DataError, match="30 x 20 = 600 pixels, the limit is 599"):
        open_image(ref_to(path))


def test_compressed_pixels_of_another_size_than_the_header_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.core.dicom.decoded", lambda *_: pytest.fail("decoded"))
    for name in ("JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        made = dcmread(get_testdata_file(name, download=False))
        made.Rows, made.Columns = made.Rows // 2, made.Columns
        path = tmp_path / name
        made.save_as(path)
        with pytest.raises(DataError, match="another size than its header states"):
            open_image(ref_to(path))


def test_a_jpeg_of_thousands_of_scans_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.encaps import encapsulate

    from tests.core.test_image_structure import with_scans

    monkeypatch.setattr("evalkit.core.dicom.decoded", lambda *_: pytest.fail("decoded"))
    made = dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", download=False))
    made.PixelData = encapsulate([with_scans(5000, (int(made.Columns), int(made.Rows)))])
    path = tmp_path / "scans.dcm"
    made.save_as(path)
    with pytest.raises(DataError, match="more than 100 scans"):
        open_image(ref_to(path))


READ = """
import resource, sys
from evalkit.core.images import open_image
from evalkit.core.types import ImageRef
import pydicom, pydicom.pixels, numpy, PIL.Image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_image(ImageRef(kind="file", path=sys.argv[1]))
except Exception as problem:
    print(problem)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("form", ["deflated", "run lengths"])
@pytest.mark.slow
def test_a_small_file_that_unpacks_to_a_large_one_takes_little_memory(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.dcm"
    made = make.dataset(make.ramp())
    if form == "deflated":
        whole = make.encoded(made)
        meta = 144 + struct.unpack_from("<I", whole, 140)[0]
        deflated = whole[132:meta].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        deflated = deflated.replace(b"UI\x14\x00" + b"1.2.840.10008.1.2.1.99", b"UI\x16\x001.2.840.10008.1.2.1.99")
        deflated = deflated[:8] + struct.pack("<I", len(deflated) - 12) + deflated[12:]
        packer = zlib.compressobj(9, wbits=-15)
        blocks = b"".join(packer.compress(bytes(1 << 24)) for _ in range(48)) + packer.flush()
        path.write_bytes(bytes(128) + deflated + blocks)
    else:
        from pydicom.encaps import encapsulate

        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
        frame = struct.pack("<16I", 2, 64, 1 << 22, *[0] * 13) + b"\x81\0" * (1 << 22)
        made.PixelData = encapsulate([frame])
        path.write_bytes(make.encoded(made))
    process = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=120, check=True
    )
    reason, memory = process.stdout.strip().splitlines()
    assert "unpack" in reason and int(memory) < 150, process.stdout


@pytest.mark.parametrize(
    ("name", "needed"),
    [("MR_small_jpeg_ls_lossless.dcm", "pip install pyjpegls"), ("SC_rgb_jpeg_gdcm.dcm", "pylibjpeg-libjpeg"),
     ("JPEG-lossy.dcm", "pylibjpeg-libjpeg")],
)  # fmt: skip
def test_a_compression_without_a_decoder_names_one(name: str, needed: str) -> None:
    with pytest.raises(DataError, match=rf"{name} cannot be decoded: its pixels .*JPEG.*1\.2\.840.*{needed}"):
        open_image(ref_to(str(get_testdata_file(name, download=False))))


def test_a_video_and_a_report_are_named_as_what_they_are(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    made = make.dataset(make.ramp())
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    made.PixelData = encapsulate([b"\0\0\0\x01" * 20])
    (tmp_path / "a.dcm").write_bytes(make.encoded(made))
    with pytest.raises(DataError, match=r"MPEG-4.*needs another decoder: convert"):
        open_image(ref_to(tmp_path / "a.dcm"))
    with pytest.raises(DataError, match="without pixels"):
        open_image(ref_to(str(get_testdata_file("reportsi.dcm", download=False))))


def test_without_the_extra_one_paragraph_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make.write(tmp_path / "a.dcm", make.ramp())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for use in (
        open_image,
        digest,
        rendering_rule,
        frames,
        lambda ref: probe([ref]),
        lambda ref: expand_volume(ref, 2),
    ):
        with pytest.raises(ConfigError, match=r"a\.dcm is a DICOM file, and .*pip install 'evalkit-medvqa\[dicom\]'"):
            use(ref_to(path))
    assert medical_kind(ref_to(path)) == "DICOM"


# --- what is never passed on


def test_the_bytes_of_a_medical_file_are_never_given(tmp_path: Path) -> None:
    one = make.write(tmp_path / "a.dcm", make.ramp(), **make.MARKERS)
    other = make.write(tmp_path / "b.dcm", make.ramp(), **make.MARKERS | {"PatientName": "ZZOTHER"})
    assert encoded_bytes(ref_to(one)) is None
    assert b"ZZNAME" not in read_bytes(ref_to(one))
    assert read_bytes(ref_to(one)).startswith(b"RGB 30x20 ")
    assert digest(ref_to(one)) == digest(ref_to(other)) == probe([ref_to(one)])[ref_to(one)]
    blank = ImageRef(kind="blank", of=ref_to(one))
    assert size(blank) == (30, 20) and b"ZZNAME" not in read_bytes(blank) and encoded_bytes(blank) is None


def test_no_warning_and_no_log_quotes_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    made = make.dataset(make.ramp(), **make.MARKERS)
    for name in ("WindowCenter", "RescaleSlope", "NumberOfFrames", "PatientAge"):
        made.add_new(name, "LO", "ZZVALUE!")
    content = make.encoded(made)
    for vr in (b"DS", b"IS", b"AS"):
        path = tmp_path / "a.dcm"
        path.write_bytes(content.replace(b"LO\x08\x00ZZVALUE!", vr + b"\x08\x00ZZVALUE!"))
        with pytest.raises(DataError) as found:
            open_image(ref_to(path))
        assert "ZZ" not in str(found.value)
    assert "ZZ" not in caplog.text and not [w for w in recwarn if "ZZ" in str(w.message)]


@pytest.mark.data
def test_own_data_differ_from_their_pngs_by_the_window_alone(shared: Path) -> None:
    """The PNGs of cases/own-data show stored values 500 to 2504 (HU -524 to 1480); the headers' window is 0 to 1000."""
    files = sorted((shared.parent / "cases/own-data/img").glob("*.dcm"))
    assert len(files) == 15
    for path in files:
        png = np.asarray(Image.open(path.with_suffix(".png")).convert("L")).astype(int)
        assert rendering_rule(ref_to(path)) == "DICOM, rescale 1/-1024, window 500/1000 of the header"
        assert abs(grey(ref_to(path, "window=478/2004")) - png).max() <= 1
        hu = dcmread(path).pixel_array - 1024.0
        assert abs(grey(ref_to(path)) - ((hu - 499.5) / 999 + 0.5).clip(0, 1) * 255).max() <= 0.5001


@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "693_J2KI.dcm", "examples_palette.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm",
     "image_dfl.dcm", "SC_rgb_jpeg_dcmtk.dcm", "made"],
)  # fmt: skip
def test_a_copy_without_personal_fields_shows_the_same(tmp_path: Path, name: str) -> None:
    if name == "made":
        lut = make.item(LUTDescriptor=[4096, 0, 8], LUTExplanation="ZZLUT")
        lut.add_new("LUTData", "US", [k // 16 for k in range(4096)])
        own = make.item(
            FrameVOILUTSequence=[make.item(WindowCenter=900, WindowWidth=800, WindowCenterWidthExplanation="ZZWHY")],
            FrameContentSequence=[make.item(FrameComments="ZZFRAME", FrameAcquisitionDateTime="19020304")],
        )
        fields = {"PerFrameFunctionalGroupsSequence": [own] * 2, "VOILUTSequence": [lut], **make.MARKERS}
        path = make.write(tmp_path / name, np.stack([make.ramp(), make.ramp(low=9)]), **fields)
    else:
        path = Path(str(get_testdata_file(name, download=False)))
    content = path.read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(without_personal_fields(content))
    view = f"frame={frames(path) - 1}"
    assert np.array_equal(np.asarray(open_image(ref_to(copy, view))), np.asarray(open_image(ref_to(path, view))))
    assert rendering_rule(ref_to(copy, view)) == rendering_rule(ref_to(path, view))
    kept = dcmread(copy)
    assert not {"PatientName", "PatientID", "StudyDate", "InstitutionName"} & {e.keyword for e in kept.iterall()}
    for secret in (*make.MARKERS.values(), "ZZ", "FrameComments"):
        assert secret.encode() not in copy.read_bytes() or name != "made"
    assert without_personal_fields(b"\x89PNG and so on") == b"\x89PNG and so on"
