"""Images as hospitals have them: DICOM, NIfTI and files of several frames or pages, recognised by their content.

A reference names one picture of such a file by its view (`evalkit.core.image_view`).  `expand_volume` makes references
to evenly spaced slices.  Reading needs the extra `dicom` (pydicom and nibabel); formats of PIL with several pages do
not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evalkit.core import dicom, nifti
from evalkit.core.errors import DataError
from evalkit.core.image_bytes import STORED, stored_bytes, stored_head
from evalkit.core.image_files import Unusable, count_frames, damage
from evalkit.core.image_view import View, placed, with_view
from evalkit.core.types import ImageRef

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["", "DICOM", "NIfTI"]
# Bytes at the start of a file that tell its kind.
HEAD = 4096
# Rules that are counted apart: many files have a window of their own.
MAX_RULES = 100


def kind_of(head: bytes, name: str) -> Kind:
    """The kind of a file that starts with `head`; "" for an ordinary image."""
    if dicom.is_dicom(head, name):
        return "DICOM"
    return "NIfTI" if nifti.is_nifti(head) else ""


def medical_kind(ref: ImageRef) -> Kind:
    """The kind of the file that a reference names; reads its first bytes alone.

    Raises:
        DataError: it cannot be read.
    """
    return kind_of(stored_head(ref, HEAD), file_name(ref)) if ref.kind in STORED else ""


def file_name(ref: ImageRef) -> str:
    """The name of the file itself, for its ending: the path, or the member of an archive."""
    return placed(ref).member if ref.kind == "zip" else ref.path


def is_rendered(content: bytes, ref: ImageRef) -> bool:
    """Whether the picture is made from the file by a rule, so that it is not the file's bytes."""
    return ref.kind in STORED and bool(kind_of(content, file_name(ref)) or placed(ref).view != View())


def render(content: bytes, ref: ImageRef) -> Image:
    """The picture of a DICOM or NIfTI file, as 8-bit grey or RGB.

    Raises:
        ConfigError: the extra `dicom` is not installed.
        ValueError: a view that the file does not have, no decoder for its pixels, or damage.
    """
    name, view = file_name(ref), placed(ref).view
    return dicom.render(content, name, view) if dicom.is_dicom(content, name) else nifti.render(content, name, view)


def without_personal_fields(content: bytes, name: str = "") -> bytes:
    """The bytes of an image file, of DICOM and NIfTI only what shows the pixels; for copies that evalkit keeps.

    Raises:
        ConfigError: the extra `dicom` is not installed.
        ValueError: a medical file that is damaged or over a limit.
    """
    kind = kind_of(content, name)
    if kind == "DICOM":
        return dicom.without_personal_fields(content, name)
    return nifti.without_personal_fields(content) if kind == "NIfTI" else content


def page_of(ref: ImageRef) -> int:
    """The frame or page of an ordinary image file that a reference names.

    Raises:
        Unusable: the view has settings for medical files.
    """
    view = placed(ref).view
    if replace(view, frame=None) != View():
        raise Unusable(f"{view} is for DICOM and NIfTI files, and this is an ordinary image")
    return view.frame or 0


def rendering_rule(ref: ImageRef) -> str:
    """The rule by which a DICOM or NIfTI file becomes a picture, in a few words; "" for ordinary images.

    It has numbers and fixed words of the header alone, so that it can be recorded: `DICOM, rescale 1/-1024, window
    40/400 of the header (first of 2)`.

    Raises:
        ConfigError: the extra `dicom` is not installed.
        DataError: the file cannot be read, or has no such view.
    """
    kind = medical_kind(ref)
    if not kind:
        return ""
    content, name, view = stored_bytes(ref), file_name(ref), placed(ref).view
    with naming(ref):
        return dicom.rule(content, name, view) if kind == "DICOM" else nifti.rule(content, name, view)


