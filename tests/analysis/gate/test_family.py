"""The default family has no copies, and the chance of a pass of all metrics is told."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evalkit.analysis.gate.family import JointChance, joint_chance, near_copies, pass_chance, whole_loss_chance
from evalkit.analysis.gate.verdicts import BOUND, choose_metrics, default_metrics, smallest_margin
from evalkit.analysis.run_scores import RunScores, ScoreColumn
from evalkit.cli.main import main
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey
from tests.support.gate_runs import run
from tests.support.made_runs import answered, made_run, made_samples
from tests.support.paths import ROOT

N = 400


def with_metrics(**columns: list[float | None]) -> RunScores:
    """A run with an accuracy under each of these protocols."""
    keys = {MetricKey(name, "accuracy"): values for name, values in columns.items()}
    found = {
        key: ScoreColumn.of(
            tuple(values), range(len(values)),
            signature=Signature.parse(f"accuracy|task:toy.test|n:{len(values)}|protocol:{key.protocol}.1|v:0"),
            higher_is_better=True,
        )
        for key, values in keys.items()
    }  # fmt: skip
    return replace(run([0.0] * N), columns=found)


def hits(seed: int) -> list[float | None]:
    drawn = random.Random(seed)
    return [float(drawn.random() < 0.7) for _ in range(N)]


def flipped(values: list[float | None], count: int) -> list[float | None]:
    return [1.0 - (v or 0.0) if k < count else v for k, v in enumerate(values)]


@pytest.mark.parametrize(("changed", "is_copy"), [(0, True), (8, True), (30, False), (200, False)])
def test_a_metric_of_nearly_the_same_scores_leaves_the_default_family(changed: int, is_copy: bool) -> None:
    found = with_metrics(a=hits(0), b=flipped(hits(0), changed))
    a, b = MetricKey("a", "accuracy"), MetricKey("b", "accuracy")
    assert near_copies(found, [a, b]) == ({b: a} if is_copy else {})
    assert choose_metrics([[found]], None) == [[a] if is_copy else [a, b]]
    # One with a margin of its own, and named metrics, are all gated, and a saved baseline keeps all.
    assert choose_metrics([[found]], ["a accuracy", "b accuracy"]) == [[a, b]]
    assert choose_metrics([[found]], None, {"b accuracy": 0.1}) == [[a, b]]
    assert default_metrics(found) == [a, b]


def test_a_copy_over_other_rows_and_an_unscored_one_are_no_copies() -> None:
    values = hits(0)
    a, b = MetricKey("a", "accuracy"), MetricKey("b", "accuracy")
    assert near_copies(with_metrics(a=values, b=values[:300]), [a, b]) == {}
    assert near_copies(with_metrics(a=[1.0] * N, b=[1.0] * 300 + [None] * 100), [a, b]) == {}
    assert near_copies(with_metrics(a=values), [a, MetricKey("refused", "accuracy")]) == {}


def test_two_metrics_that_are_almost_always_right_are_no_copies() -> None:
    """They are equal on 94 % of the rows by chance alone."""
    one = [0.0 if k < 12 else 1.0 for k in range(N)]
    two = [0.0 if k >= N - 12 else 1.0 for k in range(N)]
    keys = [MetricKey("a", "accuracy"), MetricKey("b", "accuracy")]
    assert near_copies(with_metrics(a=one, b=two), keys) == {}
    assert near_copies(with_metrics(a=[1.0] * N, b=one), keys) == {}
    assert near_copies(with_metrics(a=[1.0] * N, b=[1.0] * N), keys) == {keys[1]: keys[0]}


def test_of_copies_the_strict_one_stays() -> None:
    found = with_metrics(a=hits(0), strict=hits(0), z=hits(0))
    a, strict, z = (MetricKey(name, "accuracy") for name in ("a", "strict", "z"))
    assert near_copies(found, [a, strict, z]) == {a: strict, z: strict}
    assert choose_metrics([[found]], None) == [[strict]]


def test_copies_are_of_a_metric_that_stays() -> None:
    """A chain of copies drifts: c is a copy of b, and not of a."""
    one = hits(0)
    found = with_metrics(a=one, b=flipped(one, 12), c=flipped(one, 24))
    a, b, c = (MetricKey(name, "accuracy") for name in "abc")
    assert near_copies(found, [a, b, c]) == {b: a}


def test_the_smallest_margin_is_passed_in_four_cases_of_five() -> None:
    for n in (451, 1061, 6719):
        assert pass_chance(n, smallest_margin(n), BOUND) == pytest.approx(0.8, abs=0.005)


def test_the_chance_of_passing_three_metrics_is_between_their_product_and_the_least() -> None:
    found = with_metrics(a=hits(0), b=hits(1), c=hits(2))
    keys = default_metrics(found)
    chance = joint_chance([found], [keys], dict.fromkeys(keys, smallest_margin(N)), BOUND)
    assert chance.independent == pytest.approx(0.8**3, abs=0.01)
    assert chance.together == pytest.approx(0.8, abs=0.005)
    assert chance.text == "51 to 80 %"
    assert joint_chance([], [], {}, BOUND) == JointChance(1.0, 1.0)


def test_the_rough_chance_of_a_whole_loss_is_near_the_simulated_ones() -> None:
    from benchmarks.gate_simulation import METRIC, Setting, baseline

    cells = json.loads((ROOT / "benchmarks/results/gate-limits.json").read_text(encoding="utf-8"))["cells"]
    whole = [c for c in cells if c.get("whole") and not c.get("rows_alone") and c["task"] != "coloninst-cls"]
    runs = {task: baseline(Setting(task=task, worse=1, churn=0.0, margin=0.01)) for task in {c["task"] for c in whole}}
    rough = {(c["task"], c["margin"]): whole_loss_chance(runs[c["task"]], METRIC, c["margin"]) for c in whole}
    assert all(abs(rough[c["task"], c["margin"]] - c["pass"]) < 0.1 for c in whole)
    assert rough["slake", 0.02] == pytest.approx(0.98**88, rel=0.01)


@pytest.mark.parametrize(("margin", "is_said"), [(0.01, True), (0.3, False)])
def test_a_gate_says_where_a_loss_of_whole_images_is_outside_of_its_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], margin: float, is_said: bool
) -> None:
    samples = made_samples(60)
    folder = made_run(tmp_path / "r-made-00000001", samples, [answered(s, s.references[0]) for s in samples])
    words = [f"baseline={folder}", "metrics=[exact-match exact_match]", f"margin={margin}", "dry_run=true"]
    assert main(["gate", *words]) in (0, 4)
    printed = " ".join("".join(capsys.readouterr()).split())
    assert ("a candidate that loses whole images and nothing else, 1.0 points" in printed) == is_said
    if is_said:
        assert f"chance of roughly {100 * 0.99**30:.0f} %; the 5 % that a gate promises" in printed


def test_the_simulated_loss_of_whole_images_is_all_or_nothing() -> None:
    from benchmarks.gate_simulation import Setting, changes, sizes

    setting = Setting(task="slake", worse=1, churn=0.0, margin=0.1, whole=True)
    lost = changes(np.random.default_rng(0), setting)
    means = [part.mean() for part in np.split(lost, np.cumsum(sizes("slake"))[:-1])]
    assert set(means) == {0.0, -1.0}
