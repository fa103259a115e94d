"""Slices of NIfTI volumes as 8-bit pictures, through nibabel.

Slices are those of the canonical axes (RAS: to the patient's right, front and head), shown as radiologists see them:
the patient's right at the left side of axial and coronal pictures, the front at the left of sagittal ones; front or
head at the top.  Texts of the header are not passed on.
"""

from __future__ import annotations

import gzip
import io
import logging
import struct
import threading
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.dicom_grey import windowed
from evalkit.core.errors import ConfigError
from evalkit.core.image_files import Unusable, check_size, max_file_bytes, reader_faults
from evalkit.core.image_view import View, Window

if TYPE_CHECKING:
    from PIL.Image import Image

PERCENTILES = (1, 99)
AXES = ("sagittal", "coronal", "axial")
# Free texts of the header of NIfTI-1 and -2: data_type, db_name, descrip, aux_file, intent_name.
_TEXTS = (((4, 32), (148, 252), (328, 344)), ((240, 344), (508, 524)))
_GZIP = b"\x1f\x8b"
_HEADER = 544
_DAMAGED = "it is a damaged NIfTI file"
_FAULTS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
    zlib.error,
)  # fmt: skip
_lock = threading.Lock()


class _Volume(NamedTuple):
    """A volume of one or more time points.

    image: the nibabel image.  axes, flips: for each canonical axis the stored one, and whether it runs the other way.
    ranges: the percentiles of the time points that were asked for.
    """

    image: Any
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    ranges: dict[int, tuple[float, float]]

    @property
    def times(self) -> int:
        return int(self.image.shape[3]) if len(self.image.shape) > 3 else 1

    def slices(self, axis: int) -> int:
        return int(self.image.shape[self.axes[axis]])


def is_nifti(head: bytes) -> bool:
    """Whether a file that starts with `head` is NIfTI-1 or -2 in one file, also compressed by gzip."""
    if head[:2] == _GZIP:
        try:
            head = zlib.decompressobj(31).decompress(head, _HEADER)
        except zlib.error:
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def slice_count(content: bytes, name: str, view: View) -> int:
    """The number of slices along the view's axis."""
    with _lock, reader_faults("nibabel", _FAULTS, _DAMAGED):
        return _volume(content, name).slices(_axis(view))


def rule(content: bytes, name: str, view: View) -> str:
    """The rule by which a slice is shown, in a few words."""
    with _lock, reader_faults("nibabel", _FAULTS, _DAMAGED):
        _place(_volume(content, name), view)
    low, high = PERCENTILES
    window = f"window {view.window} as set" if view.window else f"window from percentile {low} to {high} of the volume"
    return f"NIfTI, {AXES[_axis(view)]} slice in RAS as radiologists see it, {window}"


def render(content: bytes, name: str, view: View) -> Image:
    """One slice as 8-bit grey (PIL mode L).

    Raises:
        ConfigError: nibabel is not installed.
        Unusable: a view that the file does not have, or damage.
    """
    import numpy as np
    from PIL import Image as images

    with _lock, reader_faults("nibabel", _FAULTS, _DAMAGED):
        volume = _volume(content, name)
        values = _slice(volume, view)
        # The two limits as a window of real numbers; a volume of one value is black.
        window = view.window or _window(volume, view.volume or 0)
        exact = windowed(values, window, "LINEAR_EXACT") if window.width > 0 else np.zeros(values.shape)
        return images.fromarray(np.rint(np.nan_to_num(exact, nan=0.0)).astype(np.uint8))


def without_personal_fields(content: bytes) -> bytes:
    """A file with the same values, without the free texts of the header and without its extensions.

    Raises:
        Unusable: it is damaged or over a limit.
    """
    packed = content[:2] == _GZIP
    with reader_faults("nibabel", _FAULTS, _DAMAGED):
        whole = bytearray(_unpacked(content) if packed else content)
        is_two = bytes(whole[4:8]) in (b"n+2\0", b"ni2\0")
        for start, end in _TEXTS[is_two]:
            whole[start:end] = bytes(end - start)
        size = 540 if is_two else 348
        # Little or big endian, as the size of the header tells.
        order = "<" if int.from_bytes(whole[:4], "little") == size else ">"
        place = struct.unpack_from(order + ("q" if is_two else "f"), whole, 168 if is_two else 108)[0]
        end = min(len(whole), max(size + 4, int(place)))
        whole[size:end] = bytes(end - size)
    return gzip.compress(bytes(whole), mtime=0) if packed else bytes(whole)


def _slice(volume: _Volume, view: View) -> Any:
    """Values of a slice, rows from top to bottom; reads no other slice."""
    import numpy as np

    axis = _axis(view)
    number = _place(volume, view)
    at: list[Any] = [slice(None)] * 3
    at[volume.axes[axis]] = volume.slices(axis) - 1 - number if volume.flips[axis] else number
    rest = [view.volume or 0, *([0] * 3)][: max(0, len(volume.image.shape) - 3)]
    values = np.asarray(volume.image.dataobj[(*at, *rest)], dtype=np.float64)
    across, up = (a for a in range(3) if a != axis)
    if volume.axes[across] > volume.axes[up]:
        values = values.T
    # Both picture axes run against the canonical ones: right (or front) to left, and head (or front) to the top.
    values = values if volume.flips[across] else values[::-1]
    values = values if volume.flips[up] else values[:, ::-1]
    return values.T


