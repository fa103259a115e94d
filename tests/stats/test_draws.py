"""Statistics over several answers of a sample, against a computation over every choice of answers."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats.draws import agreement, expected_best, expected_worst, flip_rate, variance_parts, vote

scores = st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), min_size=2, max_size=8)


@given(values=scores, data=st.data())
def test_pass_is_the_mean_over_all_choices(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    chosen = list(itertools.combinations(values, k))
    assert expected_best(values, k) == pytest.approx(fmean(map(max, chosen)), abs=1e-12)
    assert expected_worst(values, k) == pytest.approx(fmean(map(min, chosen)), abs=1e-12)


@pytest.mark.parametrize(("n", "right", "k"), [(8, 0, 4), (8, 8, 8), (8, 3, 2), (200, 7, 64), (1000, 1, 500)])
def test_pass_of_hits_is_the_published_formula(n: int, right: int, k: int) -> None:
    values = [1.0] * right + [0.0] * (n - right)
    random.Random(1).shuffle(values)
    wanted = 1 - Fraction(math.comb(n - right, k), math.comb(n, k))
    assert expected_best(values, k) == pytest.approx(float(wanted), abs=1e-12)
    assert expected_worst(values, k) == pytest.approx(float(Fraction(math.comb(right, k), math.comb(n, k))), abs=1e-12)


@given(answers=st.lists(st.sampled_from("abc"), min_size=2, max_size=9))
def test_votes_agreement_and_flips_are_those_of_counting(answers: list[str]) -> None:
    values = [{"a": 1.0, "b": 0.0, "c": 0.5}[answer] for answer in answers]
    counts = {answer: answers.count(answer) for answer in answers}
    winners = [answer for answer in sorted(counts) if counts[answer] == max(counts.values())]
    assert vote(values, answers) == pytest.approx(fmean({"a": 1.0, "b": 0.0, "c": 0.5}[w] for w in winners), abs=1e-12)
    pairs = list(itertools.combinations(answers, 2))
    assert agreement(answers) == pytest.approx(fmean(x == y for x, y in pairs), abs=1e-12)
    assert flip_rate(values) == pytest.approx(fmean(x != y for x, y in pairs), abs=1e-12)


def test_variance_parts_of_a_balanced_design_are_the_textbooks() -> None:
    values = np.random.default_rng(3).normal(size=(7, 4, 5))  # images, samples, answers
    found = variance_parts(values.tolist())
    within = values.var(axis=2, ddof=1).mean()
    samples = values.mean(axis=2).var(axis=1, ddof=1).mean() - within / 5
    images = values.mean(axis=(1, 2)).var(ddof=1) - values.mean(axis=2).var(axis=1, ddof=1).mean() / 4
    assert found.draws == pytest.approx(within, abs=1e-12)
    assert found.samples == pytest.approx(max(0.0, samples), abs=1e-12)
    assert found.images == pytest.approx(max(0.0, images), abs=1e-12)


def test_variance_parts_find_what_the_scores_were_made_of() -> None:
    dice = np.random.default_rng(0)
    groups = []
    for _ in range(400):
        image = dice.normal(0, 3)
        middles = [image + dice.normal(0, 2) for _ in range(dice.integers(1, 6))]
        groups.append([(middle + dice.normal(0, 1, size=4)).tolist() for middle in middles])
    found = variance_parts(groups)
    assert found.draws == pytest.approx(1, rel=0.1)
    assert found.samples == pytest.approx(4, rel=0.15)
    assert found.images == pytest.approx(9, rel=0.2)


def test_variance_that_cannot_be_known_is_none() -> None:
    assert variance_parts([[[1.0]]]).draws is None
    found = variance_parts([[[1.0, 0.0]], [[0.0, 0.0]]])  # one sample an image
    assert (found.draws, found.samples) == (pytest.approx(0.25), None)
    assert found.images == pytest.approx(max(0.0, variance([0.5, 0.0]) - 0.25 / 2))
    assert variance_parts([[[1.0, 0.0], [1.0, 1.0]]]).images is None
