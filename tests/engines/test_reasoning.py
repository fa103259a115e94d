"""Thoughts from engines: a server's own field for them, and tokenizers that mark them with special tokens."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.clients.response import Reply, read_completion
from evalkit.core.types import CUT_IN_REASONING, Generation, Prediction, Request
from evalkit.engines.chat_format import prediction_of
from evalkit.engines.loaded_model import decode_answer

REQUEST = Request(
    sample_id="1", image_id="i", question="?", answer_type=None, messages=(), images=(), image_digests=(),
    generation=Generation(), checkpoint="c",
)  # fmt: skip


def reply(finish: str = "stop", **message: Any) -> Reply:
    return read_completion({"choices": [{"message": message, "finish_reason": finish}]}, 0.1)


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "MRI or CT?"},
        {"reasoning": " MRI or CT?\n"},
        {"thinking": "MRI or CT?"},
        {"reasoning_content": None, "reasoning": "MRI or CT?"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "MRI or CT?"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "MRI or CT?"}]},
    ],
)
def test_a_servers_field_for_thoughts_is_kept_beside_the_answer(message: dict[str, Any]) -> None:
    made = prediction_of(REQUEST, reply(content="CT", **message), ["200"])
    assert (made.text, made.reasoning, made.raw, made.attempts) == ("CT", "MRI or CT?", None, ())


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}}, 6),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 0}}, None),
        ({"completion_tokens": 9, "output_tokens_details": {"reasoning_tokens": 6}}, 6),
        ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 6}}, 6),
        ({"completion_tokens": 9, "reasoning_tokens": 6}, 6),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 0}, "reasoning_tokens": 6}, 6),
        ({"completion_tokens": 9, "thoughts_token_count": 6}, 6),
        ({"completion_tokens": 9, "thoughtsTokenCount": 6}, 6),
        ({"completion_tokens": 9, "reasoning_tokens": True}, None),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": "six"}}, None),
        ({"completion_tokens": 9, "completion_tokens_details": None}, None),
        ({"completion_tokens": 9}, None),
    ],
)
def test_a_servers_count_of_the_thoughts_tokens_is_kept(usage: dict[str, Any], expected: int | None) -> None:
    message = {"content": "CT", "reasoning": "MRI or CT?"}
    content = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    given = read_completion(content, 0.1)
    assert prediction_of(REQUEST, given, ["200"]).thought_tokens == expected
    assert Reply.of(given.record()) == given and ("tokens_thought" in given.record()) == (expected is not None)


@pytest.mark.parametrize("field", [{"reasoning_content": 3}, {"reasoning": {"a": 1}}, {"reasoning_details": [None, 3]}])
def test_a_field_of_another_kind_is_no_thought(field: dict[str, Any]) -> None:
    assert prediction_of(REQUEST, reply(content="CT", **field), ["200"]).reasoning == ""


@pytest.mark.parametrize("word", ["length", "max_tokens", "FinishReason.MAX_TOKENS", "model_length"])
@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_reply_that_ends_inside_its_thought_is_cut_and_no_failure(content: str | None, word: str) -> None:
    made = prediction_of(REQUEST, reply(word, content=content, reasoning_content="Perhaps CT"), ["503", "200"])
    assert (made.text, made.error, made.finish_reason) == (None, CUT_IN_REASONING, "length")
    assert (made.reasoning, made.attempts) == ("Perhaps CT", ("503", "200"))
    assert made.is_cut


HIDDEN = {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 9}}


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_reply_that_ends_inside_a_hidden_thought_is_cut_and_without_a_text_it_is_no_answer(
    content: str | None,
) -> None:
    def made(finish: str) -> Prediction:
        choice = {"message": {"content": content}, "finish_reason": finish}
        return prediction_of(REQUEST, read_completion({"choices": [choice], "usage": HIDDEN}, 0.1), ["200"])

    cut, alone = made("length"), made("stop")
    assert (cut.error, cut.is_cut, cut.reasoning, cut.thought_tokens) == (CUT_IN_REASONING, True, "", 9)
    assert "reasoning and no answer" in str(alone.error) and not alone.is_cut


def test_an_answer_after_a_hidden_thought_is_the_answer_with_its_tokens() -> None:
    choice = {"message": {"content": "CT"}, "finish_reason": "stop"}
    made = prediction_of(REQUEST, read_completion({"choices": [choice], "usage": HIDDEN}, 0.1), ["200"])
    assert (made.text, made.reasoning, made.raw, made.thought_tokens) == ("CT", "", None, 9)


def test_a_stop_string_inside_a_thought_ends_nothing() -> None:
    asked = replace(REQUEST, generation=replace(REQUEST.generation, stop=("###",)))
    text = "Maybe yes.\n### Step 2</think>No ### Human: and"
    assert prediction_of(asked, reply(content=text), ["200"]).text == "Maybe yes.\n### Step 2</think>No"
    assert prediction_of(asked, reply(content="No ### Human"), ["200"]).text == "No"


def test_parts_of_the_content_that_are_thoughts_are_read_as_such() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "MRI or CT?"}]}, {"type": "text", "text": "CT"}]
    assert reply(content=parts).reasoning == "MRI or CT?"


class Tokenizer:
    """A tokenizer whose tokens are words; the first ones are special."""

    def __init__(self, *special: str, plain: tuple[str, ...] = ("MRI?", "CT", "final")) -> None:
        self.words = (*special, *plain)
        self.added_tokens_decoder = {i: SimpleNamespace(content=w, special=True) for i, w in enumerate(special)}

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        kept = [i for i in ids if not (skip_special_tokens and i in self.added_tokens_decoder)]
        return "".join(self.words[i] for i in kept)


def test_special_tokens_that_mark_a_thought_stay_in_the_text_and_all_others_do_not() -> None:
    mistral = Tokenizer("</s>", "[THINK]", "[/THINK]")
    assert decode_answer(mistral, [1, 3, 2, 4, 0]) == "[THINK]MRI?[/THINK]CT"
    assert decode_answer(mistral, [4, 0]) == "CT"
    harmony = Tokenizer("<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<pad>")
    assert decode_answer(harmony, [0, 7, 1, 6, 3, 4]) == "<|channel|>final<|message|>CT<|return|>"
    # Another model's <|end|> is an end of turn.
    assert decode_answer(Tokenizer("<|end|>"), [2, 0]) == "CT"
