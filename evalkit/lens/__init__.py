"""The same answers under every protocol, side by side, and why two protocols count an answer differently."""

from evalkit.lens.causes import CAUSES, OTHER, Causes
from evalkit.lens.features import row_of
from evalkit.lens.matrix import COLUMNS, Difference, Lens, look, render, spread, spread_record, to_csv, to_json

__all__ = [
    "CAUSES",
    "COLUMNS",
    "OTHER",
    "Causes",
    "Difference",
    "Lens",
    "look",
    "render",
    "row_of",
    "spread",
    "spread_record",
    "to_csv",
    "to_json",
]
