"""The stored pixels of one frame of a DICOM file, checked before they are decoded."""

from __future__ import annotations

import struct
from typing import Any

from evalkit.core.image_files import Unusable, max_pixels
from evalkit.core.image_structure import check_jpeg

# What to install for a compression that pydicom, numpy and Pillow do not read, by the last parts of its UID.
_DECODERS = {
    "4.57": "pylibjpeg pylibjpeg-libjpeg",
    "4.70": "pylibjpeg pylibjpeg-libjpeg",
    "4.80": "pyjpegls",
    "4.81": "pyjpegls",
    "4.90": "pylibjpeg pylibjpeg-openjpeg",
    "4.91": "pylibjpeg pylibjpeg-openjpeg",
    "4.201": "pylibjpeg pylibjpeg-openjpeg",
    "4.202": "pylibjpeg pylibjpeg-openjpeg",
    "4.203": "pylibjpeg pylibjpeg-openjpeg",
    "4.50": "pillow",
    "4.51": "pylibjpeg pylibjpeg-libjpeg",
    "5": "pydicom",
}
_SYNTAXES = "1.2.840.10008.1.2."
# Largest part of a run-length encoded frame that is decoded without counting what it unpacks to.
_UNCOUNTED = 1 << 22
_STARTS_OF_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


def check_pixels(header: Any, frame: int, frames: int) -> None:
    """Check that the pixels of a frame can be decoded, and that they are as large as the header states.

    Raises:
        Unusable: a compression without a decoder, too few pixels, or compressed pixels of another size.
    """
    size = _frame_bytes(header)
    if not header.file_meta.TransferSyntaxUID.is_compressed:
        names = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        pixels = next((value for name in names if (value := header.get(name))), b"")
        if len(pixels) < size * frames - 1:
            raise Unusable(
                f"it has {len(pixels)} bytes of pixels where its header states {size * frames}: it is cut off"
            )
        return
    _check_decoder(header.file_meta.TransferSyntaxUID)
    from pydicom.encaps import get_frame

    offsets: Any = None
    if "ExtendedOffsetTable" in header and "ExtendedOffsetTableLengths" in header:
        offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    coded = get_frame(header.PixelData, frame, number_of_frames=frames, extended_offsets=offsets)
    if str(header.file_meta.TransferSyntaxUID) == _SYNTAXES + "5":
        if len(coded) > _UNCOUNTED and _unpacked(coded) > 2 * size + (1 << 16):
            raise Unusable("its run-length encoded pixels unpack to more than its header states")
    elif _coded_size(coded) != (int(header.Columns), int(header.Rows)):
        raise Unusable("its compressed pixels have another size than its header states, or are damaged")
    elif coded.startswith(b"\xff\xd8"):
        try:
            check_jpeg(coded, max_pixels())
        except ValueError as problem:
            raise Unusable(str(problem)) from None


def decoded(header: Any, frame: int) -> Any:
    """The pixels of a frame, (rows, columns) or (rows, columns, 3); YBR is converted to RGB."""
    from pydicom.pixels import pixel_array

    syntax = header.file_meta.TransferSyntaxUID
    try:
        return pixel_array(header, index=frame)
    except RuntimeError as problem:
        if not syntax.is_compressed:
            raise
        raise Unusable(
            f"its pixels ({_name(syntax)}, {int(header.BitsStored)} bits) are damaged, or of a kind that the decoder "
            f"that is installed does not read ({type(problem).__name__}); {_advice(syntax)}"
        ) from None


def _check_decoder(syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Unusable(f"its pixels are compressed as {_name(syntax)}, which needs another decoder: {_advice(syntax)}")


def _name(syntax: Any) -> str:
    return f"{syntax.name.split(',')[0]}, {syntax}" if syntax.is_transfer_syntax else "an unknown transfer syntax"


def _advice(syntax: Any) -> str:
    packages = _DECODERS.get(str(syntax).removeprefix(_SYNTAXES))
    install = f"run `python -m pip install {packages}`, or " if packages else ""
    return f"{install}convert the file to Explicit VR Little Endian (for example with gdcmconv --raw)"


def _frame_bytes(header: Any) -> int:
    """Bytes of an uncompressed frame; 4:2:2 colours have two channels a pixel."""
    bits = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated)
    samples = int(header.get("SamplesPerPixel") or 1)
    is_422 = header.get("PhotometricInterpretation") == "YBR_FULL_422" and samples == 3
    return bits * (2 if is_422 and not header.file_meta.TransferSyntaxUID.is_compressed else samples) // 8


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None where there is none."""
    at = coded.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at >= 0 and at + 24 <= len(coded):
        right, bottom, left, top = struct.unpack_from(">4I", coded, at + 8)
        return right - left, bottom - top
    at = 2
    while coded[:2] == b"\xff\xd8" and coded[at : at + 1] == b"\xff" and at + 9 <= len(coded):
        marker = coded[at + 1]
        if marker in _STARTS_OF_FRAMES:
            height, width = struct.unpack_from(">HH", coded, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    return None


def _unpacked(coded: bytes) -> int:
    """Bytes to which a run-length encoded frame unpacks, its header of 64 bytes included in the input."""
    total, at = 0, 64
    while at < len(coded):
        count = coded[at]
        total += count + 1 if count < 128 else 257 - count if count > 128 else 0
        at += count + 2 if count < 128 else 2 if count > 128 else 1
    return total
