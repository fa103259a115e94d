"""Paired differences and their direction."""

from __future__ import annotations

import pytest

from evalkit.analysis.compare import by_slice, compare, render, render_slices
from evalkit.analysis.paired import aligned, incompatibilities, pair
from evalkit.analysis.run_scores import RunScores
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import MetricKey, Prediction, Sample
from evalkit.scoring.protocols.coloninst import ColonInst
from tests.support.gate_runs import ERROR_RATE, METRIC, run

UNPARSABLE = MetricKey("coloninst", "unparsable_rate")


def errors(values: list[float | None], origin: str = "a") -> RunScores:
    return run(values, origin, ERROR_RATE, higher_is_better=False)


def test_a_higher_error_rate_is_worse_and_the_difference_stays_second_minus_first() -> None:
    found = pair(errors([0.0] * 40), errors([1.0] * 40, "b"), ERROR_RATE, 0.95)
    assert (found.difference, found.gain, found.n_worse, found.n_better) == (1.0, -1.0, 40, 0)
    assert found.p_worse < 0.01


def test_every_number_of_a_higher_is_better_metric_is_oriented_as_it_is() -> None:
    found = pair(run([1.0, 0.0] * 20), run([1.0, 1.0] * 20, "b"), METRIC, 0.95)
    assert (found.gain, found.gain_low) == (found.difference, found.interval.low)
    assert (found.n_worse, found.n_better) == (0, 20)


def test_20_failed_generations_do_not_turn_an_error_rate_of_50_percent_into_0() -> None:
    half = [1.0, 0.0] * 20
    failed: list[float | None] = [None if v == 1.0 else v for v in half]
    found = pair(errors(list(half)), errors(failed, "b"), ERROR_RATE, 0.95)
    assert (found.first, found.second, found.difference) == (0.5, 0.5, 0.0)
    assert (found.n_worse, found.n_better, found.first_unscored, found.second_unscored) == (0, 0, 0, 20)
    assert aligned(errors(failed), errors(failed), ERROR_RATE).first.tolist() == half


def test_compare_says_worse_for_a_higher_error_rate() -> None:
    (comparison,) = compare([errors([0.0] * 40), errors([1.0] * 40, "b")], None)
    text = render([comparison], errors([0.0] * 40), 0)
    assert "worse 40, better 0 of 40, lower is better" in text
    (comparison,) = compare([run([1.0] * 40), run([0.0] * 40, "b")], None)
    text = render([comparison], run([1.0] * 40), 0)
    assert "worse 40, better 0 of 40" in text and "is better" not in text


def test_slices_follow_the_direction() -> None:
    samples = [
        Sample(
            id=str(k),
            image_id=f"i{k // 3}",
            question="?",
            references=("x",),
            tags={"modality": "CT" if k < 20 else "MR"},
        )
        for k in range(40)
    ]
    found = by_slice(errors([0.0] * 40), errors([1.0] * 20 + [0.0] * 20, "b"), [ERROR_RATE], samples)
    assert [(d.slice, d.paired.n_worse, d.paired.n_better) for d in found] == [
        ("modality=CT", 20, 0),
        ("modality=MR", 0, 0),
    ]
    assert render_slices(found).splitlines()[0].endswith("worse 20, better 0 of 20, lower is better")


def test_answers_of_coloninst_that_cannot_be_parsed_are_worse() -> None:
    """unparsable_rate from 0 to 100 %: compare must not say that 40 of 40 samples became better."""
    protocol = ColonInst(
        name="coloninst", version=1, unscored="exclude", task="cls", labels={"cls": ["polyp", "ulcer"]}
    )
    (metric,) = [m for m in protocol.metrics if m.name == "unparsable_rate"]
    assert not metric.higher_is_better
    sample = Sample(
        id="s", image_id="i", question="?", references=("polyp",), choices=("polyp", "ulcer"),
        tags={"answer_type": "CLOSED", "category": "polyp", "task": "cls"},
    )  # fmt: skip
    values: list[float | None] = []
    for text in ("polyp", "zzz qqq"):
        scores = {s.metric: s for s in protocol.score(sample, Prediction(sample_id="s", text=text))}
        values.append(scores["unparsable_rate"].value)
    assert values == [0.0, 1.0]
    first, second = (
        run([v] * 40, origin, UNPARSABLE, higher_is_better=metric.higher_is_better)
        for v, origin in zip(values, "ab", strict=True)
    )
    (comparison,) = compare([first, second], None)
    assert "worse 40, better 0 of 40, lower is better" in render([comparison], first, 0)


def test_runs_that_disagree_on_the_direction_are_not_comparable() -> None:
    opposite = run([1.0] * 9, "b", ERROR_RATE)
    assert incompatibilities(errors([1.0] * 9), opposite, [ERROR_RATE]) == [
        "plugin error_rate: lower is better against higher is better"
    ]
    with pytest.raises(DataError, match="Runs are not comparable: a and b: plugin error_rate"):
        compare([errors([1.0] * 9), opposite], None)


def test_an_invalid_name_of_a_metric_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="expected 'PROTOCOL METRIC'"):
        compare([errors([1.0] * 9), errors([1.0] * 9)], ["error_rate"])


def test_null_is_the_only_score_of_an_unscored_sample() -> None:
    column = run([0.5, None, 1.0]).columns[METRIC]
    assert (column.listed(), column.scored().tolist()) == ([0.5, None, 1.0], [0.5, 1.0])
    with pytest.raises(ValueError, match="score nan"):
        run([0.5, float("nan"), None])
