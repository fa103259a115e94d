"""DICOM files as 8-bit pictures, through pydicom.

Only the header fields in _FIELDS are read.  Names, identifiers, dates and institutions are never parsed, and texts of
pydicom's errors, which quote values, are not passed on.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.dicom_grey import GreyRule, grey_rule, to_grey
from evalkit.core.dicom_pixels import check_pixels, decoded
from evalkit.core.errors import ConfigError
from evalkit.core.image_files import Unusable, check_size, max_file_bytes, reader_faults, taking_turns
from evalkit.core.image_view import View

if TYPE_CHECKING:
    from PIL.Image import Image

_FIELDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
)  # fmt: skip
# Elements inside of those sequences.
_NESTED = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "LUTDescriptor", "LUTData")
# For the order of a series' files; compared and never shown.
_PLACE = ("SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
# Groups with which a file without a preamble may start, in either byte order.
_FIRST_GROUPS = (0x02, 0x08, 0x10, 0x18, 0x20, 0x28)
# pydicom raises nearly every kind of error for damaged files.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
_faults = partial(reader_faults, "pydicom", _FAULTS)


class Opened(NamedTuple):
    """Header with pixels (a `pydicom.Dataset`), and the number of frames."""

    header: Any
    frames: int


def is_dicom(head: bytes, name: str) -> bool:
    """Whether a file that starts with `head` is DICOM: by its mark, or without one by its name and its first group."""
    if head[128:132] == b"DICM":
        return True
    return name.lower().endswith((".dcm", ".dicom")) and sorted(head[:2]) in ([0, group] for group in _FIRST_GROUPS)


def opened(content: bytes, name: str) -> Opened:
    """A file with its size within the limits, its pixels not decoded.

    Raises:
        ConfigError: pydicom is not installed.
        Unusable: it is damaged, without pixels, or over a limit.
    """
    header = _read(content, name, _FIELDS)
    with _faults("its header is damaged"):
        if not any(key in header for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise Unusable("it is a DICOM file without pixels, such as a report or a plan")
        rows, columns = int(header.Rows), int(header.Columns)
        if rows < 1 or columns < 1:
            raise Unusable(f"its header states {columns} x {rows} pixels")
        check_size(columns, rows)
        frames = int(header.get("NumberOfFrames") or 1)
        if frames < 1:
            raise Unusable(f"its header states {frames} frames")
        return Opened(header, frames)


def rule(content: bytes, name: str, view: View) -> str:
    """The rule by which a frame is shown, in a few words; from the header alone."""
    file = opened(content, name)
    header = _of_frame(file, _frame(file, view))
    with _faults("its header is damaged"):
        kind = _photometric(header)
        if kind.startswith("MONOCHROME"):
            return f"DICOM, {grey_rule(header, view)}"
        as_rgb = "RGB" if kind == "RGB" else f"{kind} as RGB"
        colour = "colours of its palette" if kind == "PALETTE COLOR" else as_rgb
        return f"DICOM, {colour}{', window not applied to colour' if view.window else ''}"


def render(content: bytes, name: str, view: View) -> Image:
    """One frame as 8-bit grey or RGB (PIL modes L and RGB).

    Raises:
        ConfigError: pydicom is not installed.
        Unusable: a view that the file does not have, pixels that no installed decoder reads, or damage.
    """
    from PIL import Image as images

    file = opened(content, name)
    frame = _frame(file, view)
    header = _of_frame(file, frame)
    with taking_turns(int(header.Rows) * int(header.Columns)), _faults("its pixels or their header are damaged"):
        kind = _photometric(header)
        grey = grey_rule(header, view) if kind.startswith("MONOCHROME") else None
        check_pixels(file.header, frame, file.frames)
        values = decoded(file.header, frame)
        return images.fromarray(_grey(values, header, grey) if grey else _colours(values, header, kind))


def without_personal_fields(content: bytes, name: str) -> bytes:
    """A file with the same pixels, and of the header only what shows them; for copies that evalkit keeps.

    Raises:
        ConfigError: pydicom is not installed.
        Unusable: it is damaged, without pixels, or over a limit.
    """
    header = opened(content, name).header
    with _faults("its header is damaged"):
        made = _only(header)
        made.file_meta = _pydicom(name).dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
        made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture: any picture
        made.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
        out = io.BytesIO()
        made.save_as(out, enforce_file_format=True)
        return out.getvalue()


def _only(header: Any) -> Any:
    """The elements of a dataset that are named in _FIELDS or _NESTED, also inside of its sequences."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for element in header:
        if element.keyword not in (*_FIELDS, *_NESTED):
            continue
        if element.VR == "SQ":
            made.add_new(element.tag, "SQ", [_only(item) for item in element.value])
        else:
            made.add(element)
    return made


