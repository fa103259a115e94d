"""Values, labels, levels and margins that have no interval are one paragraph, whichever function gets them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from evalkit.core.errors import ConfigError
from evalkit.stats import (
    aurc,
    calibration_error,
    cluster_standard_error,
    equivalence_p,
    mean_interval,
    paired_interval,
    rank_models,
    restricted_interval,
    sign_flip_p,
    wilson,
)
from evalkit.stats.diagnostic import diagnostic_measures
from evalkit.stats.random_effects import random_effects
from evalkit.stats.selective import aurc_interval

NAN, INF = float("nan"), float("inf")
CLUSTERS = range(6)
OF_VALUES: dict[str, Callable[[Any], Any]] = {
    "mean": lambda v: mean_interval(v, CLUSTERS),
    "unbounded": lambda v: mean_interval(v, CLUSTERS, bounded=False),
    "error": lambda v: cluster_standard_error(v, CLUSTERS),
    "restricted": lambda v: restricted_interval(v, CLUSTERS),
    "paired": lambda v: paired_interval([0.0] * 6, v, CLUSTERS),
    "flips": lambda v: sign_flip_p(v, [0.0] * 6, CLUSTERS),
    "equivalence": lambda v: equivalence_p(v, CLUSTERS, 0.1),
    "ranks": lambda v: rank_models({"a": v, "b": [1.0] * 6}, CLUSTERS, resamples=10),
    "confidence": lambda v: aurc(v, [1.0] * 6),
    "calibration": lambda v: calibration_error([0.5] * 6, v),
    "sets": lambda v: random_effects(v, [0.1] * 6),
    "errors": lambda v: random_effects([0.5] * 6, v),
}
BAD = {
    "nan": [1.0, NAN, 0.0, 1.0, 0.0, 1.0],
    "infinite": [1.0, INF, 0.0, 1.0, 0.0, 1.0],
    "none": [1.0, None, 0.0, 1.0, 0.0, 1.0],
    "texts": ["1", "0", "1", "0", "1", "0"],
    "a text": [1.0, "0", 1.0, 0.0, 1.0, 0.0],
    "objects": np.array([1.0, "0", 1.0, 0.0, 1.0, 0.0], dtype=object),
    "complex": [1j, 0.0, 1.0, 0.0, 1.0, 0.0],
    "rows": np.zeros((6, 2)),
    "uneven": [[1.0], [1.0, 2.0], [], [], [], []],
    "dates": np.array(["2026-01-01"] * 6, dtype="datetime64[D]"),
}


@pytest.mark.parametrize("name", OF_VALUES)
@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_number_is_refused_by_every_function(name: str, bad: str) -> None:
    with pytest.raises(ConfigError) as raised:
        OF_VALUES[name](BAD[bad])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in OF_VALUES if name != "errors"])
def test_numbers_of_other_types_are_numbers(name: str) -> None:
    plain = OF_VALUES[name]([1, 0, 1, 1, 0, 1])
    for values in (
        [True, False, True, True, False, True],
        np.array([1, 0, 1, 1, 0, 1], dtype=np.int8),
        np.array([1, 0, 1, 1, 0, 1], dtype=np.float32),
        [Decimal(1), Decimal(0), Decimal(1), Decimal(1), Decimal(0), Decimal(1)],
        [Fraction(1), Fraction(0), Fraction(1), Fraction(1), Fraction(0), Fraction(1)],
    ):
        assert OF_VALUES[name](values) == plain


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", "b", "c", "c"],
        [None] * 6,
        ["a", NAN, "b", "b", "c", "c"],
        [np.float32("nan"), "a", "b", "b", "c", "c"],
        [np.datetime64("NaT"), "a", "b", "b", "c", "c"],
        [["a"], "a", "b", "b", "c", "c"],
        None,
        5,
    ],
)
def test_missing_and_impossible_labels_are_refused(labels: Any) -> None:
    for function in (mean_interval, restricted_interval, cluster_standard_error):
        with pytest.raises(ConfigError, match="label"):
            function([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], labels)


def test_the_missing_label_of_pandas_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ConfigError, match="missing value"):
        mean_interval([1.0, 0.0], [pandas.NA, "a"])


@pytest.mark.parametrize("level", [0, 1, -1, 2, 95, NAN, INF, "0.95", None, True])
def test_a_level_that_is_no_share_is_refused(level: Any) -> None:
    half, right, unequal = [1.0, 0.0, 1.0, 1.0, 0.5, 1.0], [1.0] * 6, "aabbcc"
    for values in (half, right):
        for clusters in ("abcdef", unequal):
            with pytest.raises(ConfigError, match="level"):
                mean_interval(values, clusters, level)
    with pytest.raises(ConfigError, match="level"):
        restricted_interval(half, CLUSTERS, level)
    with pytest.raises(ConfigError, match="level"):
        wilson(1, 2, level)
    with pytest.raises(ConfigError, match="level"):
        rank_models({"a": half, "b": right}, CLUSTERS, level, resamples=0)
    with pytest.raises(ConfigError, match="level"):
        random_effects([0.5] * 3, [0.1] * 3, level)
    with pytest.raises(ConfigError, match="level"):
        aurc_interval(half, half, CLUSTERS, level)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (2, 1), (-1, 4), (NAN, 3), (1, -1)])
def test_hits_that_are_no_share_are_refused(hits: Any, n: int) -> None:
    with pytest.raises(ConfigError, match="hits of"):
        wilson(hits, n)


@pytest.mark.parametrize("margin", [0, -0.1, NAN])
def test_a_margin_of_equivalence_is_above_0(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin"):
        equivalence_p([0.0, 1.0], "ab", margin)


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, 1.5, NAN])
def test_a_prevalence_is_between_0_and_1(prevalence: float) -> None:
    with pytest.raises(ConfigError, match="prevalence"):
        diagnostic_measures([True, False] * 6, [True, False] * 6, range(12), prevalence)


def test_no_answers_have_no_selective_measure() -> None:
    with pytest.raises(ConfigError, match="at least one answer"):
        aurc([], [])
