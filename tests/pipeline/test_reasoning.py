"""Thoughts from an engine to the numbers: split once, kept, counted, named, in the signature where there are any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis.compare import compare
from evalkit.analysis.run_scores import incomplete, read_run_scores
from evalkit.core.errors import DataError
from evalkit.core.types import CUT_IN_REASONING, Request
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.conclude import show
from evalkit.runs.read import manifest_at, predictions_at
from tests.pipeline.test_evaluate import LOADED, lines, run
from tests.support.old_runs import as_of_an_earlier_version

SAMPLES = LOADED.samples
THOUGHT = "Yes or no, lung or liver?"
# Half of the answers behind a thought, one of them cut.
ANSWERS = {s.id: f"<think>{THOUGHT}</think>\n{s.references[0]}" if int(s.id) < 10 else "no" for s in SAMPLES}
CUT = {**ANSWERS, "3": f"<think>{THOUGHT} It is lung"}


def scripted(answers: dict[str, str]) -> ScriptedEngine:
    return ScriptedEngine(answers=answers)


def value(outcome: Any, protocol: str, metric: str) -> Any:
    return outcome.summary.find(protocol, metric)


def test_a_thought_is_split_off_and_kept_beside_the_answer(tmp_path: Path) -> None:
    outcome = run(tmp_path, scripted(ANSWERS))
    plain = run(tmp_path / "plain", scripted({k: v.rpartition("\n")[2] for k, v in ANSWERS.items()}))
    records = lines(outcome.folder / "predictions.jsonl")
    assert (records[0]["text"], records[0]["reasoning"], records[0]["raw"]) == ("yes", THOUGHT, ANSWERS["0"])
    assert "reasoning" not in records[19]
    assert "raw" not in records[19]
    for metric in outcome.summary.metrics:
        same = plain.summary.find(metric.protocol, metric.metric, metric.slice)
        assert replace(metric, signature=None) == replace(same, signature=None)
        assert metric.signature["reasoning"] == "split.1"
        assert same.signature.get("reasoning") is None
        assert str(metric.signature).replace("|reasoning:split.1", "") == str(same.signature)
        assert metric.signature.column == same.signature.column
        assert metric.signature.recipe == same.signature.recipe


def test_a_cut_thought_is_unscored_truncated_named_and_not_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tmp_path, scripted(CUT))
    assert (outcome.summary.n_failed, outcome.summary.n_truncated, outcome.n_failed) == (0, 1, 0)
    for protocol in ("llava-med", "strict"):
        assert value(outcome, protocol, "open_recall").n_unscored == 1
    assert {u.reason for u in outcome.summary.unscored if u.metric == "open_recall"} == {CUT_IN_REASONING}
    show(outcome, "title")
    printed = capsys.readouterr().out
    assert "10 of 20 answers came with a thought" in printed
    assert "1 of 20 end inside their reasoning and are unscored: 3" in printed
    record = lines(outcome.folder / "predictions.jsonl")[3]
    assert (record["text"], record["error"], record["raw"]) == (None, CUT_IN_REASONING, CUT["3"])


def test_a_cut_thought_is_not_asked_again(tmp_path: Path) -> None:
    first = run(tmp_path, scripted(CUT))
    before = (first.folder / "predictions.jsonl").read_bytes()
    again = scripted(CUT)
    run(tmp_path, again)
    assert again.metadata()["asked"] == 0
    assert (first.folder / "predictions.jsonl").read_bytes() == before


def test_answers_of_an_older_run_with_thoughts_in_them_are_split_too(tmp_path: Path) -> None:
    first = run(tmp_path, scripted(CUT))
    file = first.folder / "predictions.jsonl"
    today = file.read_bytes()
    older = [{k: v for k, v in r.items() if k not in ("reasoning", "raw")} for r in lines(file)]
    texts = [{**r, "text": CUT[r["sample_id"]], "error": None} for r in older]
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in texts), encoding="utf-8")
    as_of_an_earlier_version(first.folder)  # versions without thoughts wrote no digests
    engine = scripted(CUT)
    second = run(tmp_path, engine)
    assert engine.metadata()["asked"] == 0
    assert file.read_bytes() == today
    assert second.summary.metrics == first.summary.metrics


def test_keep_scores_the_text_as_it_came_in_a_run_of_its_own(tmp_path: Path) -> None:
    auto, kept = run(tmp_path, scripted(CUT)), run(tmp_path, scripted(CUT), reasoning="keep")
    assert auto.folder != kept.folder
    assert manifest_at(kept.folder / "manifest.json").reasoning == "keep"
    assert [p.text for p in predictions_at(kept.folder / "predictions.jsonl")] == [CUT[s.id] for s in SAMPLES]
    assert all(m.signature["reasoning"] == "keep" for m in kept.summary.metrics)
    assert value(kept, "strict", "open_recall").n_unscored == 0
    assert not any("thought" in text for text in kept.texts)


def test_a_run_without_thoughts_has_no_trace_of_the_rule(tmp_path: Path) -> None:
    outcome = run(tmp_path, scripted(dict.fromkeys(ANSWERS, "no")))
    assert "reasoning" not in (outcome.folder / "summary.json").read_text(encoding="utf-8")
    assert "reasoning" not in (outcome.folder / "predictions.jsonl").read_text(encoding="utf-8")
    assert not any("thought" in text for text in outcome.texts)


def test_runs_with_and_without_thoughts_are_comparable_and_kept_thoughts_are_not(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", scripted(dict.fromkeys(ANSWERS, "no")))
    thinking, kept = run(tmp_path / "b", scripted(CUT)), run(tmp_path / "c", scripted(CUT), reasoning="keep")
    scores = {name: read_run_scores(o.folder) for name, o in (("p", plain), ("t", thinking), ("k", kept))}
    assert incomplete(scores["t"]) == []
    key = next(k for k in scores["t"].columns if str(k) == "strict open_recall")
    assert scores["t"].columns[key].listed()[3] is None
    assert scores["t"].texts[3] == f"({CUT_IN_REASONING})"
    assert compare([scores["p"], scores["t"]], None)
    with pytest.raises(DataError, match=r"reasoning: split\.1 against keep"):
        compare([scores["t"], scores["k"]], None)


def test_an_answer_is_cut_where_its_prompt_opened_a_thought_that_it_never_closes(tmp_path: Path) -> None:
    from evalkit.pipeline.resume import answer_missing
    from evalkit.runs.store import RunFolder
    from tests.pipeline.test_evaluate import Toy

    engine = ScriptedEngine(answers={"0": "Perhaps yes", "1": "Perhaps</think>lung"}, rule="yes")
    requests = [
        Request(
            sample_id=s.id, image_id=s.image_id, question=s.question, answer_type=s.answer_type,
            messages=Toy().messages(s), images=(), image_digests=(), generation=engine.generation,
            checkpoint=engine.identity,
        )
        for s in SAMPLES[:3]
    ]  # fmt: skip
    found = answer_missing(
        RunFolder(tmp_path), SAMPLES[:3], requests, engine, True, opened=frozenset({"0", "1"})
    ).predictions
    assert found[0].is_cut
    assert (found[1].text, found[1].reasoning) == ("lung", "Perhaps")
    assert (found[2].text, found[2].raw) == ("yes", None)