def rule_counts(refs: Iterable[ImageRef], workers: int = 4) -> dict[str, int]:
    """The rules of different pictures with the number of pictures, the most frequent first; at most MAX_RULES of them.

    Raises:
        ConfigError, DataError: see `rendering_rule`.
    """
    from concurrent.futures import ThreadPoolExecutor

    stored = list(dict.fromkeys(ref for ref in refs if ref.kind in STORED))
    with ThreadPoolExecutor(workers) as pool:
        found = Counter(rule for rule in pool.map(rendering_rule, stored) if rule)
    kept = dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_RULES])
    rest = found.total() - sum(kept.values())
    return kept | ({f"{len(found) - MAX_RULES} further rules": rest} if rest else {})


def frames(where: str | Path | ImageRef) -> int:
    """The number of pictures in a file: frames of DICOM, slices of NIfTI along the view's axis (axial), pages.

    A folder counts its DICOM files.

    Raises:
        ConfigError: the extra `dicom` is not installed.
        DataError: it cannot be read.
    """
    ref = where if isinstance(where, ImageRef) else ImageRef(kind="file", path=str(where))
    if _is_folder(ref):
        return len(_series(ref))
    content, name = stored_bytes(ref), file_name(ref)
    with naming(ref):
        kind = kind_of(content, name)
        if kind == "DICOM":
            return dicom.opened(content, name).frames
        if kind == "NIfTI":
            return nifti.slice_count(content, name, placed(ref).view)
        return count_frames(content)


def expand_volume(where: str | Path | ImageRef, n_slices: int) -> tuple[ImageRef, ...]:
    """References to `n_slices` evenly spaced pictures of a volume, in order; to all where it has no more.

    The volume of N pictures is cut into `n_slices` equal parts, and the picture in the middle of each is taken: number
    floor((k + 1/2) N / n_slices), so that the ends, which often show nothing, are left out.

    where: a file (DICOM with frames, NIfTI, TIFF pages), a reference whose view says more (window, axis, volume), or a
        folder with the DICOM files of one series, which are put in the order of their positions.

    Raises:
        ValueError: n_slices is below 1.
        ConfigError: the extra `dicom` is not installed.
        DataError: it cannot be read.
    """
    if n_slices < 1:
        raise ValueError(f"{n_slices} slices are not possible; expected 1 or more")
    ref = where if isinstance(where, ImageRef) else ImageRef(kind="file", path=str(where))
    if _is_folder(ref):
        files = _series(ref)
        return tuple(replace(ref, path=str(files[k])) for k in spaced(len(files), n_slices))
    view, total = placed(ref).view, frames(ref)
    if medical_kind(ref) == "NIfTI":
        return tuple(with_view(ref, replace(view, slice=k)) for k in spaced(total, n_slices))
    if total == 1:
        return (ref,)
    return tuple(with_view(ref, replace(view, frame=k)) for k in spaced(total, n_slices))


def spaced(total: int, n: int) -> list[int]:
    """`n` numbers evenly spaced in 0 .. total - 1, or all of them.

    >>> spaced(100, 4), spaced(3, 8)
    ([12, 37, 62, 87], [0, 1, 2])
    """
    return list(range(total)) if n >= total else [(2 * k + 1) * total // (2 * n) for k in range(n)]


def _is_folder(ref: ImageRef) -> bool:
    return ref.kind == "file" and Path(ref.path).is_dir()


def _series(ref: ImageRef) -> list[Path]:
    """The DICOM files of a folder in the order of their positions."""
    files = sorted(p for p in Path(ref.path).iterdir() if p.is_file() and not p.name.startswith("."))
    files = [p for p in files if kind_of(_head(p), p.name) == "DICOM"]
    if not files:
        raise DataError(f"The folder {ref.path} has no DICOM files; expected those of one series.")
    contents = (stored_bytes(replace(ref, path=str(p), member="")) for p in files)
    with naming(ref):
        return [files[k] for k in dicom.series_order(contents, [p.name for p in files])]


def _head(path: Path) -> bytes:
    return stored_head(ImageRef(kind="file", path=str(path)), HEAD)


@contextmanager
def naming(ref: ImageRef) -> Iterator[None]:
    """Turn errors on damaged, truncated or oversized files into a DataError that names the image."""
    try:
        yield
    except damage() as problem:
        reason = str(problem).rstrip(".") or type(problem).__name__
        raise DataError(f"The image {ref} cannot be decoded: {reason}.") from problem
