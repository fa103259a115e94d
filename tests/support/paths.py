"""Folders that tests read: the checkout, its configuration, the real datasets that some tests need."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "evalkit"
CONF = ROOT / "conf"
SHARED = Path(os.environ.get("EVALKIT_SHARED", ROOT.parent / "shared"))
