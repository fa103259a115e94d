"""Numbers of the examples in docs/statistics.md, computed again from what makes their files."""

import numpy as np
import pytest

from benchmarks.gate_simulation import sizes
from benchmarks.statistics_examples import MODELS, answers, site_rows
from evalkit.stats import mean_interval
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")


def scores(rows: list[dict[str, str]], model: str) -> list[float]:
    return [float(a["answer"] == row["answer"]) for a, row in zip(answers(rows, model), rows, strict=True)]


@pytest.mark.parametrize("wrong", [0, 1])
def test_all_of_slake_right_and_one_wrong(wrong: int) -> None:
    image = np.repeat(np.arange(len(sizes("slake"))), sizes("slake"))
    right = np.ones(len(image))
    right[:wrong] = 0
    found = mean_interval(right, image)
    line = f"exact_match {100 * right.mean():>13.2f}   [{100 * found.low:.2f}, {100 * found.high:.2f}]"
    assert line in PAGE


@pytest.mark.parametrize("site", ["A", "B"])
def test_a_slice_of_twenty_and_one_of_two_images(site: str) -> None:
    rows = site_rows()
    of_site = [(score, row["image"]) for score, row in zip(scores(rows, "x"), rows, strict=True) if row["site"] == site]
    values, images = zip(*of_site, strict=True)
    found = mean_interval(values, images)
    line = (
        f"site={site}  {np.mean(values):.3f}  {found.low:.3f}  {found.high:.3f}  {len(values):3}  {len(set(images)):10}"
    )
    assert line in PAGE


def test_the_differences_of_the_two_models_within_the_sites() -> None:
    rows = site_rows()
    for site in "AB":
        x, y = ([s for s, row in zip(scores(rows, m), rows, strict=True) if row["site"] == site] for m in "xy")
        better, worse = sum(b > a for a, b in zip(x, y, strict=True)), sum(b < a for a, b in zip(x, y, strict=True))
        line = next(line for line in PAGE.splitlines() if line.startswith(f"  site={site}  "))
        assert f"{100 * (np.mean(y) - np.mean(x)):+.2f} " in line
        assert line.endswith(f"worse {worse}, better {better} of {len(x)}")


def test_equal_models_are_right_as_often_and_differ_in_their_answers() -> None:
    rows = [{"id": f"{k}-{q}", "image": str(k), "answer": "Yes"} for k in range(400) for q in range(5)]
    found = np.array([scores(rows, model) for model in MODELS])
    assert found.mean(axis=1) == pytest.approx(0.8, abs=0.04)
    assert len({tuple(row) for row in found}) == len(MODELS)
