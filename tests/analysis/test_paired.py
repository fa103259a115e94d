"""Paired differences and their direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.analysis.adjusted import shrunken
from evalkit.analysis.compare import (
    by_slice,
    compare,
    equivalence,
    p_values,
    render,
    render_slices,
    slices_heading,
    slices_of,
)
from evalkit.analysis.paired import aligned, incompatibilities, pair
from evalkit.analysis.run_scores import RunScores
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import MetricKey, Prediction, Sample
from evalkit.scoring.protocols.coloninst import ColonInst
from evalkit.stats import holm, sign_flip_p, sign_flip_p_of_sums
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


def tagged(sizes: dict[str, int]) -> list[Sample]:
    """Rows with the tag `modality`, three of an image."""
    names = [name for name, n in sizes.items() for _ in range(n)]
    return [
        Sample(id=str(k), image_id=f"i{k // 3}", question="?", references=("x",), tags={"modality": name})
        for k, name in enumerate(names)
    ]


def noisy(n: int, seed: int, rate: float = 0.5) -> list[float | None]:
    return [float(v < rate) for v in np.random.default_rng(seed).random(n)]


def test_a_slice_on_fewer_than_five_images_says_so_and_small_ones_are_shrunken() -> None:
    samples = tagged({"CT": 9, "MR": 30, "XR": 261})
    found = by_slice(run(noisy(300, 1)), run(noisy(300, 2), "b"), [METRIC], samples)
    ct, mr, xr = render_slices(found).splitlines()
    assert "too few images (3)" in ct and "q" not in ct.replace("accuracy", "")
    assert "shrunken" in mr and "q=" in mr
    assert "shrunken" not in xr and "q=" in xr
    first, second = (f"{100 * value:.2f}" for value in (found[2].paired.first, found[2].paired.second))
    assert f"{first} ->  {second}" in xr, "both values of a slice are shown"
    centre = found[2].paired.difference
    assert abs(found[1].shrunken - centre) <= abs(found[1].paired.difference - centre) + 1e-9


@pytest.mark.parametrize("tiny", [0.0, 1e-320, 1e-160, 1e-78, 1e-17, 1e-9])
def test_an_error_that_is_nearly_0_is_replaced_as_one_of_0_is(tiny: float) -> None:
    """Sentence BLEU of wrong answers differs with errors of about 1e-156, whose inverse square is no float."""
    known = shrunken([0.1, -0.2, 0.3], [0.1, 0.2, 0.2])
    assert shrunken([0.1, -0.2, 0.3], [0.1, 0.2, tiny]) == known
    assert shrunken([0.1, tiny], [tiny / 1e4, tiny / 1e4]) == [0.1, tiny], "without any known error nothing is drawn"


def test_the_slices_of_all_runs_are_one_family() -> None:
    from scipy.stats import false_discovery_control

    samples, first = tagged({"CT": 60, "MR": 60, "XR": 60}), run(noisy(180, 0))
    others = [run(noisy(180, k), str(k)) for k in (1, 2, 3)]
    found = slices_of(first, others, [METRIC], samples)
    alone = [by_slice(first, other, [METRIC], samples) for other in others]
    parts = [frozenset(s.id for s in samples if s.tags["modality"] == name) for name in ("CT", "MR", "XR")]
    both = [aligned(first.subset(ids), other.subset(ids), METRIC) for other in others for ids in parts]
    p = [sign_flip_p(*scores) for scores in both]
    assert [d.q.value for of_run in found for d in of_run] == pytest.approx(false_discovery_control(p))
    # Nine intervals hold together, so each is wider than where three are shown.
    for together, single in zip(found, alone, strict=True):
        for a, b in zip(together, single, strict=True):
            assert a.paired.interval.low < b.paired.interval.low
    assert slices_heading(found, "image").startswith("slices: 9 comparisons are one family")


def test_one_holm_family_has_every_run_and_metric() -> None:
    first, others = run(noisy(300, 0)), [run(noisy(300, k, 0.56), str(k)) for k in range(1, 6)]
    results = compare([first, *others], None)
    raw = sign_flip_p_of_sums(
        np.bincount(np.arange(300) // 3, weights=np.subtract(o.columns[METRIC].values, first.columns[METRIC].values))
        for o in others
    )
    assert [p.value for of_run in p_values(first, results) for p in of_run] == pytest.approx(holm(raw))
    assert render(results, first, 0).count("Holm over all 5 comparisons of 5 runs") == 5


def test_a_permutation_floor_is_printed_as_less() -> None:
    results = compare([run([0.0] * 120), run([1.0] * 120, "b")], None)
    assert "p<0.0001 " in render(results, run([0.0] * 120), 0)
    # Up to 13 clusters every pattern is counted, and the p value is exact.
    results = compare([run([0.0] * 30), run([1.0] * 30, "b")], None)
    assert "p=0.0020 " in render(results, run([0.0] * 30), 0)


def test_equivalence_is_shown_for_a_margin_that_the_interval_is_within() -> None:
    values = noisy(900, 0)
    other = [1 - v if k % 150 == 0 else v for k, v in enumerate(values)]
    results = compare([run(values), run(other, "b")], None)
    text = render(results, run(values), 0, 0.03)
    assert "equivalent within 3.00 points, p=0.0" in text
    text = render(results, run(values), 0, 0.002)
    assert "equivalence not shown within 0.20 points" in text
    # Two one-sided tests at 5 % are the 90 % interval.
    far = run(noisy(900, 1), "b")
    ninety = pair(run(values), far, METRIC, 0.9).interval
    edge = max(abs(ninety.low), abs(ninety.high))
    results = compare([run(values), far], None)
    inside, outside = (equivalence(run(values), results, edge * by)[0][0] for by in (1.01, 0.99))
    assert inside < 0.05 < outside


@pytest.mark.parametrize("margin", [0, 1.0, -0.02, 2, True, "0.02"])
def test_an_equivalence_margin_is_a_fraction(margin: object) -> None:
    results = compare([run([1.0] * 9), run([1.0] * 9, "b")], None)
    with pytest.raises(ConfigError, match="expected the largest difference that counts as none"):
        render(results, run([1.0] * 9), 0, margin)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("others", [1, 2])
def test_a_slice_with_every_row_of_a_metric_is_no_part_of_the_family(others: int) -> None:
    samples = [replace(s, tags=s.tags | {"split": "test"}) for s in tagged({"CT": 60, "MR": 60})]
    first, runs = run(noisy(120, 0)), [run(noisy(120, k), str(k)) for k in range(1, others + 1)]
    found = slices_of(first, runs, [METRIC], samples)
    assert [[d.slice for d in of_run] for of_run in found] == [["modality=CT", "modality=MR"]] * others
    assert found == slices_of(first, runs, [METRIC], tagged({"CT": 60, "MR": 60}))
    # Of a metric over the rows of one modality, that modality is the whole too.
    of_ct = replace(first.columns[METRIC], rows=np.arange(60))
    parts = [replace(r, columns={METRIC: replace(r.columns[METRIC], rows=of_ct.rows)}) for r in (first, *runs)]
    none = slices_of(parts[0], parts[1:], [METRIC], samples)
    assert none == [[]] * others
    assert slices_heading(none, "image").startswith("slices: none")
