"""Faults with engine=server: transient ones are retried, permanent ones are errors, an outage ends the run."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.types import ImageRef
from tests.support.engine_answers import answers, ask_all
from tests.support.fake_server import Act, Body
from tests.support.server_engine import MODEL, SOON, echo, engine, listing, make_requests, question, serving, spec

KEY = "sk-test-0123456789-very-secret"


def once(act: Act) -> Callable[[int, Body], Act]:
    """Make each request fail with `act` the first time and succeed the second time."""
    seen: set[str] = set()

    def behave(n: int, body: Body) -> Act:
        content = json.dumps(body["messages"])
        if content in seen:
            return echo(n, body)
        seen.add(content)
        return act

    return behave


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("fault", "attempt"),
    [
        (Act(status=429, headers=SOON), "429"),
        (Act(status=500, headers=SOON), "500"),
        (Act(status=503, headers=SOON), "503"),
        (Act(status=408, headers=SOON), "408"),
        (Act(cut=True), "no reply"),
        (Act(text="late", delay=1.5), "no reply"),
        (Act(raw=b'{"choices": [{"mess', headers={"Content-Length": "4000"}, cut_after=True), "cut off"),
    ],
    ids=["429", "500", "503", "408", "cut", "time-out", "cut in the middle"],
)
def test_a_transient_fault_is_retried_and_recorded(tmp_path: Path, fault: Act, attempt: str) -> None:
    requests = make_requests(tmp_path, [1, 1])
    with serving(once(fault)) as server:
        made = engine(server, retries=1, timeout=1 if fault.delay else 30)
        given, problem = ask_all(made, requests)
    assert problem is None
    assert [p.error for p in given] == [None, None]
    assert [p.attempts for p in given] == [(attempt, "200")] * 2
    assert made.metadata()["attempts"] == {attempt: 2, "200": 2}


@pytest.mark.slow
def test_retry_after_is_respected(tmp_path: Path) -> None:
    with serving(once(Act(status=429, headers={"retry-after": "1"}))) as server:
        started = time.monotonic()
        answers(engine(server), make_requests(tmp_path, [1]))
        assert time.monotonic() - started >= 1.0


def completion(choice: str, **top: str) -> Act:
    """A completion with one choice, written out as JSON."""
    more = "".join(f', "{name}": {value}' for name, value in top.items())
    return Act(raw=f'{{"choices": [{choice}]{more}}}'.encode())


LASTING = {
    "429": (Act(status=429, headers=SOON), "HTTP 429", ("429", "429")),
    "500": (Act(status=500, headers=SOON), "HTTP 500", ("500", "500")),
    "too long": (Act(status=400, error={"message": "maximum context length is 9"}), "HTTP 400: ", ("400",)),
    "too large": (Act(status=413), "HTTP 413", ("413",)),
    "time-out": (Act(text="late", delay=1.5), "timed out (1 s)", ("no reply", "no reply")),
    "cut": (Act(cut=True), "cut off", ("no reply", "no reply")),
    "malformed JSON": (Act(raw=b'{"choices": [{'), "is not JSON", ("200",)),
    "HTML": (Act(raw=b"<html>busy</html>", headers={"Content-Type": "text/html"}), "is not a JSON object", ("200",)),
    "no choices": (Act(raw=b'{"choices": []}'), "is not a chat completion", ("200",)),
    "no message": (Act(raw=b'{"choices": [{"index": 0}]}'), "is not a chat completion", ("200",)),
    "a list": (Act(raw=b"[]"), "is not a JSON object", ("200",)),
    "refusal": (Act(message={"refusal": "I can\nnot.", "content": None}), "refused by the server: I can not.", ()),
    "refusal with text": (Act(text="yes", message={"refusal": "no"}), "refused by the server: no", ()),
    "filter": (Act(text="", finish="content_filter"), "content filter", ()),
    "filter by status": (Act(status=400, error={"code": "content_filter", "message": "x"}), "content filter", ("400",)),
    "no text": (Act(message={"content": None}, finish="tool_calls"), "contains no text (finish_reason tool_calls)", ()),
    "thought too long": (Act(message={"content": None}, finish="length"), "the limit of new tokens was reached", ()),
    "empty, error": (Act(text="", finish="error"), "broke the answer off (finish_reason error)", ()),
    "part, error": (Act(text="The lu", finish="error"), "(finish_reason error), after the text 'The lu'", ()),
    "empty, abort": (Act(text="", finish="abort"), "finish_reason abort", ()),
    "empty, safety": (Act(text="", finish="SAFETY"), "content filter withheld the answer (finish_reason SAFETY)", ()),
    "recitation": (Act(text="As", finish="RECITATION"), "finish_reason RECITATION", ()),
    "prohibited": (Act(text="", finish="FinishReason.PROHIBITED_CONTENT"), "PROHIBITED_CONTENT", ()),
    "blocklist": (Act(text="", finish="blocklist"), "finish_reason blocklist", ()),
    "filter, hyphen": (Act(text="", finish="content-filter"), "content filter withheld the answer", ()),
    "guardrail": (Act(text="no", finish="guardrail_intervened"), "finish_reason guardrail_intervened", ()),
    "empty, other": (Act(text="", finish="OTHER"), "contains no text (finish_reason OTHER)", ()),
    "empty, no reason": (Act(text=" ", finish=""), "contains no text", ()),
    "empty at the limit": (Act(text="", finish="length"), "the limit of new tokens was reached", ()),
    "a thought alone": (Act(text="", message={"reasoning_content": "yes"}), "reasoning and no answer", ()),
    "reasoning alone": (Act(message={"content": None, "reasoning": "yes"}), "reasoning and no answer", ()),
    "thinking parts": (Act(message={"content": [{"type": "thinking", "thinking": "hm"}]}), "reasoning and no", ()),
    "thinking and blank text": (Act(text="\n", message={"thinking": "it is CT"}), "reasoning and no answer", ()),
    "thinking blocks": (
        Act(text="", message={"thinking_blocks": [{"type": "thinking", "thinking": "CT"}]}), "reasoning and no", (),
    ),
    "a gateway's field": (
        Act(text="", message={"provider_specific_fields": {"reasoning_content": "CT"}}), "reasoning and no answer", (),
    ),
    "a refusal part": (Act(message={"content": [{"type": "refusal", "refusal": "I cannot"}]}), "server: I cannot", ()),
    "error object": (Act(error={"message": "it is\nbusy", "code": 429}), "error: it is busy (code 429)", ("429",) * 2),
    "error of a gateway": (Act(error={"message": "no", "code": "502"}), "error: no (code 502)", ("502",) * 2),
    "error text": (Act(raw=b'{"error": "out of memory"}'), "reports an error: out of memory", ()),
    "error of vLLM": (Act(raw=b'{"object": "error", "message": "too long", "code": 400}'), "too long (code 400)", ()),
    "error beside a text": (
        completion('{"finish_reason": "stop", "message": {"content": "no"}}', error='{"message": "lost"}'),
        "reports an error: lost", (),
    ),
    "error of a choice": (
        completion('{"finish_reason": null, "error": {"message": "lost"}, "message": {"content": ""}}'),
        "reports an error: lost", (),
    ),
    "a choice without message": (completion('{"finish_reason": "content_filter"}'), "content filter withheld", ()),
    "a gateway's stop": (
        completion('{"finish_reason": "stop", "native_finish_reason": "SAFETY", "message": {"content": ""}}'),
        "finish_reason SAFETY", (),
    ),
    "azure's verdict": (
        completion(
            '{"finish_reason": "stop", "message": {"content": ""}, '
            '"content_filter_results": {"hate": {"filtered": true, "severity": "high"}}}'
        ),
        "content filter withheld", (),
    ),
    "words of its own": (Act(raw=b'{"promptFeedback": {"blockReason": "SAFETY"}}'), "blockReason", ()),
    "a text of another type": (Act(message={"content": [1]}), "contains no text (finish_reason stop)", ()),
}  # fmt: skip


def test_a_thought_that_the_token_limit_cut_is_no_answer_and_counts_as_truncated(tmp_path: Path) -> None:
    act = Act(text="", finish="length", message={"reasoning": "It"})
    with serving(lambda _n, _body: act) as server:
        ((cut,), problem) = ask_all(engine(server, retries=1), make_requests(tmp_path, [1]))
    assert problem is None
    assert (cut.text, cut.finish_reason) == (None, "length")
    assert cut.error is not None and "cut inside its reasoning" in cut.error


@pytest.mark.parametrize("name", LASTING)
@pytest.mark.few(8)
def test_a_permanent_fault_of_one_request_is_an_error_with_a_reason(tmp_path: Path, name: str) -> None:
    fault, why, attempts = LASTING[name]
    requests = make_requests(tmp_path, [3, 2, 1])
    sick = requests[2]

    def behave(n: int, body: Body) -> Act:
        return fault if question(body) == sick.question else echo(n, body)

    with serving(behave) as server:
        given, problem = ask_all(engine(server, retries=1, timeout=1 if fault.delay else 30), requests)
    assert problem is None
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    (failed,) = [p for p in given if p.error is not None]
    assert failed.sample_id == sick.sample_id
    assert failed.error is not None and why in failed.error
    assert (failed.text, failed.finish_reason) == (None, "error")
    assert failed.attempts == (attempts or ("200",))


@pytest.mark.parametrize("name", ["empty, error", "empty, safety", "error object", "a thought alone"])
def test_twenty_failures_inside_a_success_are_twenty_failures(tmp_path: Path, name: str) -> None:
    with serving(lambda n, body: LASTING[name][0]) as server:
        given, problem = ask_all(engine(server, retries=0), make_requests(tmp_path, [10, 10]))
    assert problem is None, "each is asked, and the run ends with exit code 3"
    assert len(given) == 20 and all(p.error and p.text is None for p in given)


@pytest.mark.slow
def test_a_run_of_failures_inside_a_success_ends_with_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["model=phantom-llava", "task=phantom", "limit=20", "engine=server", f"engine.served_model={MODEL}"]
    for act in (Act(text="", finish="error"), Act(text="", finish="SAFETY"), Act(error={"message": "no", "code": 500})):
        with serving(lambda n, body, act=act: act) as server:
            out = tmp_path / str(server.port)
            asked = [*where, f"engine.url={server.url}", "engine.retries=0", "leaderboard=null", f"out={out}"]
            assert main(asked) == 3
        shown = capsys.readouterr()
        assert "failed 20, empty 0" in " ".join(shown.out.split()) and "20 of 20 samples failed" in shown.err


def test_the_servers_words_hold_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    for act in (Act(error={"message": f"bad {KEY}"}), Act(raw=f'{{"odd": "{KEY}"}}'.encode())):
        with serving(lambda n, body, act=act: act) as server:
            (given,), _ = ask_all(engine(server, api_key_env="TEST_KEY"), make_requests(tmp_path, [1]))
        assert given.error and "[key]" in given.error and KEY not in given.error


def test_a_reply_that_names_another_model_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(model="lab/other-vlm") as server:
        made = engine(server)
        answers(made, make_requests(tmp_path, [3]))
    said = [line for line in capsys.readouterr().err.splitlines() if "lab/other-vlm" in line]
    assert len(said) == 1 and MODEL in said[0] and said[0].startswith("warning: ")
    assert made.metadata()["other_models"] == ["lab/other-vlm"]
    with serving() as server:
        made = engine(server)
        answers(made, make_requests(tmp_path, [2]))
    assert "warning" not in capsys.readouterr().err and made.metadata()["other_models"] == []


def test_a_leader_that_fails_releases_the_other_requests_of_its_image(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [4])
    seen: list[str] = []

    def behave(n: int, body: Body) -> Act:
        seen.append(question(body))
        return Act(status=400, error={"message": "no"}) if question(body) == seen[0] else echo(n, body)

    with serving(behave) as server:
        given, problem = ask_all(engine(server), requests)
    assert problem is None
    assert sorted(p.error is None for p in given) == [False, True, True, True]


def test_an_image_that_cannot_be_opened_fails_only_its_own_questions(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [3, 2])
    lost = [r for r in requests if r.image_id == "0"]
    Path(lost[0].images[0].path).write_bytes(b"not an image")
    with serving() as server:
        given, problem = ask_all(engine(server), requests)
        assert len(server.calls) == 2, "no call is made for an image that cannot be opened"
    assert problem is None
    failed = [p for p in given if p.error is not None]
    assert {p.sample_id for p in failed} == {r.sample_id for r in lost}
    assert all("cannot be decoded" in str(p.error) for p in failed)


def test_an_outage_during_a_run_ends_it_and_keeps_the_answers(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [1] * 60)
    with serving(lambda n, b: echo(n, b) if n < 20 else Act(status=503, headers=SOON)) as server:
        given, problem = ask_all(engine(server, retries=1), requests)
        assert len(server.calls) < 20 + 2 * (10 + 4), "the outage is detected without trying all forty requests"
    assert isinstance(problem, Partial) and problem.exit_code == 3
    in_a_row = re.match(r"(\d+) requests in a row", str(problem))  # what was in flight may end meanwhile
    assert in_a_row and 10 <= int(in_a_row[1]) <= 14 and "HTTP 503" in str(problem)
    assert sum(p.error is None for p in given) == 20


def test_a_server_that_answers_nothing_ends_the_run(tmp_path: Path) -> None:
    with serving(lambda n, b: Act(status=500, headers=SOON)) as server:
        given, problem = ask_all(engine(server, retries=0), make_requests(tmp_path, [1] * 60))
    assert type(problem) is EngineError and "Nothing was answered" in str(problem)
    assert all(p.error for p in given)


def test_the_same_refusal_of_the_first_requests_ends_the_run(tmp_path: Path) -> None:
    act = Act(status=400, error={"message": "this model takes no images"})
    with serving(lambda n, b: act) as server:
        _, problem = ask_all(engine(server), make_requests(tmp_path, [1] * 60))
        assert len(server.calls) <= 8 + 4
    assert type(problem) is EngineError and "takes no images" in str(problem)


def test_refusals_with_different_messages_are_failures_of_single_requests(tmp_path: Path) -> None:
    """Example: a resumed run in which only the prompts that are too long are left."""
    requests = make_requests(tmp_path, [1] * 12)
    with serving(lambda n, b: Act(status=400, error={"message": f"{n} tokens are too many"})) as server:
        given, problem = ask_all(engine(server), requests)
    assert problem is None
    assert len(given) == 12 and all("too many" in str(p.error) for p in given)


def test_an_unknown_model_is_one_paragraph_with_the_servers_models() -> None:
    with serving() as server:
        with pytest.raises(EngineError) as caught:
            engine(server, served_model="lab/tiny-vlmm")
        assert "has no model 'lab/tiny-vlmm'" in str(caught.value)
        assert f"Did you mean '{MODEL}'" in str(caught.value)
        assert "engine.served_model=NAME" in str(caught.value) and "\n" not in str(caught.value)
        assert engine(server, served_model="other", unlisted=True).metadata()["listed"] is False
        assert server.calls == [], "no completion was requested"


def test_a_model_that_is_unloaded_during_a_run_ends_it(tmp_path: Path) -> None:
    gone = Act(status=404, error={"message": "The model `x` does not exist", "code": "model_not_found"})
    with serving(lambda n, b: echo(n, b) if n < 5 else gone) as server:
        given, problem = ask_all(engine(server, concurrency=1), make_requests(tmp_path, [1] * 9))
    assert isinstance(problem, EngineError) and "has no model" in str(problem)
    assert len(given) == 5


@pytest.mark.parametrize("pages", [{"/v1/models": Act(status=500)}, {"/v1/models": {"data": []}}], ids=["500", "empty"])
def test_a_server_without_a_list_of_models_is_accepted(tmp_path: Path, pages: dict[str, Any]) -> None:
    with serving(models=listing(**pages)) as server:
        made = engine(server)
        answers(made, make_requests(tmp_path, [1]))
    assert made.metadata()["listed"] is None


def test_no_server_is_one_paragraph() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(EngineError, match=r"does not answer.*vllm serve"):
        engine(url)


def test_a_server_that_is_starting_is_reported_as_such() -> None:
    starting = listing(**{"/v1/models": Act(status=503)})
    with serving(models=starting) as server, pytest.raises(EngineError, match=r"HTTP 503.*has it loaded its model"):
        engine(server)


def test_an_address_without_v1_is_reported_as_such() -> None:
    with serving() as server, pytest.raises(EngineError, match=r"engine\.url=http://127.*/v1\."):
        engine(server.url.removesuffix("/v1"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": None}, "has no server"),
        ({"url": "localhost:8000"}, "engine.url is no address"),
        ({"url": "http://me:pass@host/v1"}, "no user, password"),
        ({"url": "http://host/v1?key=1"}, "no user, password"),
        ({"api_key_env": KEY}, "name of an environment variable"),
        ({"api_key_env": "NOT_SET_HERE"}, "NOT_SET_HERE is not set"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
    ],
)
def test_invalid_settings_are_refused_before_any_call(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engine(settings.pop("url", "http://127.0.0.1:9/v1"), **settings)
    assert words in str(caught.value)
    assert KEY not in str(caught.value) and "pass@" not in str(caught.value)


def test_a_model_without_a_source_needs_a_name() -> None:
    from dataclasses import replace

    with serving() as server:
        with pytest.raises(ConfigError, match=r"engine\.served_model=ID"):
            engine(server, spec=replace(spec(), config={}))
        assert engine(server, spec=replace(spec(), config={"source": "x/y", "served_as": MODEL})).model == MODEL


def test_the_key_is_sent_from_the_environment_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "another-servers-key")

    def behave(n: int, body: Body) -> Act:
        return Act(text=f"your key is {KEY}") if n else Act(status=400, error={"message": f"bad {KEY}"})

    with serving(behave) as server:
        made = engine(server, api_key_env="LAB_KEY", concurrency=1)
        given, _ = ask_all(made, make_requests(tmp_path, [2]))
        assert all(h["authorization"] == f"Bearer {KEY}" for h in server.headers)
        assert KEY not in repr(given) + json.dumps(made.metadata())
        assert any(p.text == "your key is [key]" for p in given)
        server.headers.clear()
        engine(server)
        assert not any("another-servers-key" in json.dumps(h) for h in server.headers)


def test_a_refused_key_is_one_paragraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)
    refused = pytest.raises(EngineError, match=r"refuses the key of engine=server.*LAB_KEY")
    with serving(models=lambda path: Act(status=401)) as server, refused as caught:
        engine(server, api_key_env="LAB_KEY")
    assert KEY not in str(caught.value)
    with serving(lambda n, b: Act(status=403)) as server:
        _, problem = ask_all(engine(server), make_requests(tmp_path, [1] * 5))
        assert isinstance(problem, EngineError) and "no key" in str(problem)
        assert len(server.calls) <= 4


def test_identical_images_are_encoded_once(tmp_path: Path) -> None:
    requests = make_requests(tmp_path, [2, 3])
    assert isinstance(requests[0].images[0], ImageRef)
    with serving() as server:
        made = engine(server)
        answers(made, requests)
    assert made.metadata()["counters"]["image_encodes"] == 2
