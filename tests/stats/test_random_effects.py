"""Random effects over sets against statsmodels' values, label noise, and the parts of protocol and sampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.analysis.disagreement.components import components, difference_interval, influences
from evalkit.core.errors import ConfigError
from evalkit.stats import cluster_codes, mean_interval
from evalkit.stats.label_noise import contradictions, true_score
from evalkit.stats.random_effects import random_effects


def test_the_summary_is_that_of_statsmodels() -> None:
    found = random_effects([0.55, 0.78, 0.63, 0.9], [0.03, 0.02, 0.012, 0.04])
    # combine_effects(values, errors ** 2, method_re="chi2", use_t=True) of statsmodels 0.15.0.
    assert found.value == pytest.approx(0.712412, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.467409, 0.957416), abs=1e-6)
    assert found.between**2 == pytest.approx(0.014184686450167976)
    assert found.i2 == pytest.approx(0.9668209096199899)
    assert found.q == pytest.approx(90.41839199447895)


def test_equal_sets_give_the_fixed_effect_and_an_interval_no_narrower_than_theirs() -> None:
    found = random_effects([0.5, 0.52, 0.49], [0.03, 0.02, 0.03])
    assert found.value == pytest.approx(0.508235, abs=1e-6)
    assert found.between == found.i2 == 0
    same = random_effects([0.5] * 3, [0.03] * 3)
    assert same.high - same.low > 2 * 1.96 * 0.03 / 3**0.5
    assert (same.p, same.i2) == (1.0, 0.0)


def test_the_mean_of_sets_is_covered() -> None:
    rng, hits = np.random.default_rng(8), 0
    for _ in range(400):
        errors = rng.uniform(0.01, 0.05, size=5)
        values = 0.6 + 0.08 * rng.standard_normal(5) + errors * rng.standard_normal(5)
        found = random_effects(values.tolist(), errors.tolist())
        hits += found.low <= 0.6 <= found.high
    assert 0.92 <= hits / 400 <= 0.99


@pytest.mark.parametrize(("values", "errors"), [([0.5, 0.6], [0.1, 0.1]), ([0.5] * 3, [0.1, 0.1, 0.0]), ([], [])])
def test_too_few_sets_and_no_error_are_refused(values: list[float], errors: list[float]) -> None:
    with pytest.raises(ConfigError, match="at least 3 values"):
        random_effects(values, errors)


def test_the_true_score_of_drawn_wrong_references_is_found() -> None:
    rng, n, truth, wrong = np.random.default_rng(9), 200_000, 0.8, 0.05
    right, is_wrong = rng.random(n) < truth, rng.random(n) < wrong
    two, several = float(np.mean(right != is_wrong)), float(np.mean(right & ~is_wrong))
    assert true_score(two, wrong).two_answers == pytest.approx(truth, abs=0.005)
    assert true_score(several, wrong).open_answers == pytest.approx(truth, abs=0.005)
    for score in (two, several):
        found = true_score(score, wrong)
        assert found.low <= truth <= found.high
    assert true_score(0.99, 0.05).high == 1.0
    assert true_score(0.01, 0.05).low == 0.0
    assert true_score(0.7, 0.03).highest == pytest.approx(0.97)
    assert true_score(0.7, 0) == (0.7, 0.7, 0.7, 0.7, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_no_choice_of_one_answer_a_question_beats_the_share_of_contradictions(rows: list[tuple[int, int]]) -> None:
    found = contradictions([q for q, _ in rows], [r for _, r in rows])
    best = max(sum(r == answers[q] for q, r in rows) for answers in itertools.product(range(3), repeat=4))
    assert found.n - found.unmatched == best
    assert found.share == pytest.approx(1 - best / len(rows) if rows else 0.0)
    assert found.pairs == sum(len({r for q, r in rows if q == k}) > 1 for k in range(4))
    assert found.unmatched <= found.rows <= found.n


@pytest.mark.parametrize("wrong", [-0.1, 0.5, 1.0])
def test_a_share_of_wrong_references_that_says_nothing_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="not possible"):
        true_score(0.5, wrong)


def test_the_interval_of_a_difference_of_protocols_over_the_same_rows_is_the_paired_one() -> None:
    rng = np.random.default_rng(2)
    images = cluster_codes(range(60), [k // 3 for k in range(60)])
    first = [float(v) for v in rng.random(60) < 0.6]
    second = [1 - v if rng.random() < 0.2 else v for v in first]
    gain = float(np.mean(second) - np.mean(first))
    found = difference_interval(influences(first, images), influences(second, images), gain)
    expected = mean_interval(np.subtract(second, first), images, bounded=False)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert difference_interval(influences(first, images), influences(first, images), 0.0) is None


def test_rows_that_only_one_protocol_counts_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    images = cluster_codes(range(100), range(100))
    first: list[float | None] = [float(v) for v in rng.random(100) < 0.5]
    second = [None if k % 2 else v for k, v in enumerate(first)]
    gain = float(np.mean([v for v in second if v is not None]) - np.mean(first))
    found = difference_interval(influences(first, images), influences(second, images), gain)
    assert found is not None
    assert 0.1 < found.high - found.low < 0.3
    assert influences([None] * 100, images) is None


def test_the_protocol_part_is_what_lies_between_protocols_beyond_their_own_noise() -> None:
    rng = np.random.default_rng(4)
    images = cluster_codes(range(400), range(400))
    ability = rng.random(400)
    levels = {name: (ability < share).astype(float).tolist() for name, share in (("a", 0.5), ("b", 0.6), ("c", 0.7))}
    values = {name: float(np.mean(level)) for name, level in levels.items()}
    found = components(values, {name: influences(level, images) for name, level in levels.items()})
    assert found is not None
    assert found.n_protocols == 3
    assert found.protocol == pytest.approx(0.1, abs=0.03)
    assert found.sampling == pytest.approx((0.24 / 400) ** 0.5, abs=0.003)
    noise = {name: [float(v) for v in rng.random(400) < 0.5] for name in "abcdefgh"}
    alone = components(
        {name: float(np.mean(level)) for name, level in noise.items()},
        {name: influences(level, images) for name, level in noise.items()},
    )
    assert alone is not None
    assert alone.protocol < 0.02
    assert components({"a": 0.5}, {"a": influences(levels["a"], images)}) is None
