"""The interval of a mean against R's clubSandwich, on the cluster shapes of the data sets.

`cr2_reference.csv` is what `benchmarks/cr2_reference.R` printed; its first line has the versions.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.interval_coverage import SHAPES
from evalkit.stats import ClusterCodes, effective_clusters, mean_interval
from evalkit.stats.fraction_interval import cr2_variance, degrees_of_freedom, outermost_bounds

LINES = Path(__file__).with_name("cr2_reference.csv").read_text(encoding="utf-8").splitlines()
CELLS = list(csv.DictReader(LINES[1:]))


def scores(shape: np.ndarray, kind: str) -> np.ndarray:
    """The scores of the R script: arithmetic on the numbers of the cluster and of the row in it."""
    cluster = np.repeat(np.arange(len(shape)), shape)
    row = np.arange(len(cluster)) - np.repeat(np.cumsum(shape) - shape, shape)
    base = (2 * (cluster * 37 % 101) + (row * 53 + cluster * 29) % 101) // 3
    return base / 100 if kind == "graded" else (base < {"half": 50, "most": 80, "few_wrong": 90}[kind]).astype(float)


def test_the_reference_has_the_shapes_of_the_data_sets():
    assert {"VQA-RAD", "SLAKE", "ColonINST CLS unseen", "ColonINST REG seen"} <= {cell["shape"] for cell in CELLS}
    assert {(int(c["rows"]), int(c["clusters"])) for c in CELLS if c["shape"] == "SLAKE"} == {(1061, 96)}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell['shape']} {cell['kind']}")
def test_variance_degrees_and_interval_are_those_of_clubsandwich(cell):
    shape = SHAPES[cell["shape"]]
    values, clusters = scores(shape, cell["kind"]), np.repeat(np.arange(len(shape)), shape)
    assert values.mean() == pytest.approx(float(cell["mean"]), rel=1e-11)
    residuals = np.bincount(clusters, weights=values - values.mean())
    assert cr2_variance(residuals, shape) == pytest.approx(float(cell["variance"]), rel=1e-10)
    assert degrees_of_freedom(shape) == pytest.approx(float(cell["degrees"]), rel=1e-10)

    found = mean_interval(values, ClusterCodes(clusters, len(shape)))
    low, high = outermost_bounds(values.min(), values.max(), effective_clusters(shape), 0.95)
    expected = min(float(cell["low"]), low), max(float(cell["high"]), high)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_most_cells_are_decided_by_the_formula_that_r_checks():
    """Not by the outer bound, which would make the comparison of the interval empty."""
    inner = 0
    for cell in CELLS:
        low, high = outermost_bounds(0.0, 1.0, effective_clusters(SHAPES[cell["shape"]]), 0.95)
        inner += float(cell["low"]) < low and float(cell["high"]) > high
    assert inner >= len(CELLS) / 2
