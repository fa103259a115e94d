"""Predictions held as columns are the predictions that were put in."""

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.types import OptionScore, Prediction

TEXTS = st.one_of(st.sampled_from(["", "yes", "no", "a" * 199, "b" * 201, "\ud800", "Röntgen\n"]), st.text(max_size=9))
OPTIONS = st.builds(OptionScore, text=TEXTS, logprob=st.floats(max_value=0, min_value=-1e6), n_tokens=st.integers(1, 9))


@st.composite
def predictions(draw: Any) -> Prediction:
    fields = {
        "finish_reason": draw(st.sampled_from(["stop", "length", "error", "unknown"])),
        "n_tokens": draw(st.none() | st.integers(0, 5)),
        "seconds": draw(st.none() | st.floats(0, 1e6)),
        "fingerprint": draw(st.sampled_from(["", "ab" * 32, "AB" * 32, "zz" * 32, "ab" * 31, " " * 64, "0" * 64])),
        "attempts": draw(st.sampled_from([(), ("503", "200")])),
        "reasoning": draw(TEXTS),
        "raw": draw(st.none() | TEXTS),
        "options": tuple(draw(st.lists(OPTIONS, max_size=2))),
        "thought_forced": draw(st.booleans()),
        "thought_tokens": draw(st.none() | st.integers(0, 5)),
        "logprob": draw(st.none() | st.floats(max_value=0, min_value=-1e6)),
        ("text" if draw(st.booleans()) else "error"): draw(TEXTS),
    }
    return Prediction(sample_id=draw(st.sampled_from(["1", "x/2", "é"])), **fields)


def test_every_field_of_a_prediction_is_tried() -> None:
    assert {f.name for f in fields(Prediction)} == {
        "sample_id", "text", "error", "finish_reason", "n_tokens", "seconds", "fingerprint", "attempts", "reasoning",
        "raw", "options", "thought_forced", "thought_tokens", "logprob",
    }  # fmt: skip


def test_no_prediction_and_no_place() -> None:
    none = PackedPredictions([])
    assert len(none) == 0
    assert list(none) == []
    assert none.n_missing == 0
    with pytest.raises(IndexError):
        none[0]


def test_a_place_that_is_not_filled_is_named() -> None:
    packed = PackedPredictions(["1", "2"])
    packed[1] = Prediction(sample_id="2", text="CT")
    assert (packed.has(0), packed.has(1), packed.n_missing) == (False, True, 1)
    assert packed[-1].text == "CT"
    with pytest.raises(LookupError, match="'1'"):
        packed[0]
    with pytest.raises(ValueError, match="'3' in the place of sample '1'"):
        packed[0] = Prediction(sample_id="3", text="CT")


@given(st.lists(predictions(), max_size=8))
def test_what_was_put_in_comes_out(made: list[Prediction]) -> None:
    packed = PackedPredictions.of(made)
    assert list(packed) == made
    assert [packed[k] for k in range(len(made))] == made
    assert packed[1:] == made[1:]
    assert packed[::-1] == made[::-1]


@given(st.lists(predictions(), min_size=1, max_size=4), st.data())
def test_the_last_one_put_in_a_place_counts(made: list[Prediction], data: Any) -> None:
    packed = PackedPredictions.of(made)
    new = Prediction(sample_id=made[0].sample_id, text=data.draw(TEXTS))
    packed[0] = new
    assert list(packed) == [new, *made[1:]]


def test_equal_answers_cost_little() -> None:
    import tracemalloc

    ids = [str(k) for k in range(20_000)]
    tracemalloc.start()
    packed = PackedPredictions(ids)
    for k, i in enumerate(ids):
        text = "".join(["y", "es"])  # a new object each
        packed[k] = Prediction(sample_id=i, text=text, finish_reason="stop", n_tokens=1, fingerprint=f"{k:064x}")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(ids) < 80
    assert packed[7].fingerprint == f"{7:064x}"
    assert math.isnan(packed._seconds[7])


@given(st.lists(predictions(), max_size=4))
def test_every_column_has_the_values_of_its_field(given_: list[Prediction]) -> None:
    packed = PackedPredictions.of(given_)
    for name in (*(f.name for f in fields(Prediction)), "failed", "is_cut"):
        assert list(packed.column(name)) == [getattr(p, name) for p in given_], name


def test_a_column_with_a_place_that_is_not_filled_is_refused() -> None:
    with pytest.raises(LookupError, match="'1'"):
        PackedPredictions(["1"]).column("text")
