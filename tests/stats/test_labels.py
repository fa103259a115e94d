"""Means over classes: what small classes hide, and intervals that cover."""

import numpy as np
import pytest

from benchmarks.macro_coverage import clusters_of, simulate
from evalkit.stats.labels import macro_accuracy, macro_f1, small_class_variance


def hits(*classes: list[float]) -> tuple[list[float], list[tuple[str, str]]]:
    rows = [(value, str(label)) for label, values in enumerate(classes) for value in values]
    return [v for v, _ in rows], [(c, c if v else "other") for v, c in rows]


def test_a_class_without_variance_of_its_own_widens_the_interval():
    """One row, all right: it showed no variance, and weighs as much as the class of a hundred."""
    large = [1.0, 0.0] * 50
    values, labels = hits(large, [1.0])
    alone, alone_labels = hits(large)
    for aggregate in (macro_accuracy, macro_f1):
        found, other = (
            aggregate(v, names, range(len(v))).interval for v, names in ((values, labels), (alone, alone_labels))
        )
        assert found.high - found.low > 2 * (other.high - other.low)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_right_and_all_wrong_are_as_many_clusters_as_the_weights_allow(right):
    values, labels = hits([right] * 100, [right])
    found = macro_accuracy(values, labels, range(101)).interval
    # The one row has half of the weight.
    assert found.effective == pytest.approx(1 / (0.25 + 100 * 0.005**2))
    assert found.high - found.low == pytest.approx(1 - 0.025 ** (1 / found.effective))


def test_the_smoothed_part_is_by_hand():
    """Two classes of two independent rows, one all right and one half right."""
    values, correct = [1.0, 1.0, 1.0, 0.0], ["a", "a", "b", "b"]
    found = small_class_variance(values, correct, np.arange(4), np.ones(4))
    rate_a = (2 + 2 * 0.75) / 4
    # Class b shows 0.5 * 0.5 / 2, more than its smoothed rate of 5/8 has.
    assert found.lacking == pytest.approx(rate_a * (1 - rate_a) / 2 / 4)


@pytest.mark.parametrize(
    ("classes", "rates", "icc", "metric"),
    [("2 to 500", "0.97", 0.1, "macro_accuracy"), ("2 to 500", "0.7", 0.3, "macro_accuracy"),
     ("2 to 500", "0.97", 0.1, "macro_f1")],
)  # fmt: skip
def test_the_interval_over_classes_covers(classes, rates, icc, metric):
    """Earlier versions covered 43 to 60 % of accuracies; 60 sets have a standard error of 3 points."""
    assert simulate(classes, rates, icc, 60, metric)["covered"] >= 88


def test_the_simulated_clusters_are_of_one_class():
    label, cluster = clusters_of((2, 7, 1))
    assert len({(int(a), int(b)) for a, b in zip(label, cluster, strict=True)}) == len(set(cluster.tolist())) == 4