def series_order(contents: Iterable[bytes], names: Sequence[str]) -> list[int]:
    """The order of a series' files: along the normal of their planes, else by instance number.

    contents: read one at a time.

    Raises:
        Unusable: they belong to several series, or state neither position nor number.
    """
    headers = [_read(content, name, _PLACE) for content, name in zip(contents, names, strict=True)]
    with _faults("a header of the series is damaged"):
        if len({str(h.get("SeriesInstanceUID", "")) for h in headers}) > 1:
            raise Unusable("its DICOM files belong to several series; give each series a folder of its own")
        keys = [_distance(h) for h in headers]
        if None in keys or len(set(keys)) < len(keys):
            keys = [None if h.get("InstanceNumber") is None else float(h.InstanceNumber) for h in headers]
        if None in keys or len(set(keys)) < len(keys):
            raise Unusable("its DICOM files state neither different positions nor different instance numbers")
        return sorted(range(len(headers)), key=lambda k: keys[k] or 0.0)


def _distance(header: Any) -> float | None:
    """Position of a plane along its normal in mm; None where the header does not say."""
    import numpy as np

    position, planes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not planes or len(position) != 3 or len(planes) != 6:
        return None
    along, down = np.array(planes[:3], dtype=float), np.array(planes[3:], dtype=float)
    return round(float(np.cross(along, down) @ np.array(position, dtype=float)), 3)


def _frame(file: Opened, view: View) -> int:
    if view.slice is not None or view.axis is not None or view.volume is not None:
        raise Unusable("slice, axis and volume are settings of NIfTI files; name a frame of this DICOM file")
    if view.frame is None and file.frames > 1:
        raise Unusable(f"it has {file.frames} frames; name one, frame=0 to frame={file.frames - 1}")
    if (frame := view.frame or 0) >= file.frames:
        raise Unusable(f"it has {file.frames} frames, frame=0 to frame={file.frames - 1}, and no frame={frame}")
    return frame


def _photometric(header: Any) -> str:
    kind = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if kind not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLOURS):
        raise Unusable("its header states a photometric interpretation that is not supported; convert it to RGB")
    return kind


def _grey(values: Any, header: Any, grey: GreyRule) -> Any:
    if values.ndim != 2:
        raise Unusable("its header states grey values, and its pixels are colours")
    return to_grey(values, header, grey)


def _colours(values: Any, header: Any, kind: str) -> Any:
    """Colours of 8 bits, (rows, columns, 3); deeper ones are scaled by their full range."""
    import numpy as np
    from pydicom.pixels import apply_color_lut

    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, header)[..., :3]
        full = 65535 if values.dtype.itemsize > 1 and int(values.max()) > 255 else 255  # 8 bits in a wider type stay
    else:
        full = (1 << int(header.BitsStored)) - 1
    if values.ndim != 3 or values.shape[2] != 3:
        raise Unusable("its header states colours, and its pixels have another number of channels")
    return values.astype(np.uint8) if full == 255 else np.rint(values * (255.0 / full)).clip(0, 255).astype(np.uint8)


def _of_frame(file: Opened, frame: int) -> Any:
    """The fields of a frame: those of the file, under those that enhanced files state for all frames and for each."""
    from pydicom.dataset import Dataset

    made = Dataset()
    with _faults("its header is damaged"):
        made.update({e.tag: e for e in file.header if e.keyword in _FIELDS and not e.keyword.endswith("PixelData")})
        made.file_meta = file.header.file_meta
        shared = list(file.header.get("SharedFunctionalGroupsSequence") or ())[:1]
        own = list(file.header.get("PerFrameFunctionalGroupsSequence") or ())[frame : frame + 1]
        for group in (*shared, *own):
            for name in _NESTED[:2]:
                for item in list(group.get(name) or ())[:1]:
                    made.update({e.tag: e for e in item if e.keyword in _FIELDS})
    return made


def _read(content: bytes, name: str, fields: Sequence[str]) -> Any:
    """The fields of a file's header, as a `pydicom.Dataset` with its transfer syntax."""
    dicom = _pydicom(name)
    with _faults("it is a DICOM file whose header is damaged"):
        _check_deflated(content)
        header = dicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(fields))
        meta = getattr(header, "file_meta", None)
        if meta is None or not meta.get("TransferSyntaxUID"):
            implicit, little = header.original_encoding
            syntaxes = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1"}
            header.file_meta = dicom.dataset.FileMetaDataset()
            header.file_meta.TransferSyntaxUID = syntaxes.get((implicit, little), "1.2.840.10008.1.2.2")
        return header


def _pydicom(name: str) -> Any:
    """pydicom, which warns of nothing: its warnings quote header fields."""
    try:
        import pydicom
    except ImportError as problem:
        raise ConfigError(
            f"{name or 'The image'} is a DICOM file, and reading it needs pydicom, which is not installed. Run "
            "`python -m pip install 'evalkit-medvqa[dicom]'`, or convert the images to PNG."
        ) from problem
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").propagate = False
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _check_deflated(content: bytes) -> None:
    """Check what a deflated file unpacks to; pydicom unpacks it whole."""
    if _DEFLATED not in content[132:4096]:
        return
    (length,) = struct.unpack_from("<I", content, 140)  # of the rest of group 2, in its first element
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    left, size, most = content[144 + length :], 0, max_file_bytes()
    while left and not unpacker.eof:
        size += len(unpacker.decompress(left, 1 << 20))
        left = unpacker.unconsumed_tail
        if size > most:
            raise Unusable(f"it unpacks to more than {most} bytes, the limit")
