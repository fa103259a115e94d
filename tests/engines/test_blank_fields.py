"""Fields of a reply that say nothing (blank, null, empty) take no answer away, for the engine and the judge alike."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.clients.batch_files import read_reply as _reply
from evalkit.clients.response import CallFailed, Reply, read_completion
from evalkit.core.types import Generation, Request
from evalkit.engines.chat_format import no_answer_reason, prediction_of
from evalkit.judge.parse_response import read_verdict

REQUEST = Request(
    sample_id="1", image_id="i", question="?", answer_type=None, messages=(), images=(), image_digests=(),
    generation=Generation(), checkpoint="c",
)  # fmt: skip
TEXT = "correct"
BLANK = ("", " ", "\n\t", "\u00a0\u2003", None, False, 0, [], {}, [""], [None, " "], {"text": " "}, [{"type": "x"}])
FIELDS = (
    "refusal", "reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks", "tool_calls",
    "function_call", "audio", "annotations", "error", "provider_specific_fields", "name",
)  # fmt: skip
# Parts of a content beside which its text is the whole answer.
EMPTY_PARTS = (
    None, {}, [], "", {"type": "refusal", "refusal": " "}, {"type": "refusal", "refusal": None}, {"type": "text"},
    {"type": "thinking", "thinking": ""}, {"type": None, "text": ""}, {"type": "tool_use", "input": {}},
)  # fmt: skip


def completion(message: dict[str, Any], choice: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": "stop", **(choice or {}), "message": message}], **top}


def check_answered(content: dict[str, Any]) -> None:
    """The engine's answer and the judge's verdict, from a server and from a batch file, are those of the text."""
    replies = [read_completion(content, 0.1)]
    replies.append(Reply.of(replies[0].record()))
    replies.append(_reply({"error": content.get("error"), "response": {"status_code": 200, "body": content}}))
    for reply in replies:
        made = prediction_of(REQUEST, reply, ["200"])
        assert (made.text, made.error, made.reasoning) == (TEXT, None, "")
        assert not reply.error, "the judge takes a reply with an error for a failed call"
        found = read_verdict("correctness", reply.text, refusal=reply.refusal, finish=reply.finish)
        assert (found.status, found.label) == ("judged", "correct")


@pytest.mark.parametrize("field", FIELDS)
def test_a_blank_field_of_a_message_beside_a_text(field: str) -> None:
    for blank in BLANK:
        check_answered(completion({"content": TEXT, field: blank}))
        check_answered(completion({"content": [{"type": "text", "text": TEXT}], field: blank}))


def test_all_fields_blank_at_once() -> None:
    for blank in BLANK:
        check_answered(completion({"content": TEXT, **dict.fromkeys(FIELDS, blank)}))


@pytest.mark.parametrize("field", ["error", "content_filter_results", "native_finish_reason", "logprobs", "delta"])
def test_a_blank_field_of_a_choice_or_of_the_whole_reply(field: str) -> None:
    for blank in BLANK:
        check_answered(completion({"content": TEXT}, {field: blank}))
        check_answered(completion({"content": TEXT}, **{field: blank}))


@pytest.mark.parametrize("finish", ["stop", "eos", "", " ", None, False, 0, [], {}])
def test_a_blank_finish_reason(finish: Any) -> None:
    check_answered(completion({"content": TEXT}, {"finish_reason": finish}))


def test_an_error_whose_fields_are_blank() -> None:
    for error in ({"message": None, "code": None}, {"message": "", "code": 0}, {"message": " ", "type": ""}):
        check_answered(completion({"content": TEXT}, error=error))


@pytest.mark.parametrize("part", EMPTY_PARTS, ids=str)
def test_an_empty_part_beside_a_text(part: Any) -> None:
    text = {"type": "text", "text": TEXT}
    for parts in ([text, part], [part, text], [part, TEXT, part], [{"text": TEXT, "type": None}, part]):
        check_answered(completion({"content": parts}))


@pytest.mark.parametrize("content", [None, "", " \n", [], [""], [{"type": "text", "text": " "}], {}, 0], ids=str)
@pytest.mark.parametrize("refusal", [None, "", " \n", [], {}], ids=str)
def test_no_text_and_a_blank_refusal_is_no_refusal(content: Any, refusal: Any) -> None:
    reply = read_completion(completion({"content": content, "refusal": refusal}, {"finish_reason": "length"}), None)
    assert reply.refusal is None
    assert no_answer_reason(reply).startswith("the reply contains no text")
    assert read_verdict("correctness", reply.text, refusal=reply.refusal, finish=reply.finish).status == "unreadable"


@pytest.mark.parametrize("blank", BLANK, ids=str)
def test_a_blank_thought_beside_an_empty_answer_is_no_thought(blank: Any) -> None:
    for field in ("reasoning_content", "reasoning_details", "thinking_blocks"):
        reply = read_completion(completion({"content": "", field: blank}), None)
        assert not reply.reasoning_only and prediction_of(REQUEST, reply, ["200"]).text == ""


def test_fields_that_say_something_still_count() -> None:
    refused = read_completion(completion({"content": TEXT, "refusal": " I cannot. "}), None)
    assert no_answer_reason(refused) == "refused by the server: I cannot."
    part = read_completion(completion({"content": [TEXT, {"refusal": ""}, {"refusal": "no"}]}), None)
    assert part.refusal == "no"
    for error in ("lost", {"code": 500}, {"message": "", "code": "x"}, ["lost"], True, 5, {"type": "overloaded"}):
        assert read_completion(completion({"content": TEXT}, error=error), None).error
    hidden = read_completion(completion({"content": "", "reasoning_details": [{"type": "x", "data": "e30"}]}), None)
    assert hidden.reasoning_only
    for alone in ({"object": "error"}, {"type": "error", "message": " "}, {"error": {"message": ""}}):
        with pytest.raises(CallFailed, match="not a chat completion"):
            read_completion(alone, None)
