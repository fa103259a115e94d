"""The interval of a mean of fractions: formulas against matrices and scipy, coverage, edges and order."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.gate_simulation import sizes
from evalkit.stats import ClusterCodes, cluster_standard_error, effective_clusters, mean_interval
from evalkit.stats.fraction_interval import cr2_variance, degrees_of_freedom, exact_bounds, wilson_bounds

SIZES = st.lists(st.integers(1, 12), min_size=2, max_size=12)


def codes(shape) -> ClusterCodes:
    shape = np.asarray(shape)
    return ClusterCodes(np.repeat(np.arange(len(shape)), shape), len(shape))


@st.composite
def hits(draw, fewest=2):
    shape = draw(st.lists(st.integers(1, 12), min_size=fewest, max_size=12))
    return np.array(draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=sum(shape), max_size=sum(shape)))), codes(shape)


def by_matrices(values: np.ndarray, clusters: ClusterCodes) -> tuple[float, float]:
    """CR2 variance and Bell-McCaffrey degrees from the definitions, with every matrix written out."""
    n, k = len(values), clusters.k
    design = np.ones((n, 1))
    bread = np.linalg.inv(design.T @ design)
    residual_maker = np.eye(n) - design @ bread @ design.T
    residuals = residual_maker @ values
    variance, columns = 0.0, []
    for cluster in range(k):
        rows = np.flatnonzero(clusters.code == cluster)
        block = np.eye(len(rows)) - design[rows] @ bread @ design[rows].T
        eigen, vectors = np.linalg.eigh(block)
        adjust = vectors @ np.diag(eigen**-0.5) @ vectors.T
        part = (adjust @ design[rows] @ bread).ravel()
        variance += float(part @ residuals[rows]) ** 2
        columns.append(residual_maker[:, rows] @ part)
    form = np.stack(columns, axis=1)
    eigen = np.linalg.eigvalsh(form.T @ form)
    return variance, float(eigen.sum() ** 2 / (eigen**2).sum())


@given(SIZES, st.integers(0, 2**32 - 1))
def test_variance_and_degrees_are_those_of_the_matrices(shape, seed):
    values, clusters = np.random.default_rng(seed).random(sum(shape)), codes(shape)
    variance, degrees = by_matrices(values, clusters)
    residuals = np.bincount(clusters.code, weights=values - values.mean())
    assert cr2_variance(residuals, np.array(shape)) == pytest.approx(variance, rel=1e-9, abs=1e-18)
    assert degrees_of_freedom(np.array(shape)) == pytest.approx(degrees, rel=1e-9)


def test_equal_clusters_have_k_minus_1_degrees_and_the_robust_error():
    """The robust error itself is statsmodels' (`test_intervals`)."""
    shape, values = np.full(25, 4), np.random.default_rng(0).random(100)
    clusters = codes(shape)
    residuals = np.bincount(clusters.code, weights=values - values.mean())
    assert math.sqrt(cr2_variance(residuals, shape)) == pytest.approx(cluster_standard_error(values, clusters))
    assert degrees_of_freedom(shape) == pytest.approx(24)
    assert effective_clusters(shape) == 25


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 7), (7, 7), (3, 19), (448, 451)])
def test_exact_and_wilson_are_scipy(count, n):
    from scipy.stats import binomtest

    for method, found in (
        ("exact", exact_bounds(count / n, n, 0.95)),
        ("wilson", wilson_bounds(count / n, n, 1.959963984540054)),
    ):
        expected = binomtest(count, n).proportion_ci(method=method)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("task", ["vqa-rad", "slake", "path-vqa"])
def test_the_bounds_follow_the_number_right_up_to_the_edge(task):
    """A wrong answer makes no lower bound better, as it did: [96.2, 100] for all right, [99.7, 100] for one wrong."""
    clusters = codes(sizes(task))
    n = len(clusters.code)
    order = np.random.default_rng(0).permutation(n)
    for wrong in (order, np.arange(n)):
        found = []
        for count in (0, 1, 2, 3, 5, 10, 20, 50, 100, 200):
            values = np.ones(n)
            values[wrong[:count]] = 0
            found.append(mean_interval(values, clusters))
        lows, highs = [f.low for f in found], [f.high for f in found]
        assert lows == sorted(lows, reverse=True)
        assert highs == sorted(highs, reverse=True)
        assert highs[0] == 1.0


@given(hits())
def test_nothing_beats_all_right_and_nothing_is_worse_than_all_wrong(drawn):
    values, clusters = drawn
    found = mean_interval(values, clusters)
    best, worst = (mean_interval(np.full(len(values), v), clusters) for v in (1.0, 0.0))
    assert worst.low <= found.low <= best.low + 1e-12
    assert worst.high - 1e-12 <= found.high <= best.high


