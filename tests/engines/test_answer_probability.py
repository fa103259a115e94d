"""The probability of an answer under confidence=true, against transformers' own scores of the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.clients.response import Reply, read_completion
from evalkit.core.types import Generation, Request
from evalkit.engines import chat_format
from evalkit.engines.hf import HfEngine
from tests.support import tiny_llava as tiny

Make = Callable[..., HfEngine]


@pytest.fixture
def requests(folder: Path, tmp_path: Path) -> list[Request]:
    made = tiny.requests(tmp_path / "images", [4, 2, 1], tiny.spec(folder).generation)
    return [replace(r, with_probability=True) for r in made]


def by_id(engine: HfEngine, requests: list[Request]) -> dict[str, Any]:
    return {p.sample_id: p for batch in engine.generate(requests) for p in batch}


def expected(engine: HfEngine, request: Request) -> float:
    """The sum of log-softmax over one whole prompt with the answer after it, one forward pass."""
    import torch

    from evalkit.engines.plain_decode import answer, collate
    from evalkit.engines.preprocess import Preprocessor

    loaded = engine.load()
    (row,) = Preprocessor(loaded, workers=0).process([request]).rows
    (ids,) = answer(loaded, [row])
    length = next((k + 1 for k, token in enumerate(ids) if token in loaded.ends), len(ids))
    inputs = collate(loaded, [replace(row, ids=(*row.ids, *ids[:length]))])
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[0, -length - 1 : -1]
    logits = logits.clone().float()
    if suppressed := loaded.suppressed():
        logits[:, suppressed] = float("-inf")
    return float(logits.log_softmax(-1).gather(1, torch.tensor(ids[:length])[:, None]).sum())


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "settings",
    [{"share_prefix": "require"}, {"share_prefix": "off", "batch_size": 1}, {"share_prefix": "off", "batch_size": 4}],
    ids=["shared", "alone", "batch"],
)
def test_the_probability_is_that_of_a_forward_pass_over_the_whole_answer(
    engine: Make, requests: list[Request], settings: dict[str, Any]
) -> None:
    made = engine(**settings)
    found = by_id(made, requests)
    plain = by_id(engine(**settings), [replace(r, with_probability=False) for r in requests])
    for request in requests:
        prediction = found[request.sample_id]
        assert prediction.text == plain[request.sample_id].text, "asking for probabilities changes no answer"
        assert plain[request.sample_id].logprob is None
        assert prediction.logprob == pytest.approx(expected(made, request), abs=1e-4)
        assert -200 < prediction.logprob < 0
    if settings["share_prefix"] == "require":
        assert made.metadata()["counters"]["prefix_prefills"] == 3, "an image is computed once"


def test_a_sum_over_an_unfinished_answer_has_its_tokens_alone(engine: Make, requests: list[Request]) -> None:
    """Rows of a batch are padded after their end; the padding has no part in the sum."""
    loaded = engine().load()
    rows = [(5, -0.5), (min(loaded.ends), -0.25), (0, -9.0)]
    from evalkit.engines.answer_probability import WITH_PROBABILITY
    from evalkit.engines.preprocess import PromptRow

    row = PromptRow(request=requests[0], ids=(1,), sequences={}, images={})
    assert WITH_PROBABILITY.prediction(loaded, row, rows, 0.1).logprob == -0.75
    assert WITH_PROBABILITY.prediction(loaded, row, rows[:1], 0.1).logprob == -0.5
    not_finite = WITH_PROBABILITY.prediction(loaded, row, [(5, -0.5), (-1, float("nan"))], 0.1)
    assert not_finite.error is not None and not_finite.logprob is None


def test_it_is_part_of_the_request_and_absent_by_default(requests: list[Request]) -> None:
    one = requests[0]
    assert one.fingerprint != replace(one, with_probability=False).fingerprint
    fields = {"sample_id": "1", "image_id": "i", "question": "q", "answer_type": None, "messages": (), "images": ()}
    old = Request(**fields, image_digests=(), generation=Generation(), checkpoint="c")
    assert old.fingerprint == replace(old, with_probability=False).fingerprint


def completion(logprobs: Any) -> Reply:
    choice = {"message": {"content": "yes"}, "finish_reason": "stop", "logprobs": logprobs}
    return read_completion({"choices": [choice]}, 0.1)


@pytest.mark.parametrize(
    ("logprobs", "total"),
    [
        ({"content": [{"token": "y", "logprob": -0.5}, {"token": "es", "logprob": -0.25}]}, -0.75),
        ({"content": [{"token": "y", "logprob": 0}]}, 0.0),
        (None, None),
        ({"content": None}, None),
        ({"content": []}, None),
        ({"content": [{"token": "y", "logprob": -0.5}, {"token": "es"}]}, None),
        ({"content": [{"token": "y", "logprob": "x"}]}, None),
        ({"content": [{"token": "y", "logprob": True}]}, None),
        ({"content": ["y"]}, None),
        ([], None),
    ],
)
def test_a_servers_logprobs_count_only_where_each_token_has_one(logprobs: Any, total: float | None) -> None:
    assert completion(logprobs).logprob == total


def test_a_server_is_asked_for_them_only_then(requests: list[Request]) -> None:
    asked, plain = (
        chat_format.body(replace(requests[0], with_probability=given), ["data:,"], "m", {}, {})
        for given in (True, False)
    )
    assert asked["logprobs"] is True and "logprobs" not in plain
    reply = completion({"content": [{"token": "yes", "logprob": -0.1}]})
    assert chat_format.prediction_of(requests[0], reply, []).logprob == -0.1
    assert chat_format.prediction_of(replace(requests[0], with_probability=False), reply, []).logprob is None
    assert "logprob" not in completion(None).record() and Reply.of(reply.record()) == reply
