"""Risk-coverage, selective accuracy and calibration against scikit-learn and the published definitions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from evalkit.core.errors import ConfigError
from evalkit.stats import (
    aurc,
    aurc_interval,
    calibration_bins,
    calibration_error,
    calibration_interval,
    excess_aurc,
    risk_curve,
    selected,
)


def drawn(seed: int, n: int = 200, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    confidence = rng.random(n) ** 0.5
    if levels is not None:
        confidence = np.ceil(confidence * levels) / levels
    right = (rng.random(n) < confidence * 0.9).astype(float)
    return confidence, right, [f"i{k // 4}" for k in range(n)]


def published_aurc(confidence: list[float], loss: list[int]) -> Fraction:
    """Geifman et al. 2019: the mean over i of the mean loss of the i most confident answers."""
    order = sorted(range(len(loss)), key=lambda k: -confidence[k])
    risks = [Fraction(sum(loss[k] for k in order[:i]), i) for i in range(1, len(loss) + 1)]
    return sum(risks, Fraction()) / len(risks)


@pytest.mark.parametrize("seed", range(5))
def test_aurc_is_the_published_mean_of_the_risks(seed: int) -> None:
    confidence, right, _ = drawn(seed, 60)
    loss = [int(1 - y) for y in right]
    assert aurc(confidence, loss) == pytest.approx(float(published_aurc(confidence.tolist(), loss)), abs=1e-12)
    best = published_aurc([-float(v) for v in loss], loss)
    assert excess_aurc(confidence, loss) == pytest.approx(aurc(confidence, loss) - float(best), abs=1e-12)


def test_ties_count_as_the_mean_over_their_orders() -> None:
    confidence, loss = [0.9, 0.5, 0.5, 0.5, 0.1], [0, 1, 0, 1, 1]
    tied = [1, 2, 3]
    values = []
    for order in itertools.permutations(tied):
        ranks = {k: 0.5 - 0.01 * place for place, k in enumerate(order)}
        values.append(published_aurc([ranks.get(k, c) for k, c in enumerate(confidence)], loss))
    assert aurc(confidence, loss) == pytest.approx(float(sum(values, Fraction()) / len(values)), abs=1e-12)
    shuffled = [4, 2, 0, 3, 1]
    assert aurc([confidence[k] for k in shuffled], [loss[k] for k in shuffled]) == aurc(confidence, loss)


@pytest.mark.parametrize("levels", [None, 7])
def test_the_curve_gives_the_roc_area_of_scikit_learn(levels: int | None) -> None:
    """AUROC follows from the counts at each threshold, so the curve's points are those of scikit-learn."""
    confidence, right, _ = drawn(3, 300, levels=levels)
    coverage, risk = risk_curve(confidence, 1 - right)
    n, wrong = len(right), coverage * risk * len(right)
    hits = coverage * n - wrong
    area = np.trapezoid(np.append(0, hits / hits[-1]), np.append(0, wrong / wrong[-1]))
    assert area == pytest.approx(roc_auc_score(right, confidence), abs=1e-12)
    assert coverage[-1] == 1 and risk[-1] == pytest.approx(1 - right.mean())


@pytest.mark.parametrize(("seed", "bins", "levels"), [(0, 15, None), (1, 10, None), (2, 10, 10), (4, 1, None)])
def test_bins_and_error_are_those_of_scikit_learn(seed: int, bins: int, levels: int | None) -> None:
    confidence, right, _ = drawn(seed, levels=levels)
    share, mean = calibration_curve(right, confidence, n_bins=bins, strategy="uniform")
    found = calibration_bins(confidence, right, bins)
    assert [b.accuracy for b in found] == pytest.approx(share.tolist(), abs=1e-12)
    assert [b.confidence for b in found] == pytest.approx(mean.tolist(), abs=1e-12)
    weights = np.array([b.n for b in found]) / len(right)
    assert calibration_error(confidence, right, bins) == pytest.approx(float(weights @ np.abs(share - mean)), abs=1e-12)
    assert float(((confidence - right) ** 2).mean()) == pytest.approx(brier_score_loss(right, confidence), abs=1e-12)


