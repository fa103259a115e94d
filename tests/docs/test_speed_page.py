"""docs/speed.md and its plot are what the committed results make."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plot_prefix", ROOT / "benchmarks" / "plot_prefix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_and_its_plot_are_those_of_the_results(maker: ModuleType) -> None:
    written = maker.PAGE.read_text(encoding="utf-8")
    assert written == maker.page(written), "run: python benchmarks/plot_prefix.py"
    assert maker.PLOT.read_text(encoding="utf-8") == maker.plot(maker.read("prefix-cpu")), "run: the same"


def test_a_bar_is_as_high_as_its_number(maker: ModuleType) -> None:
    result = maker.read("prefix-cpu")
    tree = ElementTree.fromstring(maker.plot(result))
    name = "{http://www.w3.org/2000/svg}"
    bars = [r for r in tree.iter(f"{name}rect") if r.get("width") == str(maker.BAR)]
    speeds = [m["samples_per_second"] for w in result["workloads"].values() for m in maker.modes(w).values()]
    assert len(bars) == len(speeds) == 3 * len(result["workloads"])
    scale = float(bars[-1].get("height", "nan")) / speeds[-1]
    for bar, speed in zip(bars, speeds, strict=True):
        assert float(bar.get("height", "nan")) == pytest.approx(scale * speed, abs=0.5)
        assert float(bar.get("y", "nan")) + float(bar.get("height", "nan")) == pytest.approx(
            maker.HEIGHT - maker.BOTTOM
        )


def test_the_page_has_the_ratios_of_two_prompts_in_one_pass_and_they_are_large_enough(maker: ModuleType) -> None:
    result = maker.read("prompt-variants-cpu")
    ratios = result["ratios"]
    assert all(ratios[key] >= least for key, least in result["target"].items())
    assert result["answers"]["other_than_apart"] == 0 and result["answers"]["different_texts"] > 10
    page = maker.PAGE.read_text(encoding="utf-8")
    for key in result["target"]:
        assert f"{ratios[key]:.2f} ×" in page
