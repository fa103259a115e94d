"""The committed figures of scoring 127,995 multiple-choice rows."""

from __future__ import annotations

import json

from evalkit.cli.config import options
from tests.support.paths import ROOT


def test_every_reading_of_choices_was_measured_under_60_seconds_and_1_gib() -> None:
    measured = json.loads((ROOT / "benchmarks" / "choice_scoring.json").read_text(encoding="utf-8"))
    assert measured["rows"] == 127_995
    assert set(measured["protocols"]) == {name for name in options("protocol") if name.startswith("choice-")}
    for name, figures in measured["protocols"].items():
        assert figures["wall_seconds"] < 60, name
        assert figures["peak_mib"] < 1024, name
