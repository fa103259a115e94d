"""No interval of width 0, and none without its value, for answers whose deviations cancel within every image."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.judge.correction import corrected_accuracy, weighted_share
from evalkit.judge.prediction_powered import JudgedAnswers, LabelledAnswers, prediction_powered_accuracy
from evalkit.stats import calibration_error, calibration_interval, mean_interval, paired_interval, restricted_interval
from evalkit.stats.corpus_bleu import corpus_bleu
from evalkit.stats.diagnostic import diagnostic_measures
from evalkit.stats.labels import macro_accuracy, macro_f1
from evalkit.stats.selective import aurc, aurc_interval

IMAGES = 6
IMAGE = [k // 4 for k in range(4 * IMAGES)]
# Each image has one row of each kind, so that the deviations of its rows add up to 0.
HALF = [1.0, 0.0, 1.0, 0.0] * IMAGES
LABELS = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")] * IMAGES


def test_means_and_differences_of_images_that_are_alike() -> None:
    points = mean_interval([7.0, 3.0, 7.0, 3.0] * IMAGES, IMAGE, bounded=False)
    paired = paired_interval(HALF, [1 - v for v in HALF], IMAGE)
    tested = restricted_interval([1.0, -1.0, 1.0, -1.0] * IMAGES, IMAGE)
    found = [mean_interval(HALF, IMAGE), macro_accuracy(HALF, LABELS, IMAGE).interval]
    found += [macro_f1(HALF, LABELS, IMAGE).interval, tested]
    assert all(i is not None and i.high - i.low > 0.05 for i in found)
    for interval, value, kinds in ((points, 5.0, 4.0), (paired, 0.0, 2.0)):
        assert interval is not None and interval.low < value < interval.high
        # As wide as that of as many independent rows, with fewer degrees of freedom.
        assert interval.high - interval.low == pytest.approx(2 * 2.5706 * kinds / 2 / 23**0.5, rel=1e-3)


@pytest.mark.parametrize("prevalence", [None, 0.05, 0.999])
def test_measures_of_a_test_that_is_the_same_on_every_image(prevalence: float | None) -> None:
    gold, said = [True, True, False, False] * IMAGES, [True, False, True, False] * IMAGES
    for measure in diagnostic_measures(gold, said, IMAGE, prevalence):
        assert measure.low is not None and measure.low < measure.value < measure.high, measure


def test_labels_that_are_the_same_on_every_image() -> None:
    share = weighted_share(HALF, IMAGE, [1.0, 1.0, 3.0, 3.0] * IMAGES)
    assert share.interval is not None and share.interval.low < 0.5 - 0.1 < 0.5 + 0.1 < share.interval.high
    human, judged = [True, False, True, False] * IMAGES, [True, True, False, False] * IMAGES
    labelled = LabelledAnswers(human, judged, IMAGE, [1.0] * len(IMAGE))
    found = prediction_powered_accuracy(JudgedAnswers(judged, IMAGE), labelled)
    assert found.low is not None and found.low < 0.4 < 0.6 < found.high


@given(
    p=st.floats(0, 1), specificity=st.floats(0.51, 1), sensitivity=st.floats(0.51, 1), n=st.sampled_from([5, 60, 5000])
)
def test_a_corrected_accuracy_has_an_interval_with_a_width_that_holds_it_or_none(
    p: float, specificity: float, sensitivity: float, n: int
) -> None:
    found = corrected_accuracy(p, specificity, sensitivity, n, n, n)
    if found.low is None:
        assert found.why
    else:
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


@pytest.mark.parametrize(("p", "specificity", "sensitivity"), [(1.0, 0.6, 0.7), (0.0, 0.7, 0.6), (0.95, 0.99, 0.8)])
def test_a_share_that_no_accuracy_gives_is_said(p: float, specificity: float, sensitivity: float) -> None:
    found = corrected_accuracy(p, specificity, sensitivity, 5000, 2000, 2000)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "no accuracy gives" in found.why


def test_resampled_intervals_have_a_width_and_hold_their_value_or_are_none() -> None:
    for confidence, right in itertools.product((1.0, 0.9, 0.0), (1.0, 0.0)):
        assert calibration_interval([confidence] * 10, [right] * 10, range(10)).low is None
    # The same error in every image: no resample differs.
    assert calibration_interval([0.5] * 24, HALF, IMAGE).low is None
    confidence = [(k * 7 % 30 + 0.5) / 30 for k in range(30)]
    right = [float(k % 3 > 0) for k in range(30)]
    error, area = calibration_interval(confidence, right, range(30)), aurc_interval(confidence, right, range(30))
    assert error.low <= calibration_error(confidence, right) <= error.high
    assert area.low <= aurc(confidence, right) <= area.high


@pytest.mark.parametrize("images", [2, 3, 4])
def test_no_resamples_of_fewer_than_five_images(images: int) -> None:
    pairs = [("the left lung is clear", "the left lung is " + w) for w in ("clear", "white", "clear", "dark")]
    image = [k % images for k in range(8)]
    found = corpus_bleu([0.0] * 8, pairs * 2, image)
    assert found.value is not None and found.interval is not None
    assert (found.interval.low, found.interval.high) == (None, None)
    assert "fewer than 5" in found.interval.method
    for interval in (calibration_interval, aurc_interval):
        assert interval([0.1 * k for k in range(8)], [1.0, 0.0] * 4, image).low is None


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_all_right_and_all_wrong_are_inside_their_interval(sizes: list[int]) -> None:
    clusters = [k for k, n in enumerate(sizes) for _ in range(n)]
    right, wrong = (mean_interval([v] * len(clusters), clusters) for v in (1.0, 0.0))
    assert right.high == 1.0 and wrong.low == 0.0
    assert right.low < 1.0 and wrong.high > 0.0
