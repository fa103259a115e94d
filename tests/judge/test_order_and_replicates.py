"""Position bias and disagreement between replicates: measured and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.judge.api import judge_run, recompute
from evalkit.judge.remarks import remarks
from tests.support.fake_server import Act, Body, FakeServer, scores, verdict
from tests.support.judge_samples import answers, chat, config, vqa


def test_a_judge_that_prefers_the_first_answer_scores_fifty_fifty_after_swap_and_is_reported(tmp_path: Path) -> None:
    samples = chat(20)
    with FakeServer(lambda n, b: scores(9, 5)) as server:
        plain = judge_run(tmp_path / "plain", config(server.url), samples, answers(samples))
        swapped = judge_run(tmp_path / "swap", config(server.url, order="swap"), samples, answers(samples))
        assert len(server.calls) == 40, "the judgments of the first order come from the cache"
    assert plain.scores.find("relative_score").value == pytest.approx(5 / 9)
    assert plain.scores.find("win_rate").value == 0
    judged = swapped.scores
    assert judged.find("relative_score").value == pytest.approx(1.0)
    assert judged.find("relative_score_ratio_of_means").value == pytest.approx(1.0)
    assert judged.find("win_rate").value == 0.5
    assert judged.find("flip_rate").value == 1.0
    assert judged.find("order_effect").value == pytest.approx(4.0)
    messages = " ".join(remarks(judged))
    assert (
        "changed its preference in 100.0% of the pairs" in messages
        and "+4.00 points" in messages
        and "do not use" in messages
    )


def test_a_judge_that_reads_the_answers_does_not_flip(tmp_path: Path) -> None:
    samples = chat(12)

    def behave(n: int, body: Body) -> Act:
        text = body["messages"][1]["content"]
        return scores(8, 6) if text.index("It shows finding") < text.index("It is answer") else scores(6, 8)

    with FakeServer(behave) as server:
        judged = judge_run(tmp_path, config(server.url, order="swap"), samples, answers(samples)).scores
    assert judged.find("relative_score").value == pytest.approx(0.75)
    assert (judged.find("flip_rate").value, judged.find("order_effect").value) == (0.0, 0.0)
    assert "do not use" not in " ".join(remarks(judged))


def test_the_mean_is_taken_over_the_scores_and_the_ratio_after_it(tmp_path: Path) -> None:
    samples = chat(1)

    def behave(n: int, body: Body) -> Act:
        text = body["messages"][1]["content"]
        return scores(10, 4) if text.index("It shows finding") < text.index("It is answer") else scores(8, 6)

    with FakeServer(behave) as server:
        judged = judge_run(tmp_path, config(server.url, order="swap"), samples, answers(samples)).scores
    assert judged.find("relative_score").value == pytest.approx(((4 + 8) / 2) / ((10 + 6) / 2))
    assert judged.find("flip_rate").value == 1.0
    assert judged.find("order_effect").value == pytest.approx((6 + 2) / 2)


def test_verdicts_can_be_requested_in_both_orders(tmp_path: Path) -> None:
    samples = vqa(8)

    def behave(n: int, body: Body) -> Act:
        text = body["messages"][1]["content"]
        reference_first = text.index("<reference_answer>") < text.index("<answer_to_judge>")
        return verdict("correct" if reference_first or "number 0" in text else "wrong")

    with FakeServer(behave) as server:
        judged = judge_run(tmp_path, config(server.url, order="swap"), samples, answers(samples)).scores
    assert judged.find("judged_accuracy").value == pytest.approx((1 + 3 * 0.5) / 4)
    assert judged.find("flip_rate").value == 0.75
    assert judged.find("order_effect").value == 0.75


def test_replicates_have_different_seeds_and_their_spread_is_reported(tmp_path: Path) -> None:
    samples = chat(10)

    def behave(n: int, body: Body) -> Act:
        return scores(8, {7: 4, 8: 6, 9: 8}[body["seed"]])

    with FakeServer(behave) as server:
        settings = config(server.url, replicates=3, parameters={"temperature": 1, "max_tokens": 99, "seed": 7})
        outcome = judge_run(tmp_path, settings, samples, answers(samples))
        assert len(server.calls) == 30
        again = judge_run(tmp_path, settings, samples, answers(samples))
        assert len(server.calls) == 30
    judged = outcome.scores
    assert judged.find("relative_score").value == pytest.approx(0.75)
    assert judged.spread["scores"] == pytest.approx([0.5, 0.75, 1.0])
    assert judged.spread["scores_sd"] == pytest.approx(0.25)
    assert judged.spread["within_item_sd"] == pytest.approx(2.0)
    assert "3 replicates" in " ".join(remarks(judged))
    assert again.scores == judged == recompute(tmp_path)


def test_one_failed_replicate_leaves_the_item_judged_by_the_others(tmp_path: Path) -> None:
    samples = chat(4)
    with FakeServer(lambda n, b: Act(text="?") if n == 0 else scores(8, 4)) as server:
        settings = config(server.url, replicates=2, concurrency=1)
        outcome = judge_run(tmp_path, settings, samples, answers(samples))
    outcome.check()
    assert outcome.scores.find("relative_score").n_unscored == 0
    assert outcome.scores.outcomes == {"judged": 7, "unreadable": 1}
    assert "1 unreadable" in " ".join(remarks(outcome.scores))
