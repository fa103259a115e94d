"""Made-up DICOM and NIfTI files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# A text for every personal field; none of them may appear in any output.
MARKERS = {
    "PatientName": "ZZNAME^MARKER",
    "PatientID": "ZZPATIENTID",
    "PatientBirthDate": "19010203",
    "PatientAddress": "ZZADDRESS",
    "OtherPatientIDs": "ZZOTHERID",
    "InstitutionName": "ZZINSTITUTION",
    "ReferringPhysicianName": "ZZPHYSICIAN",
    "StudyDate": "19020304",
    "StudyDescription": "ZZSTUDY",
    "AccessionNumber": "ZZACCESSION",
    "StationName": "ZZSTATION",
    "ImageComments": "ZZCOMMENTS",
    "WindowCenterWidthExplanation": "ZZEXPLANATION",
}


def ramp(rows: int = 20, columns: int = 30, low: int = 0, high: int = 4000, dtype: Any = np.uint16) -> Any:
    """Values from low to high, all different as far as they fit, so that a wrong place shows."""
    return np.linspace(low, high, rows * columns).reshape(rows, columns).astype(dtype)


def dataset(pixels: Any, **fields: Any) -> FileDataset:
    """A file with these pixels: (rows, columns), (frames, rows, columns) or (rows, columns, 3), and further fields."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["evalkit"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    if pixels.ndim == 3 and not colour:
        made.NumberOfFrames = pixels.shape[0]
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def item(**fields: Any) -> Dataset:
    made = Dataset()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def encoded(made: FileDataset) -> bytes:
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def write(path: Path, pixels: Any, **fields: Any) -> Path:
    path.write_bytes(encoded(dataset(pixels, **fields)))
    return path


def nifti(values: Any, axes: str = "RAS", **header: Any) -> bytes:
    """A NIfTI-1 file whose stored axes run to these directions of the patient."""
    import nibabel

    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, letter in enumerate(axes):
        world = next(k for k, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[world, stored] = 1 if letter in "RAS" else -1
    image = nibabel.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    return bytes(image.to_bytes())


def nifti_gz(values: Any, axes: str = "RAS", **header: Any) -> bytes:
    return gzip.compress(nifti(values, axes, **header), mtime=0)
