"""Measures of a diagnostic test: worked values, edges, and coverage by a seeded simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.diagnostic import AT, drawn, truth
from evalkit.stats.diagnostic import Measure, counts_of, diagnostic_measures


def measures(tp: int, fn: int, fp: int, tn: int, prevalence: float | None = None) -> dict[str, Measure]:
    """The measures of independent rows with these counts."""
    gold = [True] * (tp + fn) + [False] * (fp + tn)
    said = [True] * tp + [False] * fn + [True] * fp + [False] * tn
    return {m.name: m for m in diagnostic_measures(gold, said, range(len(gold)), prevalence)}


def test_the_values_are_those_of_the_definitions() -> None:
    gold = [True] * 100 + [False] * 200
    said = [True] * 90 + [False] * 10 + [True] * 40 + [False] * 160
    found = measures(90, 10, 40, 160, 0.1)
    assert counts_of(gold, said) == (90, 10, 40, 160)
    assert found["sensitivity"].value == 0.9
    assert found["specificity"].value == 0.8
    assert found["ppv"].value == pytest.approx(90 / 130)
    assert found["npv"].value == pytest.approx(160 / 170)
    assert found["lr_positive"].value == pytest.approx(4.5)
    assert found["lr_negative"].value == pytest.approx(0.125)
    assert found["ppv_at"].value == pytest.approx(0.1 * 0.9 / (0.1 * 0.9 + 0.9 * 0.2))
    assert found["npv_at"].value == pytest.approx(0.9 * 0.8 / (0.9 * 0.8 + 0.1 * 0.1))
    assert found["balanced_accuracy"].value == pytest.approx(0.85)
    assert found["mcc"].value == pytest.approx(np.corrcoef(gold, said)[0, 1])


def test_the_interval_of_a_likelihood_ratio_of_independent_rows_is_the_log_interval() -> None:
    found = measures(90, 10, 40, 160)["lr_positive"]
    error = math.sqrt(1 / 90 - 1 / 100 + 1 / 40 - 1 / 200)
    assert found.low is not None
    assert found.high is not None
    # t with 299 degrees for the normal quantile, and 300/299 on the variance
    assert found.low == pytest.approx(4.5 * math.exp(-1.968 * error), rel=0.002)
    assert found.high == pytest.approx(4.5 * math.exp(1.968 * error), rel=0.002)


def test_every_row_twice_in_one_cluster_gives_the_values_and_intervals_of_single_rows() -> None:
    gold, said = [True] * 40 + [False] * 60, [True] * 33 + [False] * 7 + [True] * 9 + [False] * 51
    once = diagnostic_measures(gold, said, range(100), 0.2)
    twice = diagnostic_measures(gold * 2, said * 2, [*range(100)] * 2, 0.2)
    for a, b in zip(once[5:], twice[5:], strict=True):
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high))


@pytest.mark.parametrize("counts", [(20, 0, 5, 30), (0, 20, 5, 30), (20, 5, 0, 30), (20, 5, 30, 0), (20, 0, 0, 30)])
def test_a_count_of_zero_gives_an_interval_with_width_that_holds_the_value(counts: tuple[int, int, int, int]) -> None:
    for m in measures(*counts, 0.1).values():
        assert m.low is not None, m
        if m.value is None:
            assert "infinite" in m.why
            assert 0 < m.low < math.inf
        else:
            assert m.high is not None
            assert m.low <= m.value <= m.high
            assert m.high - m.low > 1e-3


def test_what_is_undefined_is_said_and_has_no_number() -> None:
    only_yes = measures(5, 5, 0, 0)
    assert only_yes["specificity"].value is None
    assert only_yes["mcc"].why.startswith("needs rows with the reference yes")
    constant = measures(5, 0, 7, 0)
    assert constant["mcc"].value is None
    assert constant["npv"].value is None
    assert constant["balanced_accuracy"].value == 0.5
    one_image = {m.name: m for m in diagnostic_measures([True, False], [True, True], "aa")}
    assert one_image["lr_positive"].low is None
    assert one_image["lr_positive"].why == "undefined: one cluster"
    assert all(m.value is None for m in diagnostic_measures([], [], []))


def test_swapping_yes_and_no_swaps_the_measures() -> None:
    found, other = measures(30, 10, 15, 45), measures(45, 15, 10, 30)
    assert (found["sensitivity"].low, found["ppv"].high) == (other["specificity"].low, other["npv"].high)
    assert found["mcc"].value == pytest.approx(other["mcc"].value)


def test_clustered_intervals_cover() -> None:
    rng, test = np.random.default_rng(3), (0.85, 0.8, 0.4)
    image = np.repeat(np.arange(60), 5)
    true, covered = truth(test), dict.fromkeys(truth(test), 0)
    for _ in range(200):
        gold, said = drawn(rng, image, 60, test, 0.2)
        for m in diagnostic_measures(gold.tolist(), said.tolist(), image.tolist(), AT):
            if m.name in covered:
                covered[m.name] += bool(m.low <= true[m.name] <= m.high)
    assert min(covered.values()) >= 180, covered


def test_an_image_with_most_rows_widens_every_interval() -> None:
    """Eleven images of which one has 90 of 100 rows show hardly more than one does."""
    cells = [(True, True)] * 4 + [(True, False), (False, True)] + [(False, False)] * 4
    gold, said = zip(*cells * 10, strict=True)
    equal = diagnostic_measures(gold, said, [k // 10 for k in range(100)])
    giant = diagnostic_measures(gold, said, [max(0, k - 89) for k in range(100)])
    for even, uneven in zip(equal, giant, strict=True):
        assert even.value == uneven.value
        assert uneven.high - uneven.low > 1.5 * (even.high - even.low), even.name


@pytest.mark.parametrize("images", [2, 3, 4])
def test_functions_of_the_counts_need_five_images(images: int) -> None:
    gold, said = [True, True, False, False] * 6, [True, False, True, False] * 6
    found = {m.name: m for m in diagnostic_measures(gold, said, [k % images for k in range(24)])}
    assert found["mcc"].value is not None and found["mcc"].low is None and "fewer than 5" in found["mcc"].why
    assert found["sensitivity"].low is not None, "exact, with images as units"
