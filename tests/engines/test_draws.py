"""Several answers of one sample: seeded each by itself, over one prefix, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import Generation, Request
from evalkit.engines.chat_format import body
from evalkit.engines.hf import HfEngine
from evalkit.engines.sampling import draw_tokens
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers

Make = Callable[..., HfEngine]
SAMPLED = Generation(max_new_tokens=8, temperature=0.9, top_k=40, top_p=0.95)
N = 4


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    """Questions about three images, four draws of each."""
    asked = tiny.requests(tmp_path / "images", [2, 1, 3], SAMPLED)
    return [replace(r, sample_id=f"{r.sample_id}#{k}", draw=k) for r in asked for k in range(N)]


@pytest.fixture
def make(engine: Make, folder: Path) -> Make:
    spec = replace(tiny.spec(folder), generation=replace(SAMPLED, n=N))
    return lambda **settings: engine(spec, **settings)


@pytest.mark.slow
def test_draws_do_not_depend_on_batch_order_or_sharing(make: Make, requests: list[Request]) -> None:
    run = make()
    found = answers(run, requests)
    assert found == answers(make(share_prefix="off", batch_size=1, workers=0), list(reversed(requests)))
    assert found == answers(make(share_prefix="off"), requests)
    assert found == answers(make(batch_size=3), requests)
    facts = run.metadata()
    assert facts["prefix_shared"] is True
    # One prefix for all draws of all questions about an image.
    assert facts["counters"]["prefix_prefills"] == 3
    texts = {r.sample_id.split("#")[0]: set() for r in requests}
    for name, (text, *_) in found.items():
        texts[name.split("#")[0]].add(text)
    assert sum(len(of) for of in texts.values()) > 2 * len(texts)


def test_a_single_draw_asked_again_is_the_same_one(make: Make, requests: list[Request]) -> None:
    found = answers(make(), requests)
    again = answers(make(), [requests[5]])
    assert again == {requests[5].sample_id: found[requests[5].sample_id]}


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.7}], ids=str
)
def test_tokens_are_drawn_by_the_probabilities_of_transformers(changes: dict[str, Any]) -> None:
    import torch
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    generation = replace(Generation(temperature=1.0), **changes)
    logits = torch.tensor([[0.1, 2.0, float("-inf"), 1.0, 0.3, -1.0, 1.9]])
    scores = TemperatureLogitsWarper(generation.temperature)(None, logits)
    if generation.top_k:
        scores = TopKLogitsWarper(generation.top_k)(None, scores)
    if generation.top_p < 1:
        scores = TopPLogitsWarper(generation.top_p)(None, scores)
    wanted = scores.softmax(-1)[0]
    n = 20_000
    drawn = draw_tokens(logits.expand(n, -1), generation, [(k, 3) for k in range(n)])
    shares = torch.bincount(drawn, minlength=7) / n
    assert bool((shares[wanted == 0] == 0).all())
    assert float((shares - wanted).abs().max()) < 5 * (0.25 / n) ** 0.5


def test_sampled_answers_without_draws_keep_the_key_that_they_had(tmp_path: Path) -> None:
    one = tiny.requests(tmp_path / "images", [1], Generation(max_new_tokens=8, temperature=0.5, seed=3))[0]
    settings = {
        "max_new_tokens": 8, "temperature": 0.5, "top_p": 1.0, "top_k": None, "num_beams": 1,
        "repetition_penalty": 1.0, "stop": (), "seed": 3,
    }  # fmt: skip
    assert one.generation.record() == settings
    drawn = replace(one, draw=0)
    assert one.fingerprint != drawn.fingerprint != replace(one, draw=1).fingerprint


def test_a_server_gets_a_seed_of_its_own_for_every_draw(requests: list[Request]) -> None:
    seeds = {body(r, ["data:"], "m", {}, {})["seed"] for r in requests}
    assert len(seeds) == len(requests)


@pytest.mark.parametrize("settings", [{"n": 2}, {"n": 0}, {"n": 2, "temperature": 0.5, "num_beams": 2}], ids=str)
def test_draws_that_would_all_be_one_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="n="):
        Generation(**settings)