def _axis(view: View) -> int:
    return 2 if view.axis is None else view.axis


def _place(volume: _Volume, view: View) -> int:
    """The number of the slice, checked."""
    n, axis = volume.slices(_axis(view)), _axis(view)
    if view.frame is not None:
        raise Unusable("frame is a setting of DICOM and of formats with pages; name a slice of this NIfTI file")
    if view.volume is None and volume.times > 1:
        raise Unusable(f"it has {volume.times} volumes; name one, volume=0 to volume={volume.times - 1}")
    if (view.volume or 0) >= volume.times:
        raise Unusable(f"it has {volume.times} volumes, from volume=0, and no volume={view.volume}")
    if view.slice is None and n > 1:
        raise Unusable(f"it has {n} {AXES[axis]} slices; name one, slice=0 to slice={n - 1}")
    if (number := view.slice or 0) >= n:
        raise Unusable(f"it has {n} {AXES[axis]} slices, slice=0 to slice={n - 1}, and no slice={number}")
    return number


@lru_cache(maxsize=1)
def _volume(content: bytes, name: str) -> _Volume:
    """The volume of a file, its size within the limits.  The last one is kept: its slices are asked for in a row."""
    nibabel = _nibabel(name)
    whole = _unpacked(content) if content[:2] == _GZIP else content
    kind = nibabel.Nifti2Image if whole[4:8] in (b"n+2\0", b"ni2\0") else nibabel.Nifti1Image
    if b"ni1\0" in whole[344:348] or b"ni2\0" in whole[4:8]:
        raise Unusable("it is the header of a NIfTI pair (.hdr and .img); convert the two to one .nii file")
    header = kind.header_class.from_fileobj(io.BytesIO(whole))
    shape = tuple(int(n) for n in header.get_data_shape())
    _check(header, shape, len(whole))
    image = kind.from_bytes(whole)
    order = nibabel.io_orientation(image.affine)
    if not (order == order).all():
        raise Unusable("its header states no orientation for one of its axes")
    axes = {int(canonical): (stored, flip < 0) for stored, (canonical, flip) in enumerate(order)}
    return _Volume(image, tuple(axes[k][0] for k in range(3)), tuple(axes[k][1] for k in range(3)), {})


def _check(header: Any, shape: tuple[int, ...], size: int) -> None:
    kind = header.get_data_dtype()
    if len(shape) not in (3, 4, 5) or min(shape) < 1 or any(n > 1 for n in shape[4:]):
        raise Unusable(f"its header states the shape {shape}; expected three axes, or four with time")
    if kind.fields or kind.kind not in "iuf":
        raise Unusable("its values are colours or complex numbers; expected grey values")
    for a, b in ((0, 1), (0, 2), (1, 2)):
        check_size(shape[a], shape[b])
    stated = kind.itemsize
    for n in shape:
        stated *= n
    if (whole := stated + int(header.get_data_offset())) > size:
        raise Unusable(f"it has {size} bytes, its header states {whole}: it is cut off")


def _window(volume: _Volume, time: int) -> Window:
    """The window between the two percentiles of all finite values at one time."""
    import numpy as np

    if time not in volume.ranges:
        data = volume.image.dataobj
        stored = np.asarray(data.get_unscaled())
        values = (stored.reshape(*stored.shape[:3], -1)[..., time] if stored.ndim > 3 else stored).ravel()
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        found = np.percentile(values, PERCENTILES) if values.size else np.zeros(2)
        low, high = sorted(float(v) * float(data.slope) + float(data.inter) for v in found)
        volume.ranges[time] = low, high
    low, high = volume.ranges[time]
    return Window((low + high) / 2, high - low)


def _unpacked(content: bytes) -> bytes:
    """A gzip file's content, of at most the size that an image file may have."""
    most = max_file_bytes()
    unpacker = zlib.decompressobj(31)
    whole = unpacker.decompress(content, most + 1)
    if len(whole) > most:
        raise Unusable(f"it unpacks to more than {most} bytes, the limit")
    if not unpacker.eof:
        raise Unusable("its gzip data are cut off")
    return whole


def _nibabel(name: str) -> Any:
    try:
        import nibabel
    except ImportError as problem:
        raise ConfigError(
            f"{name or 'The image'} is a NIfTI file, and reading it needs nibabel, which is not installed. Run "
            "`python -m pip install 'evalkit-medvqa[dicom]'`, or convert its slices to PNG."
        ) from problem
    logging.getLogger("nibabel.global").disabled = True  # what it mends in a header is not for the terminal
    return nibabel
