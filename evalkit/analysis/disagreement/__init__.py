"""The same answers under every protocol, and why two protocols score an answer differently (the lens)."""

from evalkit.analysis.disagreement.causes import CAUSES, OTHER, Causes
from evalkit.analysis.disagreement.features import features_of
from evalkit.analysis.disagreement.matrix import (
    COLUMNS,
    Cell,
    Difference,
    ProtocolComparison,
    compare_protocols,
    spread,
)
from evalkit.analysis.disagreement.output import render, spread_record, to_csv, to_json

__all__ = [
    "CAUSES",
    "COLUMNS",
    "OTHER",
    "Causes",
    "Cell",
    "Difference",
    "ProtocolComparison",
    "compare_protocols",
    "features_of",
    "render",
    "spread",
    "spread_record",
    "to_csv",
    "to_json",
]
