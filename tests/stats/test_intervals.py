"""Intervals against statsmodels and scipy, and where they are undefined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError
from evalkit.stats import AGGREGATES, ONE_CLUSTER, Interval, cluster_standard_error, exact_sum, mean_interval


def test_no_values_have_no_mean_and_no_interval():
    assert AGGREGATES["mean"]([], []) == (None, None)
    assert mean_interval([], []) is None


def test_one_cluster_has_a_mean_and_no_bounds():
    value, interval = AGGREGATES["mean"]([1.0, 0.0], ["a", "a"])
    assert value == 0.5
    assert interval == Interval(low=None, high=None, method=ONE_CLUSTER)


@pytest.mark.parametrize("hits", [0, 40])
def test_at_0_and_1_the_interval_is_exact(hits):
    from scipy.stats import binomtest

    values = [float(i < hits) for i in range(40)]
    found = mean_interval(values, range(40))
    expected = binomtest(hits, 40).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.method == "exact"


def test_at_0_with_clusters_the_sample_size_is_the_number_of_clusters():
    found = mean_interval([0.0] * 40, [i // 4 for i in range(40)])
    assert found == mean_interval([0.0] * 10, range(10)).__class__(
        low=0.0, high=mean_interval([0.0] * 10, range(10)).high, method="exact, 10 clusters"
    )


def test_unclustered_hits_get_wilson():
    from scipy.stats import binomtest

    found = mean_interval([1.0] * 7 + [0.0] * 13, range(20))
    expected = binomtest(7, 20).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_unclustered_numbers_without_a_scale_get_t():
    from scipy import stats as scipy_stats

    values = [0.2, 0.4, 0.9, 0.5]
    found = mean_interval(values, range(4), 0.9, bounded=False)
    expected = scipy_stats.t.interval(0.9, 3, np.mean(values), scipy_stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-14)
    assert found.method == "t"


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", range(5))
def test_the_clustered_interval_is_statsmodels(seed):
    import statsmodels.api as sm

    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 30, 200)
    values = np.clip(rng.normal(0.5, 0.2, 200) + clusters / 200, 0, 1)
    fit = sm.OLS(values, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = mean_interval(values.tolist(), [f"image {c}" for c in clusters], bounded=False)
    assert cluster_standard_error(values.tolist(), clusters.tolist()) == pytest.approx(fit.bse[0], abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[0]), abs=1e-12)
    assert found.method == f"cluster-robust t, {len(set(clusters.tolist()))} clusters"
    # Where many equal answers are far from both edges, the interval of fractions is nearly the same.
    near = mean_interval(values.tolist(), clusters.tolist())
    assert (near.low, near.high) == pytest.approx((found.low, found.high), abs=0.005)


def test_only_intervals_of_fractions_stay_in_0_to_1():
    values, clusters = [0.0, 1.0, 1.0, 1.0], ["a", "a", "b", "b"]
    assert 0.99 < mean_interval(values, clusters).high < 1.0
    assert mean_interval(values, clusters, bounded=False).high > 1.0
    assert AGGREGATES["unbounded_mean"]([40.0, 60.0, 50.0], "abc")[0] == 50


def test_lengths_that_differ_are_refused():
    with pytest.raises(ConfigError, match="2 values but 1 cluster"):
        mean_interval([1.0, 0.0], ["a"])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_interval_contains_the_mean_and_ignores_order(pairs):
    values, clusters = [p[0] for p in pairs], [p[1] for p in pairs]
    found = mean_interval(values, clusters)
    again = mean_interval(values[::-1], clusters[::-1])
    if found.low is None:
        assert len(set(clusters)) == 1
        return
    centre = math.fsum(values) / len(values)
    assert 0 <= found.low <= centre + 1e-12
    assert centre - 1e-12 <= found.high <= 1
    assert (found.low, found.high, found.method) == (
        pytest.approx(again.low, abs=1e-12), pytest.approx(again.high, abs=1e-12), again.method,
    )  # fmt: skip


@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 3.0]) | st.floats(-1e9, 1e9) | st.integers(-(2**60), 2**60).map(float))
)
def test_an_exact_sum_is_rounded_once(values):
    expected = math.fsum(values)
    assert exact_sum(values) == exact_sum(np.array(values, dtype=float)) == expected
    assert exact_sum(np.array([v > 0 for v in values], dtype=float)) == sum(v > 0 for v in values)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("clusters", ["abc", "aaa"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_value_that_is_no_number_is_refused(value, clusters, bounded):
    with pytest.raises(ConfigError, match="value 1 is"):
        mean_interval([1, value, 0], clusters, bounded=bounded)


@pytest.mark.parametrize("values", [[50, 60, 70], [0.5, 1.01, 0], [0.5, 0, -0.2], [2, 2, 2]])
def test_a_value_outside_0_and_1_has_no_bounded_interval(values):
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        mean_interval(values, "abc")
    assert mean_interval(values, "abc", bounded=False) is not None


def test_rounding_of_sums_is_inside():
    assert mean_interval([1 + 1e-12, -1e-12, 0.5], "abc") is not None


def test_a_missing_cluster_label_is_refused_rather_than_a_cluster_of_its_own():
    with pytest.raises(ConfigError, match="label is NaN"):
        mean_interval([1, 0, 1], ["a", float("nan"), np.float64("nan")])
