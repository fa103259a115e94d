"""The same answers under every protocol, side by side, and why two protocols count an answer differently."""

from evalkit.analysis.disagreement.causes import CAUSES, OTHER, Causes
from evalkit.analysis.disagreement.features import row_of
from evalkit.analysis.disagreement.matrix import (
    COLUMNS,
    Difference,
    Lens,
    look,
    render,
    spread,
    spread_record,
    to_csv,
    to_json,
)

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
