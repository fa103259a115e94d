"""Planned powers: closed forms, statsmodels, and a seeded simulation of the real test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.planning import differences
from evalkit.core.errors import ConfigError
from evalkit.stats import (
    Assumptions,
    detectable_difference,
    difference_power,
    equal_clusters,
    group_by_cluster,
    half_width,
    needed_growth,
    pass_power,
    planned_rows,
    restricted_t,
    smallest_joint_margin,
)
from evalkit.stats.intervals import ClusterCodes, t_quantile
from evalkit.stats.planning import correlations, standard_error

BOUND = 0.035
INDEPENDENT = Assumptions(icc=0.0, discordance=0.1)


def test_the_design_effect_and_the_number_of_equal_clusters_are_kishs() -> None:
    rows = planned_rows("all", range(12), [0] * 8 + [1] * 2 + [2] * 2, 3)
    assert rows.design_effect(0.5) == pytest.approx(1 + 0.5 * ((64 + 4 + 4) / 12 - 1))
    assert rows.effective_clusters == pytest.approx(144 / 72)
    assert rows.design_effect(0.0) == 1


def test_half_width_is_that_of_a_t_interval() -> None:
    rows = equal_clusters(400, 40)
    error = math.sqrt(0.8 * 0.2 / 400 * (1 + 0.1 * 9))
    assert half_width(rows, 0.8, 0.1, 0.95) == pytest.approx(t_quantile(0.95, 39) * error)


def test_the_power_of_many_independent_rows_is_the_normal_one() -> None:
    from scipy.special import ndtr

    rows = equal_clusters(4000, 4000)
    effect = 0.015 / math.sqrt(0.1 - 0.015**2)
    expected = float(ndtr(effect * math.sqrt(4000) - 1.959964))
    assert difference_power(rows, INDEPENDENT, 0.015) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("aim", ["difference", "margin"])
@pytest.mark.parametrize("icc", [0.0, 0.2])
def test_a_planned_power_is_that_of_the_real_test(aim: str, icc: float) -> None:
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(100), 4)
    rows, codes = planned_rows("all", range(400), image, 100), ClusterCodes(image, 100)
    given, size = Assumptions(icc=icc, discordance=0.1), 0.04
    null, mean = (0.0, size) if aim == "difference" else (-size, 0.0)
    critical = t_quantile(0.95 if aim == "difference" else 1 - 2 * BOUND, 99)
    drawn = (differences(rng, image, 100, given, mean)[0] for _ in range(300))
    simulated = np.mean([restricted_t(group_by_cluster(row, codes), null) > critical for row in drawn])
    power = difference_power(rows, given, size)
    planned = power if aim == "difference" else pass_power([rows], given, size, BOUND)
    assert planned == pytest.approx(simulated, abs=0.1)


def test_detectable_difference_and_smallest_margin_have_the_power() -> None:
    rows, given = equal_clusters(1000, 200), Assumptions(icc=0.1, discordance=0.1)
    found = detectable_difference(rows, given, 0.8)
    assert found is not None
    assert difference_power(rows, given, found) == pytest.approx(0.8, abs=0.01)
    margin = smallest_joint_margin([rows], given, 0.8, BOUND)
    assert margin is not None
    assert pass_power([rows], given, margin, BOUND) == pytest.approx(0.8, abs=0.01)
    assert detectable_difference(equal_clusters(4, 2), given, 0.8) is None, "no difference shows on two images"


def test_more_images_more_correlation_and_a_real_loss_act_in_their_direction() -> None:
    small, large = equal_clusters(500, 100), equal_clusters(1000, 200)
    given, tied = Assumptions(icc=0.1, discordance=0.1), Assumptions(icc=0.4, discordance=0.1)
    assert difference_power(small, given, 0.03) < difference_power(large, given, 0.03)
    assert difference_power(large, tied, 0.03) < difference_power(large, given, 0.03)
    assert pass_power([large], given, 0.03, BOUND, loss=0.01) < pass_power([large], given, 0.03, BOUND)
    assert pass_power([large], given, 0.02, BOUND, loss=0.02) < 0.05, "a loss as large as the margin passes rarely"


def test_the_joint_power_lies_between_the_product_and_the_smallest() -> None:
    rows, power = equal_clusters(1000, 1000), 0.025
    one = pass_power([rows], INDEPENDENT, power, BOUND)
    apart = pass_power([rows] * 3, INDEPENDENT, power, BOUND)
    assert apart == pytest.approx(one**3, abs=0.002)
    half = pass_power([rows] * 3, Assumptions(icc=0, discordance=0.1, correlation=0.5), power, BOUND)
    assert apart < half < one
    same = pass_power([rows] * 3, Assumptions(icc=0, discordance=0.1, correlation=1.0), power, BOUND)
    assert same == pytest.approx(one, abs=0.002)


def test_metrics_over_other_rows_are_tied_by_their_images_alone() -> None:
    image = np.repeat(np.arange(50), 4)
    closed = planned_rows("closed", range(0, 200, 2), image, 50)
    opened = planned_rows("open", range(1, 200, 2), image, 50)
    free = correlations([closed, opened], Assumptions(icc=0.0, discordance=0.1, correlation=1.0))
    tied = correlations([closed, opened], Assumptions(icc=0.5, discordance=0.1, correlation=1.0))
    assert free[0, 1] == 0
    assert 0.5 < tied[0, 1] < 1


def test_the_images_that_a_power_needs_have_it_and_one_fewer_has_not() -> None:
    rows, given = equal_clusters(200, 50), Assumptions(icc=0.1, discordance=0.1)

    def power(growth: float) -> float:
        return difference_power(rows, given, 0.03, growth=growth)

    growth = needed_growth(power, 0.8, rows.k)
    assert growth is not None
    images = round(growth * 50)
    assert power(images / 50) >= 0.8 > power((images - 1) / 50)
    assert needed_growth(lambda growth: 0.1, 0.8, 50) is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not possible: models differ"):
        difference_power(equal_clusters(100, 10), INDEPENDENT, 0.2)
    for n, k in ((10, 1), (10, 11), (0, 0)):
        with pytest.raises(ConfigError, match="not possible"):
            equal_clusters(n, k)
    with pytest.raises(ConfigError, match="at least two images"):
        planned_rows("a slice", [0, 1], [0, 0, 1], 2)
    assert standard_error(equal_clusters(10, 10), INDEPENDENT, 0.1) > 0
