"""Thoughts of a run: asked for by the prompt, their length beside the table, with and without thinking compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis.compare import compare
from evalkit.analysis.run_scores import read_run_scores
from evalkit.analysis.thoughts import thought_length_text, thought_record, thought_warning
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.types import CUT_IN_REASONING, Generation, Prediction
from evalkit.engines.scripted import ScriptedEngine
from evalkit.pipeline.conclude import caption_of
from evalkit.runs.codec import decode
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import prediction_text
from evalkit.tasks.prompts import prompt_id, render
from tests.pipeline.test_evaluate import LOADED, lines, run

SAMPLES = LOADED.samples
THOUGHT = "Yes or no, lung or liver?"


class Thinker(ScriptedEngine):
    """A stand-in that thinks in tags: for three words, or until its budget closes the thought."""

    def __init__(self, thoughts: dict[str, str], settings: Generation) -> None:
        super().__init__(answers={s.id: f"{thoughts.get(s.id, '')}{s.references[0]}" for s in SAMPLES})
        self.generation = settings
        self.forced = {name for name, text in thoughts.items() if text.startswith("<think>")}

    def generate(self, requests: Any) -> Any:
        for batch in super().generate(requests):
            yield [replace(p, thought_forced=p.sample_id in self.forced) for p in batch]


def test_lengths_and_shares_stand_beside_the_table_and_in_the_files(tmp_path: Path) -> None:
    thoughts = {s.id: f"<think>{THOUGHT}</think>\n" for s in SAMPLES[:5]}
    outcome = run(tmp_path, Thinker(thoughts, Generation(max_new_tokens=16, reasoning_budget=5)))
    record = outcome.summary.sanity_checks["thoughts"]
    assert record == {"n": 5, "cut": 0, "forced": 5, "words": {"median": 6, "most": 6}}
    assert "6 words in the median, 6 at most; 0.0 % are cut, 100.0 % closed at their budget" in caption_of(
        outcome.summary
    )
    stored = lines(outcome.folder / "predictions.jsonl")
    assert [line.get("thought_forced", False) for line in stored] == [True] * 5 + [False] * (len(SAMPLES) - 5)
    assert ".budget5-force" in outcome.summary.generation


def test_lengths_are_in_tokens_where_those_of_every_thought_are_known() -> None:
    known = Prediction(sample_id="1", text="CT", reasoning="MRI or CT?", raw="x", n_tokens=9, thought_tokens=7)
    cut = Prediction(sample_id="2", error=CUT_IN_REASONING, reasoning="MRI", raw="x", n_tokens=11)
    unknown = Prediction(sample_id="3", text="CT", reasoning="MRI or", raw="x", n_tokens=8)
    silent = Prediction(sample_id="4", text="CT", n_tokens=1)
    found = thought_record([known, cut, silent])
    assert found["tokens"] == {"median": 9, "most": 11}
    assert thought_length_text(found).startswith("a thought has 9 tokens in the median, 11 at most; 50.0 % are cut")
    mixed = thought_record([known, cut, unknown, silent])
    assert "tokens" not in mixed
    assert thought_length_text(mixed).startswith("a thought has 2 words in the median, 3 at most")


def test_a_thought_that_a_server_counts_and_does_not_show_is_hidden_and_no_missing_one() -> None:
    hidden = [Prediction(sample_id=str(k), text="CT", n_tokens=9, thought_tokens=n) for k, n in enumerate((7, 5, 9))]
    found = thought_record(hidden)
    assert found == {"n": 3, "cut": 0, "forced": 0, "hidden": 3, "tokens": {"median": 7, "most": 9}}
    assert thought_length_text(found) == (
        "a thought has 7 tokens in the median, 9 at most; 0.0 % are cut, 0.0 % closed at their budget; 3 are hidden by "
        "the server"
    )
    shown = Prediction(sample_id="s", text="CT", reasoning="MRI or CT?", raw="x", n_tokens=8)
    mixed = thought_record([*hidden, shown])
    assert (mixed["n"], mixed["hidden"], mixed["words"]) == (4, 3, {"median": 3, "most": 3})
    assert thought_length_text(mixed).startswith("a thought that is shown has 3 words")
    assert thought_warning(hidden, "greedy.max64.think-on", "short@1") is None
    assert "3 of 3 answers came with a thought" in str(thought_warning(hidden, "greedy.max64.think-off", "short@1"))


def test_hidden_thoughts_are_named_below_the_table_and_change_no_signature(tmp_path: Path) -> None:
    class Hidden(ScriptedEngine):
        def generate(self, requests: Any) -> Any:
            for batch in super().generate(requests):
                yield [replace(p, thought_tokens=7) for p in batch]

    outcome = run(tmp_path, Hidden(answers={s.id: "no" for s in SAMPLES}))
    n = len(SAMPLES)
    assert any(f"{n} of {n} answers came after a thought that the server counts" in text for text in outcome.texts)
    assert f"{n} are hidden by the server" in caption_of(outcome.summary)
    assert all("reasoning:" not in str(m.signature) for m in outcome.summary.metrics)


def test_tokens_of_a_thought_are_stored_and_read_again() -> None:
    made = replace(Prediction(sample_id=SAMPLES[0].id, text="CT", reasoning="MRI?", raw="x"), thought_tokens=7)
    text = prediction_text(PredictionLine.of(SAMPLES[0], made))
    assert json.loads(text)["thought_tokens"] == 7
    assert decode(PredictionLine, text.encode(), "here").prediction == made
    assert PackedPredictions.of([made])[0] == made
    assert "thought_tokens" not in prediction_text(PredictionLine.of(SAMPLES[0], replace(made, thought_tokens=None)))


def test_with_and_without_thinking_is_one_comparison(tmp_path: Path) -> None:
    thoughts = {s.id: f"<think>{THOUGHT}</think>\n" for s in SAMPLES}
    on = run(tmp_path, Thinker(thoughts, Generation(reasoning="on")))
    silent = ScriptedEngine(answers={s.id: "no" for s in SAMPLES})
    silent.generation = Generation(reasoning="off")
    off = run(tmp_path, silent)
    assert on.folder != off.folder
    (found,) = compare([read_run_scores(on.folder), read_run_scores(off.folder)], None)
    assert found.pairs
    for pair in found.pairs:
        values = [r.summary.find(*pair.key).value for r in (on, off)]
        assert pair.difference == pytest.approx(values[1] - values[0])
    assert any(pair.difference for pair in found.pairs)
    assert on.summary.generation == "greedy.max64.think-on"


def test_a_run_without_thoughts_has_the_files_that_it_had(tmp_path: Path) -> None:
    outcome = run(tmp_path, ScriptedEngine(answers={s.id: "no" for s in SAMPLES}))
    text = (outcome.folder / "predictions.jsonl").read_text(encoding="utf-8")
    summary = json.loads((outcome.folder / "summary.json").read_text(encoding="utf-8"))
    assert "thought" not in text
    assert not {"thoughts", "draws"} & set(summary["sanity_checks"])
    assert set(json.loads((outcome.folder / "prompts.json").read_text(encoding="utf-8"))["header"]["generation"]) == {
        "max_new_tokens", "temperature", "top_p", "top_k", "num_beams", "repetition_penalty", "stop", "seed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("generation", "thinking", "said"),
    [
        ("greedy.max64.think-on", True, None),
        ("greedy.max64.think-on", False, "no answer came with a thought"),
        ("greedy.max64.think-off", True, "all the same"),
        ("greedy.max64.think-off", False, None),
        ("greedy.max64", True, None),
    ],
)
def test_a_switch_that_is_not_followed_is_said(generation: str, thinking: bool, said: str | None) -> None:
    thought = {"reasoning": "MRI?", "raw": "<think>MRI?</think>CT"} if thinking else {}
    found = thought_warning([Prediction(sample_id="1", text="CT", **thought)], generation, "short@1")
    assert (found is None) if said is None else (said in str(found))


@pytest.mark.parametrize(
    ("question", "choices", "is_choice", "asked"),
    [
        ("Is there a mass?", (), False, "as a single word or phrase"),
        ("Which?", ("CT", "MRI", "US"), True, "as the letter of the right option"),
        ("这是什么器官？", (), False, "一个词或短语"),
    ],
)
def test_the_prompt_asks_for_a_thought_and_for_an_answer_under_a_heading(
    question: str, choices: tuple[str, ...], is_choice: bool, asked: str
) -> None:
    text = render("cot", question, choices, is_choice=is_choice)
    assert text.startswith(question) and asked in text
    assert "### Reasoning" in text and "### Answer" in text
    assert ("A. CT\nB. MRI\nC. US" in text) is is_choice
    assert prompt_id("cot") != prompt_id("cot", has_choices=True)


def test_an_answer_under_its_heading_is_read_alone_and_a_cut_one_is_unscored(tmp_path: Path) -> None:
    class Cut(ScriptedEngine):
        def generate(self, requests: Any) -> Any:
            for batch in super().generate(requests):
                yield [replace(p, finish_reason="length" if p.sample_id == "2" else "stop") for p in batch]

    answers = {s.id: f"### Reasoning\n{THOUGHT}\n\n### Answer\n{s.references[0]}" for s in SAMPLES}
    answers |= {"1": "yes", "2": f"### Reasoning\n{THOUGHT} It is"}
    outcome = run(tmp_path, Cut(answers=answers), loaded=replace(LOADED, prompt=prompt_id("cot")))
    stored = {line["sample_id"]: line for line in lines(outcome.folder / "predictions.jsonl")}
    assert stored["0"]["text"] == SAMPLES[0].references[0]
    assert stored["0"]["reasoning"] == THOUGHT
    assert stored["2"]["text"] is None and "cut" in stored["2"]["error"]
    assert outcome.summary.n_failed == 0
    assert any("no heading" in text and "1 of 20" in text for text in outcome.summary.warnings)