def test_selected_answers_are_the_most_confident_with_all_ties() -> None:
    confidence, right = [0.9, 0.8, 0.8, 0.8, 0.2], [1.0, 1.0, 0.0, 1.0, 0.0]
    clusters = ["a", "a", "b", "b", "c"]
    first = selected(confidence, right, clusters, 0.2)
    assert (first.coverage, first.n, first.threshold, first.value) == (0.2, 1, 0.9, 1.0)
    tied = selected(confidence, right, clusters, 0.4)
    assert (tied.coverage, tied.n, tied.threshold, tied.value) == (0.8, 4, 0.8, 0.75)
    assert selected(confidence, right, clusters, 1.0).value == pytest.approx(0.6)
    for wrong in (0.0, 1.1, -1.0):
        with pytest.raises(ConfigError, match="coverage"):
            selected(confidence, right, clusters, wrong)


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "message"),
    [
        ([1.5], [1], 15, "no probability"), ([0.5, -0.1], [1, 0], 15, "no probability"), ([], [], 15, "at least one"),
        ([0.5, 0.4], [1], 15, "2 confidences but 1"), ([0.5], [1], 0, "0 bins"), ([0.5], [1], -1, "-1 bins"),
        ([math.nan], [1], 15, "Numbers"),
    ],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(confidence: Any, right: Any, bins: int, message: str) -> None:
    for measure in (calibration_error, calibration_bins):
        with pytest.raises(ConfigError, match=message):
            measure(confidence, right, bins)
    if len(confidence) > len(right):
        for measure in (aurc, risk_curve):
            with pytest.raises(ConfigError, match=message):
                measure(confidence, right)


def test_intervals_hold_the_value_are_reproducible_and_widen_with_clusters() -> None:
    confidence, right, images = drawn(1)
    alone = list(range(len(right)))
    for interval, value in (
        (aurc_interval(confidence, 1 - right, images), aurc(confidence, 1 - right)),
        (calibration_interval(confidence, right, images), calibration_error(confidence, right)),
    ):
        assert interval.low is not None and interval.high is not None
        assert interval.low <= value <= interval.high and "50 clusters" in interval.method
    assert aurc_interval(confidence, 1 - right, images) == aurc_interval(confidence, 1 - right, images)
    # Every answer four times, as one image: no more is known than from one of each.
    repeated = [np.repeat(x, 4) for x in (confidence, 1 - right)]
    wide = aurc_interval(*repeated, np.repeat(alone, 4).tolist())
    narrow = aurc_interval(*repeated, list(range(4 * len(alone))))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)  # type: ignore[operator]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_few_clusters_have_no_resampled_interval(k: int) -> None:
    confidence, right, _ = drawn(1)
    images = [i % k for i in range(len(right))]
    for found in (aurc_interval(confidence, 1 - right, images), calibration_interval(confidence, right, images)):
        assert (found.low, found.high) == (None, None) and "fewer than 5 clusters" in found.method


@pytest.mark.parametrize("loss", [0.0, 0.5, 1.0])
def test_equal_losses_have_no_interval_of_zero_width(loss: float) -> None:
    found = aurc_interval([0.5, 0.6, 0.7, 0.8, 0.9, 0.9], [loss] * 6, range(6))
    assert (found.low, found.high) == (None, None) and "all values are equal" in found.method


@pytest.mark.slow
def test_the_interval_of_aurc_covers_as_often_as_it_says() -> None:
    confidence, right, _ = drawn(99, 40_000)
    truth = aurc(confidence, 1 - right)
    covered = 0
    for seed in range(60):
        confidence, right, images = drawn(1000 + seed, 160)
        found = aurc_interval(confidence, 1 - right, images)
        covered += found.low <= truth <= found.high  # type: ignore[operator]
    assert 49 <= covered <= 60  # 95 % of 60 is 57; fewer than 49 has a probability of 0.0001
