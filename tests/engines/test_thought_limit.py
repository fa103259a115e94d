"""The budget of a thought: forced ends and cut ones, the same with a shared prefix and without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.reasoning import separate
from evalkit.core.thought_ends import closing_mark
from evalkit.core.types import CUT_IN_REASONING, Generation, Prediction, Request
from evalkit.engines import plain_decode
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor, group_by_image
from evalkit.engines.vllm import VllmEngine
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny
from tests.support import tiny_thinker

Make = Callable[..., HfEngine]
BUDGET, ANSWER = 6, 4


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_thinker.save(tmp_path_factory.mktemp("thinking"))


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    return tiny.requests(tmp_path / "images", [7, 6, 5, 7], Generation(), vocabulary=tiny_thinker.WORDS)


def engine(folder: Path, generation: Generation, **settings: Any) -> HfEngine:
    spec = CheckpointSpec(name="t", config={"source": str(folder)}, chat_template=None, generation=generation)
    return HfEngine(spec=spec, device="cpu", dtype="float32", **settings)


def answers(
    run: HfEngine | VllmEngine, requests: list[Request], key: Generation | None = None
) -> dict[str, Prediction]:
    """The answers; key: the settings that the seeds are made of."""
    asked = [replace(r, generation=key or run.generation) for r in requests]
    return {p.sample_id: replace(p, seconds=None) for batch in run.generate(asked) for p in batch}


@pytest.mark.few(2)
@pytest.mark.parametrize("overflow", ["force", "fail"])
@pytest.mark.parametrize("sampled", [False, True])
def test_every_answer_follows_the_rule(thinking: Path, requests: list[Request], overflow: Any, sampled: bool) -> None:
    limits = Generation(max_new_tokens=ANSWER, reasoning_budget=BUDGET, reasoning_overflow=overflow)
    free = Generation(max_new_tokens=40)
    if sampled:
        limits, free = (replace(g, temperature=1.5, n=2) for g in (limits, free))
        requests = [replace(r, draw=0) for r in requests]
    run = engine(thinking, limits)
    found, unlimited = answers(run, requests), answers(engine(thinking, free), requests, limits)
    assert run.metadata()["prefix_shared"] is True
    kinds = set()
    for name, one in found.items():
        words, natural = str(one.text).split(), str(unlimited[name].text).split()
        closed = natural.index("</think>") if "</think>" in natural else None
        split = separate(one, opened=True)
        if words.count("</think>") == 1:
            assert one.thought_tokens == words.index("</think>") + 1
        if closed is not None and closed < BUDGET:
            kinds.add("closed by the model")
            assert words[: closed + 1] == natural[: closed + 1]
            assert not one.thought_forced
            assert len(words) <= closed + 1 + ANSWER
        elif len(natural) <= BUDGET and closed is None:
            kinds.add("ended by itself")
            assert words[:BUDGET] == natural[:BUDGET]
        elif overflow == "force":
            kinds.add("forced")
            assert words[:BUDGET] == natural[:BUDGET]
            assert words[BUDGET] == "</think>"
            assert one.thought_forced
            assert len(words) <= BUDGET + 1 + ANSWER
            assert split.reasoning.split()[:BUDGET] == natural[:BUDGET]
        else:
            kinds.add("cut")
            assert words == natural[:BUDGET]
            assert one.finish_reason == "length"
            assert split.error == CUT_IN_REASONING
            assert not one.thought_forced
    assert {"forced" if overflow == "force" else "cut"} <= kinds
    assert len(kinds) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("overflow", ["force", "fail"])
def test_sharing_and_batches_change_no_thought(thinking: Path, requests: list[Request], overflow: Any) -> None:
    limits = Generation(max_new_tokens=ANSWER, reasoning_budget=BUDGET, reasoning_overflow=overflow)
    found = answers(engine(thinking, limits), requests)
    assert found == answers(engine(thinking, limits, share_prefix="off", batch_size=1), requests)
    assert found == answers(engine(thinking, limits, share_prefix="off"), requests)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("budget", "most", "overflow"), [(6, 4, "force"), (6, 4, "fail"), (1, 9, "force"), (9, 1, "force")]
)
def test_vllm_asked_in_parts_gives_the_answers_of_hf(
    thinking: Path, requests: list[Request], vllm: Any, budget: int, most: int, overflow: Any
) -> None:
    limits = Generation(max_new_tokens=most, reasoning_budget=budget, reasoning_overflow=overflow)
    spec = CheckpointSpec(name="t", config={"source": str(thinking)}, chat_template=None, generation=limits)
    asked = [replace(r, generation=limits) for r in requests]
    found = {
        p.sample_id: replace(p, seconds=None)
        for batch in VllmEngine(spec=spec, dtype="float32").generate(asked)
        for p in batch
    }
    assert found == answers(engine(thinking, limits), requests)
    assert any(p.thought_forced for p in found.values()) is (overflow == "force")
    assert overflow == "fail" or len(vllm.MADE[-1].calls) > 1, "no answer was asked for in parts"


def test_a_stop_string_inside_a_thought_ends_the_answer_before_anything_is_forced(
    thinking: Path, requests: list[Request], vllm: Any
) -> None:
    limits = Generation(max_new_tokens=ANSWER, reasoning_budget=BUDGET, stop=("w4", "w1 w"))
    spec = CheckpointSpec(name="t", config={"source": str(thinking)}, chat_template=None, generation=limits)
    found = answers(engine(thinking, limits), requests)
    stopped = [p for p in found.values() if p.finish_reason == "stop" and (p.n_tokens or 0) <= BUDGET]
    assert stopped and not any(p.thought_forced for p in stopped)
    assert any(p.thought_forced for p in found.values())
    assert answers(VllmEngine(spec=spec, dtype="float32"), requests) == found


def test_a_forced_mark_leaves_the_models_own_logits_as_they_are(thinking: Path, requests: list[Request]) -> None:
    import torch

    loaded = engine(thinking, Generation(max_new_tokens=4, reasoning_budget=1)).load()
    rows = [
        row for group in Preprocessor(loaded, workers=1).process_all(group_by_image(requests)) for row in group.rows
    ]
    limits = plain_decode._ThoughtLimits(loaded, rows[:2], width=3)
    for limit in limits.limits:
        limit.take([int(loaded.processor.tokenizer.convert_tokens_to_ids("look"))])
    own = torch.rand(2, len(loaded.processor.tokenizer))
    before = own.clone()
    forced = limits._force(None, own)
    assert torch.isinf(forced).any(), "no mark is forced in the test"
    assert torch.equal(own, before), "transformers records these, and the check of sharing compares with them"


def test_thinking_that_is_switched_off_needs_no_budget(thinking: Path, requests: list[Request]) -> None:
    off = Generation(max_new_tokens=ANSWER, reasoning="off", reasoning_budget=BUDGET)
    without = answers(engine(thinking, off), requests)
    plain = answers(engine(thinking, replace(off, reasoning_budget=None)), requests)
    assert {k: p.text for k, p in without.items()} == {k: p.text for k, p in plain.items()}
    assert not any(p.thought_forced for p in without.values())
    on = answers(engine(thinking, replace(off, reasoning="on", reasoning_budget=None)), requests)
    assert {k: p.text for k, p in on.items()} != {k: p.text for k, p in plain.items()}


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<think>CT or", "\n</think>\n\n"),
        ("Well. <Thinking>CT or", "\n</Thinking>\n\n"),
        ("<|think|>CT or", "\n</think>\n\n"),
        ("[THINK]CT", "[/THINK]"),
        ("◁think▷CT", "◁/think▷"),
        ("<unused94>thought\nCT", "<unused95>"),
        ("<|channel>thought\nCT", "<channel|>"),
        ("<|START_THINKING|>CT", "<|END_THINKING|><|START_RESPONSE|>"),
        ("<|begin_of_thought|>CT", "\n<|end_of_thought|>\n\n<|begin_of_solution|>\n"),
        ("<|channel|>analysis<|message|>CT or", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("## Thinking\n\nCT or", "\n\n## Final Response\n\n"),
        ("<think>MRI <think>CT or", "\n</think>\n\n\n</think>\n\n"),
        ("<think><think>CT or", "\n</think>\n\n"),
        ("<think>CT [/THINK] or", "\n</think>\n\n"),
        ("<think>CT `</think>` or", "\n</think>\n\n"),
    ],
)
def test_an_open_thought_is_closed_by_its_own_mark(text: str, mark: str) -> None:
    assert closing_mark(text) == mark
    cut = Prediction(sample_id="1", text=text, finish_reason="length")
    assert separate(cut).is_cut
    closed = separate(replace(cut, text=f"{text}{mark}MRI"))
    assert str(closed.text).split()[-1] == "MRI"
    assert "CT" in closed.reasoning


@pytest.mark.parametrize(
    "text", ["CT", "<think>CT</think>MRI", "[THINK]a[/THINK]b", "## Thinking\n\na\n\n## Final Response\nb"]
)
def test_where_no_thought_is_open_nothing_closes_one(text: str) -> None:
    assert closing_mark(text) is None
