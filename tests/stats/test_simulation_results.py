"""The committed simulations support what the documentation says."""

import json

import pytest

from benchmarks import (
    diagnostic,
    equal_models,
    interval_coverage,
    judge_correction,
    macro_coverage,
    planning,
    random_effects,
)
from benchmarks.gate_simulation import limits_table
from tests.support.paths import ROOT


def result(name: str):
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_interval_covers_93_percent_and_has_width():
    found = result("interval-coverage")
    assert found["sets"] == 2000
    assert min(cell["covered"] for cell in found["cells"]) == found["lowest_coverage"] >= 93
    assert min(cell["narrowest"] for cell in found["cells"]) > 0
    assert min(cell["before"] for cell in found["cells"]) < 60


def test_macro_averages_cover_93_percent():
    found = result("macro-coverage")
    assert min(cell["covered"] for cell in found["cells"]) == found["lowest_coverage"] >= 93


def test_equal_models_are_told_apart_in_about_5_percent():
    cells = result("equal-models")["cells"]
    assert max(cell["somebody_differs"] for cell in cells) < 0.06
    assert min(cell["all_ranks_hold"] for cell in cells) > 0.94
    assert max(cell["compare_now"] for cell in cells) < 0.06


def test_losses_of_whole_images_and_videos_are_outside_of_the_promise_as_documented():
    found = result("gate-limits")
    cells = [cell for cell in found["cells"] if cell.get("whole")]
    assert {cell["whole"] for cell in cells} == {"images", "videos"}
    page = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
    for what in ("images", "videos"):
        of_it = [cell for cell in cells if cell["whole"] == what]
        assert max(cell["wrong_passes"] for cell in of_it) > 0.05
    assert limits_table(found["cells"]) in page


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (interval_coverage.table, "results/interval-coverage"),
        (macro_coverage.table, "results/macro-coverage"),
        (equal_models.table, "results/equal-models"),
        (planning.table, "planning"),
        (diagnostic.table, "diagnostic"),
        (judge_correction.table, "judge_correction"),
        (judge_correction.kappa_table, "judge_correction"),
        (random_effects.table, "random_effects"),
    ],
)
def test_each_table_of_the_page_is_the_one_that_its_script_prints(table, name):
    found = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    assert table(found) in (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