@given(hits())
def test_an_interval_has_width_lies_in_0_to_1_and_mirrors_the_misses(drawn):
    values, clusters = drawn
    found, mirrored = mean_interval(values, clusters), mean_interval(1 - values, clusters)
    assert 0 <= found.low <= values.mean() <= found.high <= 1
    assert found.high - found.low > 1e-3
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@given(st.integers(20, 200), st.data())
def test_more_right_answers_never_lower_a_bound_without_clusters(n, data):
    right = data.draw(st.integers(0, n - 1))
    one, two = (mean_interval([1.0] * k + [0.0] * (n - k), range(n)) for k in (right, right + 1))
    assert one.low <= two.low + 1e-12
    assert one.high <= two.high + 1e-12


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        ([1.0, 0.0, 1.0, 0.0], "aabb"),
        ([0.5, 0.5], "ab"),
        ([0.5, 0.5, 0.5], "abc"),
        ([1e-231] * 6, "aabbcc"),
        ([1e-231, 0.0] * 30, [k // 2 for k in range(60)]),
        ([0.4, 0.6] * 200, [k // 2 for k in range(400)]),
        ([0.5] * 40, [k // 2 for k in range(40)]),
        ([0.0, 1.0] * 300, [k // 2 for k in range(600)]),
    ],
)
def test_no_interval_has_zero_width(values, clusters):
    found = mean_interval(values, clusters)
    assert found.high - found.low > 0.01
    assert 0 <= found.low <= np.mean(values) * (1 + 1e-12) <= found.high <= 1


def test_numbers_without_a_scale_that_are_all_equal_have_no_bounds():
    found = mean_interval([40.0] * 6, "aabbcc", bounded=False)
    assert (found.low, found.high) == (None, None)
    assert found.method == "undefined: all values are equal"


@given(st.lists(st.floats(0, 1), min_size=12, max_size=60), st.integers(5, 9))
def test_graded_scores_have_bounds_around_their_mean(values, k):
    found = mean_interval(values, [i % k for i in range(len(values))])
    assume(found.low is not None)
    assert 0 <= found.low <= math.fsum(values) / len(values) + 1e-9
    assert math.fsum(values) / len(values) - 1e-9 <= found.high <= 1
    assert found.high > found.low


def test_few_dominant_clusters_are_counted_as_few():
    """17 videos hold 86 % of the rows: 677 clusters are worth 23."""
    shape = [248] * 17 + [1] * 660
    found = mean_interval(np.ones(sum(shape)), codes(shape))
    assert found.effective == pytest.approx(22.7, abs=0.1)
    assert found.low == pytest.approx(0.025 ** (1 / found.effective))
    assert degrees_of_freedom(np.array(shape)) < 23


# Cells in which earlier versions covered 56 to 93 %: four standard errors of 500 sets are 4 points.
@pytest.mark.parametrize(
    ("name", "accuracy", "icc"),
    [("SLAKE", 0.99, 0.3), ("VQA-RAD", 0.97, 0.3), ("ColonINST REG seen", 0.97, 0.3), ("5 images x 10", 0.9, 0.3),
     ("12 images, uneven", 0.8, 0.3), ("10 images x 1", 0.99, 0.0), ("2 images x 5", 0.9, 0.1)],
)  # fmt: skip
def test_the_interval_covers(name, accuracy, icc):
    from benchmarks.interval_coverage import simulate

    found = simulate(name, accuracy, icc, 500, seed=1)
    assert found["covered"] >= 92.0
    assert found["narrowest"] > 0


@given(hits(), st.booleans())
def test_the_totals_of_clusters_give_the_interval_of_the_rows(drawn, graded):
    """The simulations use the totals alone."""
    from evalkit.stats.fraction_interval import ClusteredFractions, bounds_of

    values, clusters = drawn
    values = values / 2 if graded else values
    found = mean_interval(values, clusters)
    totals = np.bincount(clusters.code, weights=values)
    made = ClusteredFractions(
        totals=totals, sizes=np.bincount(clusters.code), squares=float(((values - values.mean()) ** 2).sum()),
        lowest=values.min(), highest=values.max(), hits=set(values.tolist()) <= {0.0, 1.0},
    )  # fmt: skip
    low, high = bounds_of(made, 0.95).low, bounds_of(made, 0.95).high
    assert (low, high) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize("name", ["slake", "vqa-rad"])
def test_one_more_wrong_answer_hardly_raises_a_bound(name) -> None:
    """Image after image; the variance falls when an image becomes all wrong, so that a bound may rise by a little."""
    image = np.repeat(np.arange(len(sizes(name))), sizes(name))
    values, bounds = np.ones(len(image)), []
    for wrong in range(len(image)):
        found = mean_interval(values, image)
        assert 0 <= found.low <= values.mean() <= found.high <= 1
        bounds.append((found.low, found.high))
        values[wrong] = 0.0
    assert np.diff(bounds, axis=0).max() < 0.003
