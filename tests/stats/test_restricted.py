"""The restricted statistic: equal to Tango's for independent rows, robust to edge cases and to few losses."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import stdtrit

from evalkit.stats import group_by_cluster, mean_interval, restricted_interval, restricted_t


def rows(better: int, worse: int, n: int) -> list[float]:
    return [1.0] * better + [-1.0] * worse + [0.0] * (n - better - worse)


def tango(better: int, worse: int, n: int, null: float) -> float:
    """The score statistic of Tango (1998), its restricted estimate found by a numerical optimiser."""

    def loss(q: float) -> float:
        terms = ((better, q + null), (worse, q), (n - better - worse, 1 - 2 * q - null))
        return -sum(count * math.log(p) for count, p in terms if count)

    low, high = max(0.0, -null) + 1e-12, (1 - null) / 2 - 1e-12
    q = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)
    return (better - worse - n * null) / math.sqrt(n * (2 * q + null - null * null))


@pytest.mark.parametrize(
    ("better", "worse", "n", "null"),
    [(10, 15, 451, -0.02), (3, 5, 451, -0.04), (0, 5, 451, -0.02), (20, 40, 1000, -0.05), (40, 9, 300, 0.02)],
)
def test_for_independent_rows_it_is_tangos_score_test(better: int, worse: int, n: int, null: float) -> None:
    found = restricted_t(group_by_cluster(rows(better, worse, n), range(n)), null) * math.sqrt(n / (n - 1))
    assert found == pytest.approx(tango(better, worse, n, null), rel=1e-5)


def test_at_a_null_of_zero_it_is_mcnemar_for_independent_rows() -> None:
    found = restricted_t(group_by_cluster(rows(5, 0, 200), range(200)), 0.0) * math.sqrt(200 / 199)
    assert found == pytest.approx(math.sqrt(5))


def test_few_losses_and_no_gains_do_not_look_certain() -> None:
    plain = mean_interval(rows(0, 5, 451), range(451), 0.9, bounded=False)
    found = restricted_interval(rows(0, 5, 451), range(451), 0.9)
    assert plain is not None and plain.low is not None and found is not None and found.low is not None
    assert plain.low > -0.02 > found.low


def test_degenerate_rows() -> None:
    assert restricted_interval([], []) is None
    one = restricted_interval([1.0, 0.0], ["a", "a"])
    assert one is not None and one.low is None and one.high is None
    nothing = restricted_interval([0.0] * 451, [k // 2 for k in range(451)], 0.9)
    assert nothing is not None and nothing.low is not None and nothing.high is not None
    assert nothing.low == pytest.approx(-nothing.high) and -0.01 < nothing.low < 0
    two = restricted_interval([0.0] * 3, "abc", 0.9)
    assert two is not None and (two.low, two.high) == (-1.0, 1.0)
    every = restricted_interval([1.0] * 30, range(30), 0.9)
    assert every is not None and every.high == 1.0 and every.low is not None and 0.8 < every.low < 0.95


@given(st.lists(st.tuples(st.sampled_from([-1.0, -0.25, 0.0, 0.0, 0.0, 0.5, 1.0]), st.integers(0, 9)), min_size=2))
def test_the_interval_contains_the_null_values_that_are_not_rejected(pairs: list[tuple[float, int]]) -> None:
    differences, clusters = [d for d, _ in pairs], [c for _, c in pairs]
    if len(set(clusters)) < 2:
        return
    found = restricted_interval(differences, clusters, 0.9)
    assert found is not None and found.low is not None and found.high is not None
    data = group_by_cluster(differences, clusters)
    assert found.low <= data.mean <= found.high
    critical = stdtrit(data.k - 1, 0.95)
    for bound, sign in ((found.low, 1), (found.high, -1)):
        at = sign * restricted_t(data, bound)
        assert at == pytest.approx(critical, abs=1e-5) or (abs(bound) == data.furthest and at < critical)
    mirrored = restricted_interval([-d for d in differences], clusters, 0.9)
    assert mirrored is not None and mirrored.low == pytest.approx(-found.high, abs=1e-6)


def test_with_many_changes_it_agrees_with_the_plain_clustered_interval() -> None:
    dice = random.Random(4)
    differences = [dice.choice([-1.0, 0.0, 0.0, 0.0, 1.0]) for _ in range(6000)]
    clusters = [k // 8 for k in range(6000)]
    plain, found = (
        mean_interval(differences, clusters, 0.9, bounded=False),
        restricted_interval(differences, clusters, 0.9),
    )
    assert plain is not None and plain.low is not None and found is not None
    assert found.low == pytest.approx(plain.low, abs=2e-4)
