"""Failures inside answer files: content filters, harness marks, noted errors, and texts that read like errors."""

import json

import pytest

from evalkit.core.error_texts import error_text_warning, looks_like_error
from evalkit.core.types import Prediction
from evalkit.importers import read_answers
from evalkit.importers.failures import finish_reason, stop_error

CERTAIN = ("content_filter", "contentFilter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII",
           "refusal", "The prompt violates OpenAI's content policy", "Content blocked")  # fmt: skip


@pytest.mark.parametrize("word", CERTAIN)
def test_a_stop_by_a_filter_is_an_error_whatever_the_text(word):
    assert stop_error(word, "x")


@pytest.mark.parametrize(
    "word", [None, "", "stop", "length", "max_tokens", "end_turn", "tool_calls", "STOP", "unknown"]
)
def test_other_reasons_are_no_filter(word):
    assert stop_error(word, "x") is None


@pytest.mark.parametrize("word", ["error", "FinishReason.ERROR", "insufficient_system_resource", "cancelled"])
def test_a_stop_by_a_failure_is_an_error(word):
    assert (stop_error(word, "x") or "").startswith("broken off by a failure")


def test_reasons_of_all_tools_are_stop_or_length():
    assert [finish_reason(r) for r in ("stop", "STOP", "endoftext", "end_turn", "MAX_TOKENS", "length", "?", None)] == [
        "stop", "stop", "stop", "stop", "length", "length", "unknown", "unknown",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Error: 429 Too Many Requests", "RateLimitError: x", "openai.RateLimitError: Error code: 429 - {'error': 1}",
        "Error code: 400 - {'error': {}}", "API Error: overloaded", "[ERROR] no answer", "An error occurred: x",
        "Request timed out.", "429 Too Many Requests", "Traceback (most recent call last):\n  File", "ERROR",
        "CUDA out of memory. Tried to allocate", "torch.cuda.OutOfMemoryError: CUDA", "HTTP 503",
        '{"error": {"message": "x"}}', "ReadTimeout: x", "Connection error.", "Internal Server Error",
        "<error>timeout</error>", "APIConnectionError: Connection error.", "ValueError('x')", "Status code: 500",
        "Error processing image", "Exception: x", "upstream request timeout",
        "HTTPConnectionPool(host='x', port=80): Max retries exceeded with url: /v1", "Timeout", "timed out",
        "upstream connect error or disconnect/reset before headers", "ServiceUnavailable: 503", "rate_limit_exceeded",
        "google.api_core.exceptions.ResourceExhausted: 429 quota", "You exceeded your current quota, please check",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy",
        "Your request was rejected as a result of our safety system", '{"detail": "Not found"}', "overloaded_error",
        "This model's maximum context length is 4096 tokens", "<html><head><title>502 Bad Gateway", "错误：429",
        "'NoneType' object is not subscriptable", "请求超时",
    ],
)  # fmt: skip
def test_error_messages_are_recognised(text):
    assert looks_like_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes", "No error is visible", "refractive error", "The error bars", "429", "Timeout was called", "500",
        "400 ml of blood", "Medication error: overdose", "Terror", "500 cells", "out of plane", "Blocked artery",
        "inborn error of metabolism", "Request an x-ray", "Connection of the duct", "",
    ],
)  # fmt: skip
def test_answers_are_no_error_messages(text):
    assert not looks_like_error(text)


def lines(tmp_path, *records):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": i, **r}) + "\n" for i, r in enumerate(records)))
    return read_answers(path)


def test_answers_that_read_like_errors_are_counted_and_stay_answers():
    texts = ("yes", "Error: 429", "RateLimitError: slow")
    warning = error_text_warning([Prediction(sample_id=str(k), text=text) for k, text in enumerate(texts)])
    assert (warning or "").startswith("2 of 3 answers read like error messages, first for sample 1: 'Error: 429'")
    assert error_text_warning([Prediction(sample_id="1", text="yes"), Prediction(sample_id="2", error="x")]) is None


def test_a_noted_reason_or_error_of_a_plain_record_is_used(tmp_path):
    file = lines(
        tmp_path,
        {"prediction": "I can", "finish_reason": "content_filter"},
        {"prediction": "", "error": "429 slow down"},
        {"prediction": None, "error": {"message": "no"}},
        {"prediction": "yes", "error": "", "stop_reason": "max_tokens"},
        {"prediction": "yes", "error": None, "finish_reason": "stop"},
        {"prediction": "The", "finish_reason": "error"},
        {"prediction": "yes", "error": "content_filter"},
        {"prediction": "yes", "error": "wrong organ"},  # a column of the user's about the answer
        {"prediction": "", "finish_reason": "OTHER"},
        {"prediction": "", "finish_reason": "length"},
        {"prediction": "", "finish_reason": "stop"},
    )
    assert [a.error for a in file.answers] == [
        "stopped by a content filter (content_filter)", "429 slow down", "{'message': 'no'}", None, None,
        "broken off by a failure (error)", "content_filter", None, "no text (finish_reason OTHER)",
        "no text (finish_reason length)", None,
    ]  # fmt: skip
    assert [a.finish_reason for a in file.answers[:5]] == ["error", "error", "error", "length", "stop"]


def inspect_log(tmp_path, **change):
    choice = {"message": {"role": "assistant", "content": "Yes"}, "stop_reason": change.pop("stop_reason", "stop")}
    sample = {"id": 1, "input": "Is it?", "target": "yes", "output": {"completion": "Yes", "choices": [choice]}}
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"status": "success", "eval": {}, "samples": [sample | change]}))
    return read_answers(path).answers[0]


def test_inspect_answers_that_a_filter_or_a_limit_stopped_are_errors(tmp_path):
    stopped = inspect_log(tmp_path, stop_reason="content_filter")
    assert (stopped.text, stopped.error) == (None, "stopped by a content filter (content_filter)")
    assert inspect_log(tmp_path, stop_reason="max_tokens").finish_reason == "length"
    silent = {"completion": "", "choices": [{"message": {"content": ""}, "stop_reason": "unknown"}]}
    limited = inspect_log(tmp_path, output=silent, limit={"type": "time", "limit": 30})
    assert limited.error == "stopped by the sample's time limit before an answer"
    assert inspect_log(tmp_path, limit={"type": "token", "limit": 3}).text == "Yes"


@pytest.mark.parametrize("reason", [{"reason": "content_filter"}, {"reason": "SAFETY"}, "safety"])
def test_helm_answers_that_a_filter_stopped_are_errors(tmp_path, reason):
    completion = {"text": "", "finish_reason": reason}
    state = {"instance": {"id": "id0", "input": {"text": "Is it?"}}, "result": {"success": True}}
    state["result"]["completions"] = [completion]
    (tmp_path / "scenario_state.json").write_text(json.dumps({"request_states": [state]}))
    answer = read_answers(tmp_path).answers[0]
    assert answer.text is None and answer.error.startswith("stopped by a content filter")
