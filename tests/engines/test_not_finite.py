"""NaN and infinite logits: they fail the samples that they belong to, in every way of decoding, and no others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.core.errors import EngineError
from evalkit.core.types import Generation, Prediction, Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.loaded_model import NOT_FINITE, make_prediction
from evalkit.engines.vllm_prompts import PromptRules, prediction_of
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import ask_all

Make = Callable[..., HfEngine]

# One way of decoding each: settings of the engine, settings of generation.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "shared": ({}, {}),
    "one at a time": ({"batch_size": 1}, {}),
    "plain": ({"share_prefix": "off"}, {}),
    "exact": ({"exact": True}, {}),
    "exact, not shared": ({"exact": True, "share_prefix": "off"}, {}),
    "beams": ({}, {"num_beams": 3}),
    "sampled": ({}, {"temperature": 1.0, "top_p": 0.9}),
    "penalty": ({}, {"repetition_penalty": 1.3}),
    "stop strings": ({}, {"stop": ("w3",)}),
    "stop strings, plain": ({"share_prefix": "off"}, {"stop": ("w3",)}),
}
LAST_WORD, WORD_ID = tiny.WORDS[-1], 6 + len(tiny.WORDS)


def errors(predictions: Iterable[Prediction]) -> dict[str, str]:
    return {p.sample_id: p.error for p in predictions if p.error is not None}


def poison_projector(model: Any, value: float) -> None:
    model.model.multi_modal_projector.linear_1.bias.data[3] = value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [math.nan, pytest.param(math.inf, marks=pytest.mark.slow)])
@pytest.mark.few(3)
def test_a_model_whose_logits_are_never_finite_stops_the_run(
    engine: Make, folder: Path, tmp_path: Path, way: str, value: float
) -> None:
    settings, generation = WAYS[way]
    spec = tiny.spec(folder, **generation)
    made = engine(spec, **settings)
    poison_projector(made.load().model, value)
    given, problem = ask_all(made, tiny.requests(tmp_path / "images", [4, 4, 2], spec.generation))
    assert type(problem) is EngineError and problem.exit_code == 2
    assert "samples all failed" in str(problem) and "NaN or infinite at token 1" in str(problem)
    assert all(p.error for p in given)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.few(1)
def test_a_question_that_makes_nan_fails_alone(engine: Make, folder: Path, tmp_path: Path, way: str) -> None:
    settings, generation = WAYS[way]
    spec = tiny.spec(folder, **generation)
    requests = tiny.requests(tmp_path / "images", [4, 3, 2], spec.generation, vocabulary=tiny.WORDS[:-1])
    marked = next(r for r in requests if r.image_id == "0")
    requests = [with_word(r) if r is marked else r for r in requests]
    given = {}
    for value in (0.5, math.nan):
        made = engine(spec, **settings)
        model = made.load().model
        model.generation_config.suppress_tokens = [4, WORD_ID]  # the word is in a question and never in an answer
        model.get_input_embeddings().weight.data[WORD_ID, 0] = value
        predictions, problem = ask_all(made, requests)
        assert problem is None
        given[value] = {p.sample_id: p for p in predictions}
    healthy, sick = given.values()
    assert list(errors(sick.values())) == [marked.sample_id] and not errors(healthy.values())
    assert "NaN or infinite" in str(sick[marked.sample_id].error)
    assert all(sick[k].text == p.text for k, p in healthy.items() if k != marked.sample_id)


def with_word(request: Request) -> Request:
    text = f"{request.question} {LAST_WORD}"
    message = replace(request.messages[0], content=(request.messages[0].content[0], text))
    return replace(request, question=text, messages=(message,))


def test_an_answer_that_ended_before_is_an_answer(engine: Make, folder: Path, tmp_path: Path) -> None:
    loaded = engine().load()
    (request,) = tiny.requests(tmp_path / "images", [1], Generation(max_new_tokens=12))
    end = min(loaded.ends)
    ended = make_prediction(loaded, request, [8, 9, end, NOT_FINITE], 0.1)
    assert (ended.text, ended.finish_reason, ended.error) == ("w1 w2", "stop", None)
    cut = make_prediction(loaded, request, [8, 9, NOT_FINITE], 0.1)
    assert cut.text is None and cut.error and "token 3" in cut.error


def test_vllm_outputs_that_show_nan_are_failures(engine: Make, tmp_path: Path) -> None:
    loaded = engine().load()
    (request,) = tiny.requests(tmp_path / "images", [1], Generation(max_new_tokens=12))
    rules = PromptRules(
        processor=loaded.processor, generation=request.generation, ends=loaded.ends, suppressed=(), vocabulary=157
    )

    def outcome(probability: float | None, n_nan: int = 0) -> str | None:
        done = SimpleNamespace(token_ids=[8, 9, 2], finish_reason="stop", cumulative_logprob=probability)
        return prediction_of(rules, request, SimpleNamespace(outputs=[done], num_nans_in_logits=n_nan), 0.1).error

    assert outcome(None) is None and outcome(-3.5) is None
    assert "NaN" in str(outcome(math.nan)) and "NaN" in str(outcome(None, 7))
