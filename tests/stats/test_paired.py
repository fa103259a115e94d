"""Paired tests against scipy and statsmodels, and their results if no row differs."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError
from evalkit.stats import (
    design_effect,
    holm,
    paired_interval,
    paired_minimum_detectable_effect,
    rank_models,
    sign_flip_p,
    unpaired_minimum_detectable_effect,
)
from tests.support.other_statistics import bootstrap_interval, mcnemar

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40)


def simulated(seed, n=200, k=60):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, k, n)
    first = (rng.random(n) < 0.6).astype(float)
    second = np.where(rng.random(n) < 0.3, (rng.random(n) < 0.75).astype(float), first)
    return first.tolist(), second.tolist(), clusters.tolist()


def test_if_no_row_differs_the_interval_bounds_the_share_that_may_differ():
    found = paired_interval([1.0, 0.0, 1.0] * 10, [1.0, 0.0, 1.0] * 10, range(30))
    assert found.low == -found.high
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert "no row differs" in found.method
    assert sign_flip_p([1.0], [1.0], ["a"]) == 1.0
    assert paired_interval([], [], []) is None


def test_the_paired_interval_is_statsmodels():
    import statsmodels.api as sm

    first, second, clusters = simulated(0)
    difference = np.subtract(second, first)
    fit = sm.OLS(difference, np.ones(len(first))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = paired_interval(first, second, clusters)
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[0]), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_mcnemar_is_statsmodels_and_its_table_adds_up(pairs):
    from statsmodels.stats.contingency_tables import mcnemar as expected

    first, second = [p[0] for p in pairs], [p[1] for p in pairs]
    found = mcnemar(first, second)
    table = [[found.both, found.only_first], [found.only_second, found.neither]]
    assert sum(map(sum, table)) == len(pairs)
    assert found.both + found.only_first == sum(first)
    if found.only_first + found.only_second:
        assert found.p == pytest.approx(expected(table, exact=True).pvalue, abs=1e-12)
    else:
        assert found.p == 1.0


def test_different_numbers_of_rows_are_refused():
    for test in (lambda a, b: sign_flip_p(a, b, ["x"]), lambda a, b: paired_interval(a, b, ["x"])):
        with pytest.raises(ConfigError, match="same rows"):
            test([1.0], [1.0, 0.0])


def test_few_clusters_are_enumerated_exactly():
    first, second, clusters = [0.0] * 6, [1.0, 1.0, 0.0, 1.0, 0.5, 1.0], ["a", "a", "b", "c", "d", "d"]
    sums = [2.0, 1.0, 1.5]
    observed = sum(sums)
    signs = list(itertools.product([1, -1], repeat=3))
    expected = np.mean([abs(np.dot(sign, sums)) >= observed for sign in signs])
    assert sign_flip_p(first, second, clusters) == expected == 0.25


def test_the_drawn_sign_flip_agrees_with_scipy_where_there_are_no_clusters():
    from scipy.stats import permutation_test

    first, second, _ = simulated(1)
    expected = permutation_test(
        (first, second), lambda a, b: np.mean(b - a), permutation_type="samples", n_resamples=9999, rng=0,
        vectorized=False,
    )  # fmt: skip
    assert sign_flip_p(first, second, range(len(first))) == pytest.approx(expected.pvalue, abs=0.015)


def test_the_bootstrap_agrees_with_scipy_where_there_are_no_clusters():
    from scipy.stats import bootstrap

    values = simulated(2)[1]
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval
    found = bootstrap_interval(values, range(len(values)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_the_bootstrap_draws_whole_clusters():
    values = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 10
    whole = bootstrap_interval(values, [i // 4 for i in range(80)])
    apart = bootstrap_interval(values, range(80))
    assert whole.high - whole.low > 1.7 * (apart.high - apart.low)
    assert design_effect(values, [i // 4 for i in range(80)]) == pytest.approx(4.2, abs=0.1)


def test_a_seed_fixes_the_resamples():
    first, second, clusters = simulated(3)
    assert sign_flip_p(first, second, clusters) == sign_flip_p(first, second, clusters)
    assert bootstrap_interval(first, clusters) == bootstrap_interval(first, clusters)
    assert bootstrap_interval(first, clusters) != bootstrap_interval(first, clusters, seed=1)


@pytest.mark.parametrize("p_values", [[0.5], [0.01, 0.04, 0.03], [0.02, 0.02, 0.9, 0.011], [1.0, 0.0]])
def test_holm_is_statsmodels(p_values):
    from statsmodels.stats.multitest import multipletests

    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_of_no_p_values_is_empty():
    assert holm([]) == []


@pytest.mark.parametrize(
    ("n", "paired", "unpaired", "margin"),
    [(451, (2.9, 4.2, 5.9), 7.5, (2.6, 3.7, 5.2)), (251, (3.9, 5.6, 7.9), 10.0, (3.5, 5.0, 7.0)),
     (1061, (1.9, 2.7, 3.8), 4.9, (1.7, 2.4, 3.4)), (6719, (0.8, 1.1, 1.5), 1.9, (0.7, 1.0, 1.4))],
)  # fmt: skip
def test_the_detectable_effects_of_the_usual_sets(n, paired, unpaired, margin):
    shares = (0.05, 0.1, 0.2)
    assert [100 * paired_minimum_detectable_effect(n, d) for d in shares] == pytest.approx(paired, abs=0.06)
    assert 100 * unpaired_minimum_detectable_effect(n, 0.8) == pytest.approx(unpaired, abs=0.06)
    certified = [100 * paired_minimum_detectable_effect(n, d, sides=1) for d in shares]
    assert certified == pytest.approx(margin, abs=0.06)


def test_a_ranking_marks_models_that_are_not_distinguishable_from_the_best():
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(100), 3).tolist()
    chance = rng.random(300)
    scores = {name: (chance < p).astype(float).tolist() for name, p in (("low", 0.3), ("best", 0.8), ("near", 0.79))}
    ranks = rank_models(scores, clusters)
    assert [(r.name, r.rank, r.tied) for r in ranks] == [("best", 1, True), ("near", 2, True), ("low", 3, False)]
    assert (ranks[2].low, ranks[2].high, ranks[2].p_best) == (3, 3, 0.0)
    assert ranks[0].p_best > ranks[1].p_best
    quick = rank_models(scores, clusters, resamples=0)
    assert all(math.isnan(r.p_best) for r in quick)
    assert [replace(r, p_best=0.0) for r in quick] == [replace(r, p_best=0.0) for r in ranks]


def test_equal_models_share_the_rank_and_smaller_can_be_better():
    same = rank_models({"a": [1.0, 0.0], "b": [1.0, 0.0]}, ["x", "y"])
    assert [(r.rank, r.tied, r.p_best) for r in same] == [(1, True, 1.0)] * 2
    lower = rank_models({"a": [1.0, 1.0], "b": [0.0, 0.0]}, ["x", "y"], higher_is_better=False)
    assert [r.name for r in lower] == ["b", "a"]
    with pytest.raises(ConfigError, match="same rows"):
        rank_models({"a": [1.0], "b": [1.0, 0.0]}, ["x"])
