"""One question asked in several ways: what its prompts have in common is computed once, and no answer changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import Generation, ImagePlace, Message, Request
from evalkit.engines import prefix_decode
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_hf
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers

Make = Callable[..., HfEngine]
ENDINGS = ("", " w1 w2 w3", " w1 w4", " w9")


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    """Questions about four images, asked in one to four ways, one of which is the bare question."""
    made = []
    for k, request in enumerate(tiny.requests(tmp_path / "images", [3, 1, 4, 2], Generation(max_new_tokens=12))):
        for number, ending in enumerate(ENDINGS[: 1 + k % 4]):
            text = request.question + ending
            message = Message(role="user", content=(ImagePlace(), text))
            made.append(replace(request, sample_id=f"{request.sample_id}/{number}", messages=(message,)))
    return made


@pytest.mark.parametrize(
    "settings", [{}, {"batch_size": 3}, {"max_batch_tokens": 64}, {"exact": True}, {"workers": 0}], ids=str
)
@pytest.mark.few(1)
def test_answers_are_those_of_each_prompt_alone(
    engine: Make, requests: list[Request], settings: dict[str, Any]
) -> None:
    run = engine(**settings)
    found = answers(run, requests)
    assert found == answers(engine(share_prefix="off", batch_size=1), requests)
    assert run.metadata()["prefix_shared"] is True
    assert len({text for text, _, _ in found.values()}) > 8


@pytest.mark.few(1)
@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3"])
def test_families_answer_as_each_prompt_alone(
    engine: Make, tmp_path: Path, requests: list[Request], family: str
) -> None:
    spec = CheckpointSpec(
        name=family, config={"source": str(tiny_hf.save(family, tmp_path / family))}, chat_template=None,
        generation=Generation(max_new_tokens=6),
    )  # fmt: skip
    run = engine(spec)
    assert answers(run, requests) == answers(engine(spec, share_prefix="off", batch_size=1), requests)
    assert run.metadata()["prefix_shared"] is True


def tokens(run: HfEngine, requests: list[Request]) -> int:
    answers(run, requests)
    found: int = run.metadata()["counters"]["prefill_tokens"]
    return found


def test_a_question_that_is_asked_again_costs_its_ending_alone(engine: Make, tmp_path: Path) -> None:
    words = (12, 12)
    plain = tiny.requests(tmp_path / "images", [5], Generation(max_new_tokens=4), words=words)

    def asked_again(request: Request) -> Request:
        message = Message(role="user", content=(ImagePlace(), f"{request.question} w5"))
        return replace(request, sample_id=f"{request.sample_id}+", messages=(message,))

    again = [asked_again(r) for r in plain]
    # The prompts end with "answer": in one way it follows the 12 words, in the other "w5" and then "answer".
    assert tokens(engine(), [*plain, *again]) - tokens(engine(), plain) == 5 * 2
    others = [replace(r, question=f"{r.question} {k}") for k, r in enumerate([*plain, *again])]
    assert tokens(engine(), others) - tokens(engine(), plain) == 5 * 14, "other questions share the image alone"


def test_a_stem_that_others_see_is_detected_and_the_answers_stay_correct(
    engine: Make, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = answers(engine(share_prefix="off"), requests)
    original = prefix_decode.set_stems

    def one_for_all(questions: Any, pack: Any) -> None:
        original(questions, pack)
        for q in questions:  # every question sees the stem of the first one of its image
            q.stem = next((o.stem for o in questions if o.image == q.image and o.stem >= 0), q.stem)

    monkeypatch.setattr(prefix_decode, "set_stems", one_for_all)
    run = engine()
    assert answers(run, requests) == right
    assert run.metadata()["prefix_shared"] is False
