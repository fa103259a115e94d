"""Log-probabilities of options: degenerate options first, then equality with a plain forward pass over each prompt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import Generation, Request
from evalkit.engines import option_tree
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor, PromptRow, continued, with_starts
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_hf
from tests.support import tiny_llava as tiny
from tests.support.option_requests import expected_scores, scores, with_options

Make = Callable[..., HfEngine]
QUESTIONS = [4, 1, 3, 2]
CLOSE = 1e-5


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    """Requests with two to five options of one to four words, some of which are prefixes of others."""
    rng = random.Random(3)
    made = []
    for request in tiny.requests(tmp_path / "images", QUESTIONS, Generation(max_new_tokens=1)):
        texts = {" ".join(rng.choices(tiny.WORDS[:9], k=rng.randint(1, 4))) for _ in range(rng.randint(3, 5))}
        texts |= {f"{min(texts)} {tiny.WORDS[3]}"}
        made.append(with_options(request, sorted(texts)))
    return made


def one(requests: list[Request], *texts: str) -> Request:
    return with_options(requests[0], texts)


def close(found: list[tuple[float, int]], expected: list[tuple[float, int]]) -> bool:
    assert [n for _, n in found] == [n for _, n in expected]
    return all(abs(a - b) < CLOSE for (a, _), (b, _) in zip(found, expected, strict=True))


# --- degenerate options


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "texts",
    [("w1",), ("w1", "w1 w2"), ("w1 w2 w3", "w1 w2", "w1"), ("w1", "w2"), ("w1 w2", "w1 w2 w3 w4", "w5")],
    ids=["one option", "a prefix", "nested prefixes", "one token each", "one inside, one apart"],
)
@pytest.mark.parametrize("share", ["auto", "off"])
def test_degenerate_options_equal_a_plain_forward(
    engine: Make, requests: list[Request], texts: tuple[str, ...], share: str
) -> None:
    request = one(requests, *texts)
    run = engine(share_prefix=share)
    assert close(scores(run, [request])[request.sample_id], expected_scores(run, request))


def test_an_option_without_a_token_is_a_failure_that_names_it(engine: Make, requests: list[Request]) -> None:
    (prediction,) = [p for batch in engine().generate([one(requests, "w1", "")]) for p in batch]
    assert prediction.options == () and "the option '' has no token of its own" in str(prediction.error)


def test_options_of_one_token_cost_no_token_of_their_own(engine: Make, requests: list[Request]) -> None:
    counts = []
    for n in (2, 5):
        run = engine()
        scores(run, [one(requests, *tiny.WORDS[:n])])
        counts.append(run.metadata()["counters"]["prefill_tokens"])
    assert counts[0] == counts[1]


def rows_of(*ids: tuple[int, ...], texts: tuple[str, ...], request: Request) -> list[PromptRow]:
    made = [PromptRow(request=with_options(request, texts), ids=i, sequences={}, images={}) for i in ids]
    return with_starts(made[0], made[1:])


def test_a_token_across_the_boundary_belongs_to_the_continuation_of_all_options(requests: list[Request]) -> None:
    # The prompt's last token 9 merges with the first option alone.
    found = rows_of((1, 2, 9), (1, 2, 77), (1, 2, 9, 5), texts=("a", "b"), request=requests[0])
    assert [(row.option, row.start) for row in found] == [(0, 2), (1, 2)]
    whole = rows_of((1, 2, 9), (1, 2, 9, 4), (1, 2, 9, 5), texts=("a", "b"), request=requests[0])
    assert [row.start for row in whole] == [3, 3]


@pytest.mark.parametrize(
    ("prompt", "text", "whole"),
    [("x ASSISTANT:", "B", "x ASSISTANT: B"), ("assistant\n", "B", "assistant\nB"), ("Answer: ", "B", "Answer: B"),
     ("[/INST]", "left lung", "[/INST] left lung")],
)  # fmt: skip
def test_one_space_joins_an_option_unless_the_prompt_ends_with_white_space(prompt: str, text: str, whole: str) -> None:
    assert continued(prompt, text) == whole


# --- equality


@pytest.mark.parametrize(
    "settings",
    [{}, {"share_prefix": "off"}, {"batch_size": 2}, {"max_batch_tokens": 64}, {"exact": True},
     {"exact": True, "share_prefix": "off"}, {"workers": 0}],
    ids=str,
)  # fmt: skip
@pytest.mark.few(1)
def test_scores_equal_a_plain_forward_whatever_the_batch(
    engine: Make, requests: list[Request], settings: dict[str, Any]
) -> None:
    run = engine(**settings)
    found = scores(run, requests)
    assert all(close(found[r.sample_id], expected_scores(run, r)) for r in requests)
    assert run.metadata()["prefix_shared"] is (settings.get("share_prefix") != "off")
    assert len({round(score, 3) for values in found.values() for score, _ in values}) > 20


def test_an_exact_score_is_the_same_with_the_prefix_shared_or_not(engine: Make, requests: list[Request]) -> None:
    assert scores(engine(exact=True), requests) == scores(engine(exact=True, share_prefix="off"), requests)


def test_one_prefill_an_image_serves_all_questions_and_options(engine: Make, requests: list[Request]) -> None:
    run = engine()
    scores(run, requests)
    counters = run.metadata()["counters"]
    assert counters["prefix_prefills"] == len(QUESTIONS) and counters["decode_steps"] == 0
    whole = engine(share_prefix="off")
    scores(whole, requests)
    assert whole.metadata()["counters"]["prefill_tokens"] > 5 * counters["prefill_tokens"]


def test_prompts_with_the_image_last_are_scored_without_sharing(
    engine: Make, folder: Path, requests: list[Request]
) -> None:
    run = engine(tiny.spec(folder, chat_template=tiny.IMAGE_LAST))
    found = scores(run, requests)
    assert all(close(found[r.sample_id], expected_scores(run, r)) for r in requests)


@pytest.mark.parametrize("generation", [{"temperature": 1.0}, {"num_beams": 2}, {"repetition_penalty": 1.3}], ids=str)
def test_settings_of_generation_move_no_log_probability(
    engine: Make, folder: Path, requests: list[Request], generation: dict[str, Any]
) -> None:
    run = engine(tiny.spec(folder, **generation))
    assert scores(run, requests) == scores(engine(), requests)
    assert run.metadata()["prefix_shared"] is True


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", pytest.param("internvl", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_families_equal_a_plain_forward(engine: Make, tmp_path: Path, requests: list[Request], family: str) -> None:
    spec = CheckpointSpec(
        name=family, config={"source": str(tiny_hf.save(family, tmp_path / family))}, chat_template=None,
        generation=Generation(max_new_tokens=4),
    )  # fmt: skip
    run, off = engine(spec), engine(spec, share_prefix="off")
    found = scores(run, requests)
    assert run.metadata()["prefix_shared"] is True
    assert all(close(found[r.sample_id], expected_scores(run, r)) for r in requests)
    without = scores(off, requests)
    assert all(close(without[r.sample_id], expected_scores(run, r)) for r in requests)


# --- detection of mistakes


def test_a_wrong_mask_is_detected_and_the_scores_stay_correct(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine()
    right = {r.sample_id: expected_scores(run, r) for r in requests}
    visible = option_tree._visible
    monkeypatch.setattr(option_tree, "_visible", lambda *args: visible(*args) | True)
    found = scores(run, requests)
    assert "log-probabilities differ" in next(iter(run.metadata()["prefix_not_shared"]))
    assert all(close(found[i], right[i]) for i in right)


def test_options_of_one_question_do_not_see_each_other(engine: Make, requests: list[Request]) -> None:
    request = one(requests, "w1 w2 w3", "w4 w5 w6", "w4 w5 w7")
    run = engine()
    together = scores(run, [request])[request.sample_id]
    alone = [
        scores(run, [replace(request, continuations=(text,))])[request.sample_id][0] for text in request.continuations
    ]
    assert close(together, alone)


def test_the_layout_states_a_question_once(engine: Make, requests: list[Request]) -> None:
    request = one(requests, "w1 w2 w3", "w1 w4")
    rows = Preprocessor(engine().load(), workers=0).process([request]).rows
    found = option_tree.layout(rows, rows[0].start - 1)
    # The last token of the prompt and w1 are common; w2 belongs to one option; w3 and w4 are predicted alone.
    assert [(p.option, p.offset) for p in found.places] == [(-1, 0), (-1, 1), (0, 2)]
    assert found.predicting == [[0, 1, 2], [0, 1]]


def test_logits_that_are_not_finite_fail_their_request_alone(engine: Make, requests: list[Request]) -> None:
    import torch

    run = engine()
    loaded = run.load()
    bad = loaded.processor.tokenizer.convert_tokens_to_ids("w149")
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[bad] = float("nan")
    poisoned = with_options(requests[0], ("w149 w1", "w2"))
    given = {p.sample_id: p for batch in run.generate([poisoned, *requests[1:]]) for p in batch}
    assert "NaN or infinite" in str(given[poisoned.sample_id].error)
    assert all(given[r.sample_id].error is None for r in requests[1:])
