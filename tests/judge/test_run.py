"""Judging with a server without faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Prediction
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.metrics import signed_metrics
from evalkit.judge.remarks import remarks
from tests.support.fake_server import Act, FakeServer, scores, verdict
from tests.support.judge_samples import IDENTITY, answers, chat, config, vqa


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "judgments.jsonl").read_text().splitlines()]


def test_relative_scores_have_both_aggregations_slices_and_intervals(tmp_path: Path) -> None:
    samples = chat(40)

    def behave(n: int, body: dict) -> Act:
        number = int(body["messages"][1]["content"].split("figure ")[1].split(" ")[0])
        act = scores(10, 5) if number % 3 else scores(5, 4)
        act.delay, act.until = 0.005, lambda: n == 0 or server.most_busy > 1
        return act

    with FakeServer(behave) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, answers(samples))
        assert len(server.calls) == 40
        assert 1 < server.most_busy <= 4
    outcome.check()
    judged = outcome.scores
    assert judged.find("relative_score").value == pytest.approx((26 * 0.5 + 14 * 0.8) / 40)
    assert judged.find("relative_score_ratio_of_means").value == pytest.approx((26 * 5 + 14 * 4) / (26 * 10 + 14 * 5))
    assert judged.find("reference_score").value == pytest.approx((26 * 10 + 14 * 5) / 40)
    assert judged.find("candidate_score").value == pytest.approx((26 * 5 + 14 * 4) / 40)
    assert judged.find("win_rate").value == 0
    assert judged.find("relative_score", "type=conversation").n == 30
    assert judged.find("relative_score", "type=detailed_description").value == pytest.approx((6 * 0.5 + 4 * 0.8) / 10)
    assert {m.slice for m in judged.metrics if m.metric == "relative_score"} >= {
        f"domain={d}" for d in ("chest_xray", "mri", "histology", "gross", "ct_scan")
    }
    whole = judged.find("relative_score")
    assert whole.n_clusters == 10 and whole.low < whole.value < whole.high
    written = json.loads((tmp_path / "judged-server.json").read_text())
    assert written["metrics"][0]["metric"] == "relative_score"
    assert written["metrics"][0]["protocol"] == "judge:server" and written["models_returned"] == ["judge-2026-01-01"]
    signature = signed_metrics(judged, IDENTITY)[0].signature
    assert signature["protocol"] == "judge:server" and signature["judge_order"] == "reference_first"
    assert signature["judge_prompt"].startswith("relative.v1@")


def test_every_line_records_judge_prompt_and_usage(tmp_path: Path) -> None:
    samples = chat(3)
    with FakeServer(lambda n, b: scores(9, 6)) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples))
        host = server.url.removeprefix("http://")
    plan, *records = lines(tmp_path)
    assert plan["record"] == "plan" and plan["server"] == host and plan["n_judgments"] == 3
    assert plan["config"]["parameters"] == {"temperature": 0, "max_tokens": 200}
    for record in records:
        assert record["scores"] == {"reference": 9.0, "candidate": 6.0}
        assert record["model_requested"] == record["model_returned"] == "judge-2026-01-01"
        assert record["system_fingerprint"] == "fp_1"
        assert record["prompt"] == "relative.v1" and len(record["prompt_sha256"]) == 64
        assert record["usage"] == {"tokens_in": 300, "tokens_out": 20}
        assert record["usd"] is None
        assert record["image_id"].startswith("image-") and record["tags"]["domain"]


def test_correctness_covers_the_open_samples_and_cannot_tell_is_unscored(tmp_path: Path) -> None:
    samples = vqa(20)
    labels = ["correct", "partly", "wrong", "cannot_tell", "correct"] * 2
    with FakeServer(lambda n, b: verdict(labels[n])) as server:
        outcome = judge_run(tmp_path, config(server.url, concurrency=1), samples, answers(samples))
    judged = outcome.scores
    assert judged.n == 10 and judged.n_cannot_tell == 2
    accuracy = judged.find("judged_accuracy")
    assert (accuracy.value, accuracy.n, accuracy.n_unscored) == (0.5, 10, 2)
    assert accuracy.value_worst_case == pytest.approx(0.4)
    assert judged.find("judged_credit").value == pytest.approx(5 / 8)
    assert judged.verdicts == {"correct": 4, "partly": 2, "wrong": 2, "cannot_tell": 2}
    outcome.check()
    assert any("cannot tell" in text for text in remarks(judged))


def test_rows_all_includes_closed_questions(tmp_path: Path) -> None:
    samples = vqa(6)
    with FakeServer(lambda n, b: verdict("correct")) as server:
        outcome = judge_run(tmp_path, config(server.url, rows="all"), samples, answers(samples))
    assert outcome.scores.n == 6
    assert outcome.scores.find("judged_accuracy", "answer_type=OPEN").n == 3


def test_a_task_without_open_questions_is_an_error_that_names_rows_all(tmp_path: Path) -> None:
    samples = [s for s in vqa(6) if s.answer_type == "CLOSED"]
    with pytest.raises(ConfigError, match="rows=all"):
        judge_run(tmp_path, config("http://127.0.0.1:9/v1"), samples, answers(samples))


def test_predictions_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not fit"):
        judge_run(tmp_path, config("http://127.0.0.1:9/v1"), chat(4), answers(vqa(4)))


def test_an_answer_that_the_model_failed_to_give_is_counted_and_never_judged(tmp_path: Path) -> None:
    samples = chat(8)
    predictions = [*answers(samples)[:6], Prediction(sample_id="6", error="out of memory")]
    with FakeServer(lambda n, b: scores(8, 8)) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, predictions)
        assert len(server.calls) == 6
    outcome.check()
    figure = outcome.scores.find("relative_score")
    assert (figure.value, figure.n, figure.n_unscored, outcome.scores.n_no_answer) == (1.0, 8, 2, 2)


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    samples = vqa(2)
    with FakeServer(lambda n, b: verdict("wrong")) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, answers(samples, ""))
    assert outcome.scores.find("judged_accuracy").value == 0


def test_judging_again_makes_no_call_and_another_run_is_served_from_the_cache(tmp_path: Path) -> None:
    samples = chat(12)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        first = judge_run(tmp_path / "a", config(server.url), samples, answers(samples))
        again = judge_run(tmp_path / "a", config(server.url), samples, answers(samples))
        other = judge_run(tmp_path / "b", config(server.url), samples, answers(samples))
        offline = judge_run(tmp_path / "c", config(server.url, offline=True), samples, answers(samples))
        assert len(server.calls) == 12
    assert (first.n_calls, again.n_calls, other.n_calls, offline.n_calls) == (12, 0, 0, 0)
    assert (again.n_from_cache, other.n_from_cache, offline.n_from_cache) == (0, 12, 12)
    assert first.scores.metrics == again.scores.metrics == other.scores.metrics == offline.scores.metrics
    assert all(r["cached"] and r["usd"] == 0 for r in lines(tmp_path / "b")[1:])


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other-2026-01-01"},
        {"parameters": {"temperature": 0, "max_tokens": 201}},
        {"structured": "off"},
        {"revision": "abc"},
    ],
)
def test_the_cache_key_includes_everything_that_determines_a_reply(tmp_path: Path, change: dict) -> None:
    samples = chat(2)
    with FakeServer(lambda n, b: scores(8, 4), models=lambda path: Act(status=500)) as server:
        judge_run(tmp_path / "a", config(server.url), samples, answers(samples))
        judge_run(tmp_path / "b", config(server.url, **change), samples, answers(samples))
        assert len(server.calls) == 4


def test_offline_without_the_replies_gives_no_value_and_needs_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_TEST_KEY")
    samples = chat(4)
    outcome = judge_run(tmp_path, config("http://127.0.0.1:9/v1", offline=True), samples, answers(samples))
    assert outcome.scores.find("relative_score").value is None
    assert "offline" in outcome.scores.problem


def test_only_changed_answers_are_judged_again(tmp_path: Path) -> None:
    samples = chat(6)
    before = answers(samples)
    after = [Prediction(sample_id="0", text="another answer"), *before[1:]]
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        judge_run(tmp_path, config(server.url, cache=None), samples, before)
        outcome = judge_run(tmp_path, config(server.url, cache=None), samples, after)
        assert len(server.calls) == 7
    assert (outcome.n_calls, outcome.n_from_cache) == (1, 5)
    assert recompute(tmp_path).metrics == outcome.scores.metrics


def test_scores_are_recomputed_from_the_file_alone(tmp_path: Path) -> None:
    samples = chat(10)
    with FakeServer(lambda n, b: scores(10, n % 9 + 1)) as server:
        outcome = judge_run(tmp_path / "run", config(server.url), samples, answers(samples))
    alone = tmp_path / "elsewhere.jsonl"
    alone.write_bytes((tmp_path / "run" / "judgments.jsonl").read_bytes())
    assert recompute(alone) == outcome.scores


def test_recomputing_an_unfinished_file_gives_no_number(tmp_path: Path) -> None:
    samples = chat(10)
    with FakeServer(lambda n, b: scores(10, 5)) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples))
    file = tmp_path / "judgments.jsonl"
    kept = file.read_text().splitlines(keepends=True)[:6]
    file.write_text("".join(kept))
    judged = recompute(tmp_path)
    assert judged.find("relative_score").value is None
    assert judged.outcomes == {"judged": 5, "not asked": 5}
    assert "no number" in judged.problem
    assert recompute(tmp_path, max_failed=0.6).find("relative_score").value == 0.5


def test_with_several_judges_of_one_run_the_judge_must_be_named(tmp_path: Path) -> None:
    samples = chat(4)
    with FakeServer(lambda n, b: scores(8, 8 if n < 4 else 4)) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples))
        judge_run(tmp_path, config(server.url, name="second", replicates=2), samples, answers(samples))
    with pytest.raises(ConfigError, match="second"):
        recompute(tmp_path)
    assert recompute(tmp_path, "server").find("relative_score").value == 1.0
    assert recompute(tmp_path, "second").n == 4


def test_equal_contents_share_one_call(tmp_path: Path) -> None:
    samples = chat(4)
    same = [type(s)(**{**{f: getattr(samples[0], f) for f in s.__slots__}, "id": s.id}) for s in samples]
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        outcome = judge_run(tmp_path, config(server.url), same, answers(same, "the same"))
        assert len(server.calls) == 1
    assert outcome.scores.find("relative_score").n == 4
    outcome.check()


def test_refused_parameters_are_dropped_and_recorded(tmp_path: Path) -> None:
    samples = chat(5)

    def behave(n: int, body: dict) -> Act:
        if "response_format" in body:
            return Act(status=400, error={"message": "response_format json_schema is not supported", "code": "x"})
        if "temperature" in body:
            return Act(status=400, error={"message": "no", "param": "temperature"})
        return Act(text="8 4\nThe first is better.")

    with FakeServer(behave) as server:
        outcome = judge_run(tmp_path, config(server.url, concurrency=1), samples, answers(samples))
        assert len(server.calls) == 7
    outcome.check()
    assert {tuple(r["dropped"]) for r in lines(tmp_path)[1:]} == {("response_format", "temperature")}
    assert outcome.scores.find("relative_score").value == 0.5


def test_a_judge_in_this_process_needs_no_server(tmp_path: Path) -> None:
    samples = chat(4)
    seen = []

    def complete(messages: list) -> str:
        seen.append(messages)
        return '{"reason": "x", "score_1": 5, "score_2": 10}'

    settings = config("http://unused/v1", transport="local", api_key_env=None)
    outcome = judge_run(tmp_path, settings, samples, answers(samples), complete=complete)
    assert len(seen) == 4 and outcome.scores.find("relative_score").value == 2.0
    assert lines(tmp_path)[0]["server"] == "in-process"


def test_the_estimate_before_the_first_call_has_calls_tokens_and_price(tmp_path: Path) -> None:
    samples = chat(4)
    price = {"input": 2.0, "output": 8.0, "date": "2026-03-18"}
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        for folder, given, expected in (("a", None, "price unknown"), ("b", price, "prices of 2026-03-18")):
            messages: list[str] = []
            settings = config(server.url, price=given, cache=None)
            outcome = judge_run(tmp_path / folder, settings, samples, answers(samples), say=messages.append)
            sentence = next(s for s in messages if s.startswith("judge:"))
            assert "4 calls to make, 0 judgments already there" in sentence and expected in sentence
    assert lines(tmp_path / "a")[1]["usd"] is None
    assert lines(tmp_path / "b")[1]["usd"] == pytest.approx(300 * 2e-6 + 20 * 8e-6)
    assert outcome.estimate.usd < outcome.estimate.usd_max
