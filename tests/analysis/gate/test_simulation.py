"""The gate's error rates: a small simulation, and the committed figures of the large one."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa_rad import VqaRad
from tests.support.paths import ROOT

RESULT = ROOT / "benchmarks" / "results" / "gate-simulation.json"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_simulation", ROOT / "benchmarks" / "gate_simulation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_simulation"] = module
    spec.loader.exec_module(module)
    return module


def test_the_simulated_pairs_have_the_difference_and_the_error_that_theory_takes(simulation: ModuleType) -> None:
    rng = np.random.default_rng(5)
    for graded in (False, True):
        setting = simulation.Setting(task="slake", worse=1, churn=0.1, margin=0.03, icc=0.2, graded=graded)
        means = [float(simulation.changes(rng, setting).mean()) for _ in range(2000)]
        assert np.mean(means) == pytest.approx(-0.03, abs=4 * np.std(means) / 2000**0.5)
        assert np.std(means) == pytest.approx(simulation.standard_error(setting), rel=0.07)


@pytest.mark.slow
@pytest.mark.parametrize(("worse", "least", "most"), [(0, 0.65, 0.95), (1, 0.0, 0.11), (2, 0.0, 0.02)])
def test_pairs_of_the_size_of_vqa_rad_pass_as_often_as_they_should(
    simulation: ModuleType, worse: int, least: float, most: float
) -> None:
    """Bounds that 120 pairs keep: of 120 at a true rate of 5 %, 14 or more pass in less than one case in a hundred."""
    margin = simulation.certifiable("vqa-rad", 0.10, 0.1)
    found = simulation.simulate(
        simulation.Setting(task="vqa-rad", worse=worse, churn=0.10, margin=margin), pairs=120, seed=1
    )
    assert least <= found["pass"] <= most
    assert found["pass"] + found["fail"] + found["inconclusive"] == pytest.approx(1.0)
    assert found["fail"] <= 0.05 if worse == 0 else found["fail"] >= (0.35, 0.9)[worse - 1]


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert result["command"] == "python benchmarks/gate_simulation.py --pairs 2000 --seed 0"
    found: list[dict[str, Any]] = result["cells"]
    return found


def test_the_committed_simulation_has_the_three_sizes_and_truths(cells: list[dict[str, Any]]) -> None:
    sizes = {(c["task"], c["n"], c["images"]) for c in cells}
    assert sizes == {("vqa-rad", 451, 203), ("slake", 1061, 96), ("path-vqa", 6719, 858)}
    for task in ("vqa-rad", "slake", "path-vqa"):
        truths = {round(-c["true_difference"] / c["margin"]) for c in cells if c["task"] == task}
        assert truths == {0, 1, 2}
    assert all(c["pairs"] == 2000 for c in cells)


def test_wrong_passes_are_at_most_one_in_twenty_in_every_setting(cells: list[dict[str, Any]]) -> None:
    wrong = [c["wrong_passes"] for c in cells if c["true_difference"] <= -c["margin"]]
    assert len(wrong) == 27
    assert max(wrong) <= 0.05
    assert all(c["wrong_passes"] <= 0.002 for c in cells if c["true_difference"] <= -2 * c["margin"])


def test_the_documentation_shows_the_committed_figures(simulation: ModuleType, cells: list[dict[str, Any]]) -> None:
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    assert simulation.table(cells) in text
    worst = max(c["wrong_passes"] or 0 for c in cells)
    assert f"at most {100 * worst:.2f} % wrong passes" in text


def test_shares_of_verdicts_are_near_theory(cells: list[dict[str, Any]]) -> None:
    """Where many answers change, the normal approximation holds; where few do, the gate is the more careful one."""
    for cell in cells:
        assert cell["pass"] + cell["fail"] + cell["inconclusive"] == pytest.approx(1.0)
        if cell["churn"] == 0.10 and cell["n"] > 1000 and not cell["graded"]:
            assert cell["pass"] == pytest.approx(cell["theory"]["pass"], abs=0.06)
            assert cell["fail"] == pytest.approx(cell["theory"]["fail"], abs=0.06)


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "kind", "place", "settings"),
    [
        ("vqa-rad", VqaRad, "vqa-rad/osf", {}),
        ("slake", Slake, "slake", {}),
        ("path-vqa", PathVqa, "pathvqa/hf", {"closed_rule": "yesno"}),
    ],
)
def test_the_simulated_clusters_are_those_of_the_released_sets(
    simulation: ModuleType, shared: Path, task: str, kind: Any, place: str, settings: dict[str, str]
) -> None:
    loaded = kind(name=task, path=str(shared / place), **settings).load(images=False)
    found = Counter(Counter(s.image_id for s in loaded.samples).values())
    assert dict(found) == simulation.IMAGES[task]
