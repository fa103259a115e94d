"""What of a medical file is shown as one picture: a frame or a slice, and the grey values of its window.

The text form stands in `ImageRef.member`: `frame=3;window=40/400`, `slice=12;axis=2`.  Frames, slices, axes and volumes
count from 0.  In an archive or a table it follows the place of the file: `scans/a.dcm::frame=3`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from evalkit.core.types import ImageRef

EXPECTED = "expected settings such as frame=3;window=40/400 or slice=12;axis=2"
_NUMBERS = ("frame", "slice", "axis", "volume")
_STARTS = re.compile(r"(?:frame|slice|axis|volume|window)=")


class Window(NamedTuple):
    """Grey values of width `width` around `center`, from black to white, in the units of the file (HU for CT)."""

    center: float
    width: float

    def __str__(self) -> str:
        return f"{self.center:g}/{self.width:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture of a file; None: the file has one frame, its header or content gives the window.

    frame: of DICOM and of formats with several pages.  slice, axis (of the canonical RAS axes: 0 sagittal, 1 coronal,
    2 axial), volume (of a series in time): of NIfTI.
    """

    frame: int | None = None
    slice: int | None = None
    axis: int | None = None
    volume: int | None = None
    window: Window | None = None

    def __str__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ";".join(f"{name}={value}" for name, value in given if value is not None)


class Placed(NamedTuple):
    """The place of a file inside its archive or table ("" for a file), and its view."""

    member: str
    view: View


def parse_window(text: str) -> Window:
    """The window in CENTER/WIDTH.

    Raises:
        ValueError: another form, or a width that is not above 0.

    >>> parse_window("-600/1500")
    Window(center=-600.0, width=1500.0)
    """
    center, _, width = text.partition("/")
    try:
        window = Window(float(center), float(width))
    except ValueError:
        window = Window(math.nan, math.nan)
    if not (math.isfinite(window.center) and math.isfinite(window.width) and window.width > 0):
        raise ValueError(f"window={text} is not valid; expected CENTER/WIDTH, such as 40/400")
    return window


def parse_view(text: str) -> View:
    """The view in a text such as `frame=3;window=40/400`; "" is the view without settings.

    Raises:
        ValueError: an unknown setting, one given twice, or a value that is not possible.

    >>> str(parse_view("window=40/400; frame=3"))
    'frame=3;window=40/400'
    """
    found: dict[str, int | Window] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, _, value = (p.strip() for p in part.partition("="))
        if name in found or name not in (*_NUMBERS, "window"):
            raise ValueError(f"{part} is {'given twice' if name in found else 'not known'}; {EXPECTED}")
        if name == "window":
            found[name] = parse_window(value)
        elif value.isascii() and value.isdecimal() and len(value) < 10:
            found[name] = int(value)
        else:
            raise ValueError(f"{part} is not valid, {name} is a whole number from 0; {EXPECTED}")
    if found.get("axis", 0) not in (0, 1, 2):
        raise ValueError(f"axis={found['axis']} is not valid; expected 0 (sagittal), 1 (coronal) or 2 (axial)")
    return View(**found)  # type: ignore[arg-type]  # every name has a value of its own type


def placed(ref: ImageRef) -> Placed:
    """The two parts of `ImageRef.member`.

    Raises:
        ValueError: the view is not valid.
    """
    if ref.kind == "file":
        return Placed("", parse_view(ref.member))
    member, mark, view = ref.member.rpartition("::")
    if ref.kind in ("zip", "parquet") and mark and _STARTS.match(view):
        return Placed(member, parse_view(view))
    return Placed(ref.member, View())


def with_view(ref: ImageRef, view: View) -> ImageRef:
    """The reference to another view of the same file."""
    member = placed(ref).member
    return replace(ref, member="::".join(filter(None, (member, str(view)))))
