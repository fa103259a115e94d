"""Judged scores of several answers a sample: pass@k, pass^k, flips, and the answer that the judge rates best."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from evalkit.core.types import MetricKey, Prediction, Sample
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.draws import RunMetric
from evalkit.judge.journal import choose_judge
from evalkit.judge.metrics import compute
from evalkit.tasks.draws import draws_of
from tests.support.fake_server import Act, FakeServer
from tests.support.judge_samples import chat, config, vqa

N = 4
VERDICTS = {"correct": 1.0, "partly": 0.5, "wrong": 0.0}


def drawn(n_samples: int, seed: int = 3) -> tuple[list[Sample], list[Prediction]]:
    """Open questions, two an image, each with N answers that name a verdict and have a random text."""
    plain = [replace(s, tags={"answer_type": "OPEN", "organ": f"o{k % 2}"}) for k, s in enumerate(vqa(n_samples))]
    samples = [one for s in plain for one in draws_of(s, N)]
    rng = random.Random(seed)
    texts = [f"{rng.choice(list(VERDICTS))} {rng.random()}" for _ in samples]
    return samples, [Prediction(sample_id=s.id, text=t) for s, t in zip(samples, texts, strict=True)]


def verdict(n: int, body: dict) -> Act:
    """The verdict that the answer begins with."""
    answer = body["messages"][-1]["content"].split("<answer_to_judge>\n")[1]
    return Act(text=json.dumps({"reason": "it says so", "verdict": answer.split()[0]}))


def credits(predictions: Sequence[Prediction]) -> list[list[float]]:
    flat = [VERDICTS[str(p.text).split()[0]] for p in predictions]
    return [flat[k : k + N] for k in range(0, len(flat), N)]


def values(scores, part: str = "all") -> dict[str, float | None]:
    return {m.metric: m.value for m in scores.metrics if m.slice == part}


@pytest.mark.parametrize(
    ("metric", "hit"), [("judged_accuracy", lambda c: float(c == 1)), ("judged_credit", lambda c: c)]
)
def test_values_over_draws_are_those_of_an_independent_computation(
    tmp_path: Path, metric: str, hit: Callable[[float], float]
) -> None:
    samples, predictions = drawn(9)
    with FakeServer(verdict) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, predictions)
    outcome.check()
    found = values(outcome.scores)
    groups = [[hit(c) for c in group] for group in credits(predictions)]
    assert found[metric] == pytest.approx(fmean(itertools.chain(*groups)), abs=1e-12)
    for k in (2, 4):
        best = fmean(fmean(map(max, itertools.combinations(g, k))) for g in groups)
        worst = fmean(fmean(map(min, itertools.combinations(g, k))) for g in groups)
        assert found[f"{metric}.pass@{k}"] == pytest.approx(best, abs=1e-12)
        assert found[f"{metric}.pass^{k}"] == pytest.approx(worst, abs=1e-12)
    flips = fmean(fmean(a != b for a, b in itertools.combinations(g, 2)) for g in groups)
    assert found[f"{metric}.flip_rate"] == pytest.approx(flips, abs=1e-12)
    (whole,) = (m for m in outcome.scores.metrics if (m.metric, m.slice) == (f"{metric}.pass@4", "all"))
    assert (whole.n, whole.n_unscored, whole.n_clusters) == (9, 0, 5), "samples, clustered by image"
    part = fmean(max(g) for g in groups[1::2])
    assert values(outcome.scores, "organ=o1")[f"{metric}.pass@4"] == pytest.approx(part, abs=1e-12)
    assert f"{metric}.pass@4" not in values(outcome.scores, "answer_draw=1"), "a sample is of no single draw"
    assert recompute(tmp_path).metrics == outcome.scores.metrics


def scored(samples: Sequence[Sample], seed: int = 5) -> RunMetric:
    rng = random.Random(seed)
    scores: dict[str, float | None] = {s.id: float(rng.random() < 0.5) for s in samples}
    return RunMetric(key=MetricKey("strict", "exact_match"), bounded=True, higher_is_better=True, scores=scores)


def test_the_answer_that_the_judge_rates_best_has_its_own_score_and_ties_their_mean(tmp_path: Path) -> None:
    samples, predictions = drawn(9)
    with FakeServer(verdict) as server:
        judge_run(tmp_path, config(server.url), samples, predictions)
    own = scored(samples)
    found = values(compute(choose_judge(tmp_path), run_metrics=[own]))["strict.exact_match.best@4"]
    groups = credits(predictions)
    expected = []
    for k, group in enumerate(groups):
        ids = [s.id for s in samples[k * N : k * N + N]]
        expected.append(fmean(own.scores[i] for i, c in zip(ids, group, strict=True) if c == max(group)))
    assert found == pytest.approx(fmean(expected), abs=1e-12)
    assert any(0 < e < 1 for e in expected), "no tie in the test"


def test_a_judgment_that_failed_leaves_its_sample_without_a_best_answer_and_a_missing_answer_is_not_chosen(
    tmp_path: Path,
) -> None:
    samples, predictions = drawn(5)
    predictions[0] = replace(predictions[0], text="unreadable")  # of the first sample
    predictions[N] = replace(predictions[N], text="cannot_tell")  # of the second
    predictions[2 * N] = Prediction(sample_id=samples[2 * N].id, error="out of memory")

    def behave(n: int, body: dict) -> Act:
        return Act(text="well, well") if "unreadable" in body["messages"][-1]["content"] else verdict(n, body)

    with FakeServer(behave) as server:
        judge_run(tmp_path, config(server.url, max_failed=0.5), samples, predictions)
    own = scored(samples)
    metrics = compute(choose_judge(tmp_path), run_metrics=[own]).metrics
    by_name = {m.metric: m for m in metrics if m.slice == "all"}
    best = by_name["strict.exact_match.best@4"]
    assert (best.n, best.n_unscored) == (5, 2), "the third sample's best answer is among those that there are"
    assert (by_name["judged_accuracy.pass@4"].n, by_name["judged_accuracy.pass@4"].n_unscored) == (5, 3)
    assert (by_name["judged_accuracy.pass@2"].n, by_name["judged_accuracy.pass@2"].n_unscored) == (5, 0)
    assert (by_name["judged_accuracy"].n, by_name["judged_accuracy"].n_unscored) == (5 * N, 3)


def test_relative_scores_rank_answers_too(tmp_path: Path) -> None:
    plain = chat(4)
    samples = [one for s in plain for one in draws_of(s, 2)]
    predictions = [Prediction(sample_id=s.id, text=f"answer of {s.tags['answer_draw']}") for s in samples]

    def behave(n: int, body: dict) -> Act:
        better = "answer of 1" in body["messages"][-1]["content"]
        return Act(text=json.dumps({"reason": "", "score_1": 5, "score_2": 9 if better else 4}))

    with FakeServer(behave) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, predictions)
    outcome.check()
    found = values(outcome.scores)
    assert found["relative_score.pass@2"] == pytest.approx(9 / 5)
    assert found["relative_score.pass^2"] == pytest.approx(4 / 5)
    assert found["win_rate.flip_rate"] == 1.0
    assert "reference_score.pass@2" not in found, "higher reference scores are neither better nor worse"
    own = RunMetric(
        key=MetricKey("p", "m"), bounded=True, higher_is_better=True,
        scores={s.id: float(s.tags["answer_draw"] == "1") for s in samples},
    )  # fmt: skip
    assert values(compute(choose_judge(tmp_path), run_metrics=[own]))["p.m.best@2"] == 1.0


def test_one_answer_a_sample_has_no_values_over_draws(tmp_path: Path) -> None:
    samples = vqa(6)
    predictions = [Prediction(sample_id=s.id, text="correct") for s in samples]
    with FakeServer(verdict) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, predictions)
    assert set(values(outcome.scores)) == {"judged_accuracy", "judged_credit"}
