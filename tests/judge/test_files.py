"""Judged numbers on disk and from there: keys of lines, slices, directions, signatures, files of earlier versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.analysis.paired import MAY_DIFFER
from evalkit.core.errors import StoreError
from evalkit.core.signature import Signature
from evalkit.core.types import MAX_SLICE_VALUES, MetricKey, Prediction, Sample
from evalkit.judge.api import judge_run, recompute
from evalkit.judge.columns import judged_columns
from evalkit.judge.journal import journal_text
from evalkit.judge.metrics import signed_metrics
from evalkit.judge.results import judged_numbers, judged_scores
from evalkit.runs.read import journal_at, judged_at
from evalkit.runs.schema import JudgedFile, Summary
from tests.support.fake_server import Act, FakeServer, scores, verdict
from tests.support.judge_samples import IDENTITY, answers, chat, config, vqa

HEAD = (
    "record", "plan", "judge", "sample_id", "image_id", "tags", "order", "replicate", "key", "model_requested",
    "prompt", "prompt_sha256", "created", "status", "scores", "verdict", "why",
)  # fmt: skip
REPLY = ("raw", "model_returned", "system_fingerprint", "finish_reason", "dropped", "usage", "usd", "seconds", "cached")
PLAN = (
    "record", "plan", "judge", "judged", "server", "model_requested", "prompt", "prompt_sha256", "style", "n_items",
    "answers_sha256", "n_judgments", "config", "created",
)  # fmt: skip


def summary(n: int) -> Summary:
    """The summary of a run on the samples of the tests, without metrics."""
    return Summary(
        run_id="r", evalkit="0.1.0", model="m", task="chat", split="test", form="json", n=n, n_images=n,
        data_sha256="0123456789abcdef", closed_rule="label", prompt="p", image="original", generation="greedy",
        n_failed=0, n_empty=0, n_truncated=0, metrics=(),
    )  # fmt: skip


def judged_by_verdicts(folder: Path, samples: list[Sample]) -> JudgedFile:
    with FakeServer(lambda n, b: verdict("correct")) as server:
        return judge_run(folder, config(server.url, rows="all"), samples, answers(samples)).scores


def test_lines_have_the_same_keys_in_the_same_order_as_in_the_first_release(tmp_path: Path) -> None:
    samples = chat(3)
    predictions = [*answers(samples)[:2], Prediction(sample_id="2", error="out of memory")]
    with FakeServer(lambda n, b: Act(status=500) if "figure 0 show" in str(b) else scores(8, 4)) as server:
        judge_run(tmp_path, config(server.url, retries=0), samples, predictions)
    lines = [json.loads(line) for line in (tmp_path / "judgments.jsonl").read_text(encoding="utf-8").splitlines()]
    keys = {line.get("status", "plan"): tuple(line) for line in lines}
    assert keys == {"plan": PLAN, "judged": HEAD + REPLY, "error": (*HEAD, "cached"), "no_answer": (*HEAD, "cached")}


def test_reading_and_writing_a_line_changes_nothing(tmp_path: Path) -> None:
    samples = chat(4)
    with FakeServer(lambda n, b: Act(text="?") if n == 0 else scores(8, 4)) as server:
        judge_run(tmp_path, config(server.url, order="swap"), samples, answers(samples))
    file = tmp_path / "judgments.jsonl"
    assert "".join(map(journal_text, journal_at(file))) == file.read_text(encoding="utf-8")


def test_a_tag_with_as_many_values_as_coloninst_has_categories_makes_slices(tmp_path: Path) -> None:
    samples = [replace(s, tags={"category": f"c{i % 43:02d}"}) for i, s in enumerate(vqa(86))]
    judged = judged_by_verdicts(tmp_path, samples)
    slices = {m.slice for m in judged.metrics if m.metric == "judged_accuracy"}
    assert slices == {"all"} | {f"category=c{i:02d}" for i in range(43)}
    assert all(m.n == 2 for m in judged.metrics if m.slice != "all")


def test_tags_that_name_or_link_samples_make_no_slices(tmp_path: Path) -> None:
    n = MAX_SLICE_VALUES + 1
    samples = [replace(s, tags={"name": s.id, "pair": str(i % 2)}) for i, s in enumerate(vqa(n))]
    assert {m.slice for m in judged_by_verdicts(tmp_path, samples).metrics} == {"all"}


def test_every_metric_has_its_direction(tmp_path: Path) -> None:
    samples = chat(4)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        relative = judge_run(tmp_path / "a", config(server.url, order="swap"), samples, answers(samples)).scores
    with FakeServer(lambda n, b: verdict("partly")) as server:
        correct = judge_run(tmp_path / "b", config(server.url, order="swap"), vqa(4), answers(vqa(4))).scores
    assert {m.metric: m.higher_is_better for m in (*relative.metrics, *correct.metrics)} == {
        "relative_score": True,
        "relative_score_ratio_of_means": True,
        "reference_score": None,
        "candidate_score": True,
        "win_rate": True,
        "flip_rate": False,
        "order_effect": None,
        "judged_accuracy": True,
        "judged_credit": True,
    }


def test_file_columns_and_recomputed_values_have_one_signature(tmp_path: Path) -> None:
    samples = vqa(8)
    judged = judged_by_verdicts(tmp_path, samples)
    run = summary(8)
    column = judged_columns(tmp_path, run, {s.id: f"It is answer {s.id}." for s in samples})[
        MetricKey("judge:server", "judged_accuracy")
    ]
    (numbers,) = judged_numbers(tmp_path, run)
    values = {(m.metric, m.slice): m for m in numbers.metrics}
    assert column.refused == "" and set(column.values.values()) == {1.0}
    assert values["judged_accuracy", "all"].signature == column.signature
    assert str(column.signature) == (
        "judged_accuracy|task:chat.test|n:8|data:01234567|protocol:judge:server|judge:server.judge-2026-01-01"
        "|judge_prompt:correctness.v1@ce571ed1|judge_style:evalkit|judge_order:reference_first|judge_replicates:1"
        "|judge_images:none|judge_parameters:max_tokens=200,temperature=0|judge_returned:judge-2026-01-01|v:0.1.0"
    )
    part = values["judged_accuracy", "answer_type=OPEN"].signature
    assert part is not None and part["slice"] == "answer_type=OPEN" and part["n"] == "4"
    assert [m.signature for m in signed_metrics(recompute(tmp_path), IDENTITY)] == [
        m.signature for m in numbers.metrics
    ]
    assert judged == judged_at(tmp_path / "judged-server.json")


def test_a_signature_of_the_first_release_is_comparable_with_todays(tmp_path: Path) -> None:
    samples = vqa(8)
    judged_by_verdicts(tmp_path, samples)
    columns = judged_columns(tmp_path, summary(8), {s.id: f"It is answer {s.id}." for s in samples})
    saved = Signature.parse(
        "judged_credit|task:chat.test|n:8|data:01234567|protocol:judge:server|judge:server.judge-2026-01-01"
        "|judge_prompt:correctness.v1@ce571ed1|judge_style:evalkit|judge_order:reference_first|judge_replicates:1"
        "|judge_images:none|judge_parameters:max_tokens=200,temperature=0|judge_returned:judge-2026-01-01"
    )
    today = columns[MetricKey("judge:server", "judged_credit")].signature
    assert today.differences(saved, MAY_DIFFER) == []


def test_scores_of_samples_carry_the_reply_or_the_reason(tmp_path: Path) -> None:
    samples = vqa(6)
    with FakeServer(lambda n, b: verdict(["correct", "cannot_tell", "wrong"][n])) as server:
        judge_run(tmp_path, config(server.url, concurrency=1), samples, answers(samples))
    first, second, third = judged_scores(tmp_path, "server")
    assert (first.value, third.value, first.metric, first.protocol) == (1.0, 0.0, "judged_accuracy", "judge:server")
    assert '"verdict": "correct"' in first.note
    assert (second.value, second.reason, second.note) == (None, "cannot tell", "")
    assert judged_scores(tmp_path / "elsewhere", "server") == []


def test_a_file_of_judged_scores_of_schema_1_is_read_with_directions_and_the_returned_model(tmp_path: Path) -> None:
    judged = judged_by_verdicts(tmp_path, vqa(4))
    file = tmp_path / "judged-server.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["models_returned"]
    for metric in content["metrics"]:
        metric["value_unscored_wrong"] = metric.pop("value_worst_case")
        for key in ("protocol", "higher_is_better", "signature"):
            del metric[key]
    file.write_text(json.dumps({**content, "schema": 1}), encoding="utf-8")
    assert judged_at(file).metrics == judged.metrics
    (numbers,) = judged_numbers(tmp_path, summary(4))
    assert numbers.metrics == signed_metrics(judged, summary(4))


def test_a_damaged_file_of_judged_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judged-server.json").write_text('{"schema": 2, "judge": "server"}', encoding="utf-8")
    with pytest.raises(StoreError, match=r"judged-server\.json, key '\w+'"):
        judged_numbers(tmp_path, summary(4))


def test_a_line_with_an_invalid_value_is_refused_with_file_line_and_key(tmp_path: Path) -> None:
    judged_by_verdicts(tmp_path, vqa(2))
    file = tmp_path / "judgments.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"replicate": 0', '"replicate": "0"'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"judgments\.jsonl:2, key 'replicate'"):
        recompute(tmp_path)
