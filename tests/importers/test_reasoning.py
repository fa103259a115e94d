"""Thoughts in imported files: split off where they are in the answer, kept where they have a column of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.types import CUT_IN_REASONING, REASONING_ALONE, Prediction
from evalkit.importers import join, read_answers
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import prediction_text
from tests.importers.test_formats import QA, TASK
from tests.support.paths import SHARED
from tests.support.protocols import protocol

THOUGHT = "Yes or no? Left or right?"


def predictions(path: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[Prediction, ...]:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return join(read_answers(path), TASK, **settings).predictions


def rows(*texts: str, **more: str) -> list[dict[str, Any]]:
    return [{"id": f"s{i}", "question": QA[i][0], "prediction": text, **more} for i, text in enumerate(texts)]


def test_a_thought_is_split_off_a_files_answers(tmp_path: Path) -> None:
    found = predictions(
        tmp_path / "a.jsonl", rows(f"<think>{THOUGHT}</think>\nyes", f"[THINK]{THOUGHT}[/THINK]CT", "None")
    )
    assert [p.text for p in found] == ["yes", "CT", "None"]
    assert [p.reasoning for p in found] == [THOUGHT, THOUGHT, ""]
    assert found[2].raw is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_in_its_own_column_beside_an_empty_answer_is_a_failure(tmp_path: Path, field: str) -> None:
    found = predictions(tmp_path / "a.jsonl", [*rows("", "", **{field: THOUGHT}), *rows("", "", "no")[2:]])
    assert [(p.text, p.error) for p in found] == [(None, REASONING_ALONE)] * 2 + [("no", None)]
    cut = predictions(tmp_path / "b.jsonl", rows("", finish_reason="length", **{field: THOUGHT}), max_unmatched=1)
    assert cut[0].is_cut


def test_a_files_answers_without_a_mark_are_cut_where_most_begin_inside_a_thought(tmp_path: Path) -> None:
    found = predictions(tmp_path / "a.jsonl", rows(f"{THOUGHT}</think>yes", f"{THOUGHT}</think>CT", "so it may be no"))
    assert [p.text for p in found] == ["yes", "CT", None]
    assert found[2].is_cut and found[2].raw == "so it may be no"


def test_an_unclosed_thought_of_a_file_is_cut_and_keep_leaves_it(tmp_path: Path) -> None:
    texts = (f"<think>{THOUGHT} yes", "[THINK]axial", "no")
    found = predictions(tmp_path / "a.jsonl", rows(*texts))
    assert [p.error for p in found] == [CUT_IN_REASONING, CUT_IN_REASONING, None]
    kept = predictions(tmp_path / "a.jsonl", rows(*texts), reasoning="keep")
    assert [p.text for p in kept] == list(texts)


@pytest.mark.parametrize("column", ["reasoning", "reasoning_content", "thinking"])
def test_a_column_of_thoughts_is_kept_beside_the_answer(tmp_path: Path, column: str) -> None:
    found = predictions(tmp_path / "a.jsonl", rows("yes", "left", "axial", **{column: THOUGHT}))
    assert [(p.text, p.reasoning) for p in found] == [("yes", THOUGHT), ("left", THOUGHT), ("axial", THOUGHT)]


@pytest.mark.parametrize("mode", ["auto", "keep"])
def test_our_own_file_gives_its_thoughts_back(tmp_path: Path, mode: str) -> None:
    texts = (f"<think>{THOUGHT}</think> yes", "<think>left", "axial")
    first = predictions(tmp_path / "a.jsonl", rows(*texts))
    file = tmp_path / "predictions.jsonl"
    pairs = zip(TASK.samples, first, strict=True)
    file.write_text("".join(prediction_text(PredictionLine.of(s, p)) for s, p in pairs))
    again = join(read_answers(file), TASK, reasoning=mode).predictions
    assert again == (first if mode == "auto" else predictions(tmp_path / "b.jsonl", rows(*texts), reasoning="keep"))


def test_the_thinking_of_inspect_and_helm_is_kept(tmp_path: Path) -> None:
    parts = [{"type": "reasoning", "reasoning": THOUGHT}, {"type": "text", "text": "yes"}]
    output = {"choices": [{"message": {"content": parts}, "stop_reason": "stop"}], "completion": "yes"}
    samples = [{"id": f"s{i}", "input": q, "target": r, "output": output} for i, (q, r, _) in enumerate(QA)]
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"eval": {}, "status": "success", "samples": samples}))
    assert {(p.text, p.reasoning) for p in join(read_answers(log), TASK).predictions} == {("yes", THOUGHT)}
    completion = {"text": "yes", "thinking": {"text": THOUGHT}}
    states = [
        {
            "instance": {"id": f"s{i}", "input": {"text": q}},
            "result": {"success": True, "completions": [completion]},
        }
        for i, (q, _, _) in enumerate(QA)
    ]
    state = tmp_path / "scenario_state.json"
    state.write_text(json.dumps({"request_states": states}))
    assert {(p.text, p.reasoning) for p in join(read_answers(state), TASK).predictions} == {("yes", THOUGHT)}


@pytest.mark.data
@pytest.mark.skipif(not (SHARED / "cases/reasoning").is_dir(), reason=f"no cases in {SHARED}; set EVALKIT_SHARED")
@pytest.mark.parametrize(
    ("name", "open_recall", "closed", "exact_match"),
    [("plain", 0.000775, None, 0.0), ("think", 0.000775, None, 0.0), ("rightthink", 1.0, 1.0, 1.0)],
)
def test_the_given_answers_behind_thoughts_have_the_scores_of_the_answers(
    name: str, open_recall: float, closed: float | None, exact_match: float
) -> None:
    task = build({**load_option("task", "slake"), "path": str(SHARED / "data/slake")}, "slake").load(images=False)
    answers = join(read_answers(SHARED / f"cases/reasoning/slake-th_{name}.jsonl"), task).predictions
    values: dict[str, list[float | None]] = {}
    for sample, prediction in zip(task.samples, answers, strict=True):
        for score in protocol("strict").score(sample, prediction):
            values.setdefault(score.metric, []).append(score.value)
    scored = {metric: [v for v in found if v is not None] for metric, found in values.items()}
    assert sum(scored["open_recall"]) / 645 == pytest.approx(open_recall, abs=1e-6)
    assert sum(scored["exact_match"]) / 1061 == exact_match
    assert len(scored["closed_accuracy"]) == (0 if closed is None else 416)
    assert closed is None or set(scored["closed_accuracy"]) == {closed}
