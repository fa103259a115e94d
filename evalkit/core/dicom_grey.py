"""Grey values of DICOM: modality (rescale) and values of interest (window or table), then 0..255.

The formulas are those of the standard, PS3.3 C.11.2.1.2 (linear and linear exact) and C.11.2.1.3 (sigmoid).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from evalkit.core.image_files import Unusable
from evalkit.core.image_view import View, Window

Shape = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


class GreyRule(NamedTuple):
    """How the grey values of a frame become 0..255.

    modality: "" for stored values.  window: None where a table (`table`) or the range of values decides.  bits: of
    stored values that are shown over their full range, 0 for others.
    """

    modality: str
    bits: int
    inverted: bool
    words: str = ""
    window: Window | None = None
    shape: Shape = "LINEAR"
    table: bool = False

    def __str__(self) -> str:
        parts = (self.modality, self.words, "MONOCHROME1 inverted" if self.inverted else "")
        return ", ".join(filter(None, parts))


def grey_rule(header: Any, view: View) -> GreyRule:
    """The rule of a frame's header (`pydicom.Dataset`): the view's window, else its table, window or range of values.

    Raises:
        Unusable: the header's window is not valid.
    """
    modality = _modality(header)
    is_plain = not modality and int(header.BitsStored) <= 8 and not header.get("PixelRepresentation")
    bits = int(header.BitsStored) if is_plain else 0
    base = GreyRule(modality, bits, header.get("PhotometricInterpretation") == "MONOCHROME1")
    if view.window is not None:
        return base._replace(window=view.window, words=f"window {view.window} as set")
    if tables := len(header.get("VOILUTSequence") or ()):
        return base._replace(table=True, words=f"VOI table of the header{_first_of(tables)}")
    if windows := _windows(header):
        window, shape = windows[0], _shape(header, windows[0])
        how = "" if shape == "LINEAR" else f", {shape.lower().replace('_', ' ')}"
        words = f"window {window} of the header{_first_of(len(windows))}{how}"
        return base._replace(window=window, shape=shape, words=words)
    return base._replace(words=f"full range of {bits} bits" if bits else "range of the frame's values")


def _first_of(n: int) -> str:
    return f" (first of {n})" if n > 1 else ""


def to_grey(values: Any, header: Any, rule: GreyRule) -> Any:
    """Stored values (rows, columns) as uint8."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi

    if rule.table:
        table = header.VOILUTSequence[0]
        real = np.rint(apply_modality_lut(values, header)).astype(np.int64)
        shown = apply_voi(real, header) * (255.0 / ((1 << int(table.LUTDescriptor[2])) - 1))
    else:
        padding = None if rule.window else _padding(values, header)
        real = np.asarray(apply_modality_lut(values, header), dtype=np.float64)
        shown = windowed(real, rule.window, rule.shape) if rule.window else _ranged(real, padding, rule.bits)
    grey = np.rint(np.nan_to_num(shown, nan=0.0).clip(0, 255)).astype(np.uint8)
    return 255 - grey if rule.inverted else grey


def windowed(values: Any, window: Window, shape: Shape = "LINEAR") -> Any:
    """Values under a window, 0..255 before rounding."""
    import numpy as np

    center, width = window
    if shape == "SIGMOID":
        return 255.0 / (1.0 + np.exp((-4.0 / width * (values - center)).clip(-700, 700)))
    if shape == "LINEAR_EXACT" or width < 1:
        return ((values - center) / width + 0.5).clip(0, 1) * 255.0
    if width == 1:
        return np.where(values > center - 0.5, 255.0, 0.0)
    return ((values - (center - 0.5)) / (width - 1.0) + 0.5).clip(0, 1) * 255.0


def _ranged(values: Any, padding: Any, bits: int) -> Any:
    """Values over their full range of bits, else over the range of those that are not padding."""
    import numpy as np

    if bits:
        return values * (255.0 / ((1 << bits) - 1))
    counted = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
    if not counted.any():
        return np.zeros(values.shape)
    low, high = float(values[counted].min()), float(values[counted].max())
    return (values - low) * (255.0 / (high - low)) if high > low else np.zeros(values.shape)


def _padding(values: Any, header: Any) -> Any:
    """Which stored values are padding outside of the picture; None where the header names none."""
    first = header.get("PixelPaddingValue")
    if first is None:
        return None
    last = header.get("PixelPaddingRangeLimit", first)
    low, high = sorted((int(first), int(last)))
    return (values >= low) & (values <= high)


def _modality(header: Any) -> str:
    if header.get("ModalityLUTSequence"):
        return "modality table"
    if "RescaleSlope" not in header or "RescaleIntercept" not in header:
        return ""
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    return "" if (slope, intercept) == (1.0, 0.0) else f"rescale {slope:g}/{intercept:g}"


def _windows(header: Any) -> list[Window]:
    """The windows of a header; several are alternatives, of which viewers show the first."""
    centers, widths = _numbers(header.get("WindowCenter")), _numbers(header.get("WindowWidth"))
    found = [Window(c, w) for c, w in zip(centers, widths, strict=False)]
    if found and not (math.isfinite(found[0].center) and math.isfinite(found[0].width) and found[0].width > 0):
        raise Unusable(f"its header has the window {found[0]}, which is not possible; state one, as in window=40/400")
    return found


def _numbers(values: Any) -> list[float]:
    if values is None or values == "":
        return []
    return (
        [float(v) for v in values] if hasattr(values, "__iter__") and not isinstance(values, str) else [float(values)]
    )


def _shape(header: Any, window: Window) -> Shape:
    stated = str(header.get("VOILUTFunction") or "LINEAR")
    if stated == "LINEAR" and window.width < 1:
        return "LINEAR_EXACT"  # a linear window is at least 1 wide; narrow ones belong to real numbers
    return stated if stated in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else "LINEAR"  # type: ignore[return-value]
