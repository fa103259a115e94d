"""A hostile or broken server ends a call and not a run: each behaviour of `tests.support.hostile_server`."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import EngineError
from evalkit.core.types import Message, Request, Sample
from evalkit.pipeline.resume import answer_missing
from evalkit.runs.store import RunFolder
from tests.support.hostile_server import (
    FAULTS,
    HEAD,
    MODEL,
    Connection,
    HostileServer,
    body_of,
    completion,
    is_expected,
    reply,
)
from tests.support.server_engine import engine, make_requests
from tests.support.transports import use_transport

KEY = "sk-test-0123456789-very-secret"


def asked(folder: Path, names: list[str]) -> tuple[list[Sample], list[Request]]:
    """A question without an image for each behaviour, and one for each that is answered."""
    texts = [text for name in names for text in (f"Is it so? [[{name}]]", f"And is it so beside {name}?")]
    (model,) = make_requests(folder, [1])
    requests = [
        replace(model, sample_id=str(k), images=(), image_digests=(), messages=(Message(role="user", content=(text,)),))
        for k, text in enumerate(texts)
    ]
    samples = [
        Sample(id=r.sample_id, image_id=r.sample_id, question=text, references=("yes",))
        for r, text in zip(requests, texts, strict=True)
    ]
    return samples, requests


@pytest.fixture(params=["aiohttp", "httpx"])
def either_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both HTTP transports of the SDK."""
    use_transport(request.param, monkeypatch)
    return str(request.param)


@pytest.mark.slow
def test_each_hostile_reply_fails_its_own_call_and_the_run_is_finished_later(
    tmp_path: Path, either_transport: str
) -> None:
    samples, requests = asked(tmp_path, list(FAULTS))
    folder = RunFolder(tmp_path / "run")
    with HostileServer(lambda text: "yes") as server:
        # As many in flight as there are behaviours: those that wait for the time-out wait together.
        settings = {"concurrency": len(FAULTS), "timeout": 4.0, "retries": 0, "served_model": MODEL}
        settings["max_reply_bytes"] = 8_000_000
        first = answer_missing(folder, samples, requests, engine(server.url, **settings), True).predictions
        server.is_sane = True
        again = answer_missing(folder, samples, requests, engine(server.url, **settings), True)
    given = dict(zip((s.question for s in samples), first, strict=True))
    wrong = {}
    for name in FAULTS:
        failed, beside = given[f"Is it so? [[{name}]]"], given[f"And is it so beside {name}?"]
        if not is_expected(name, failed.error) or beside.text != "yes":
            wrong[name] = (failed.error, beside.error)
    assert not wrong
    n_failed = sum(p.error is not None for p in first)
    print(f"{either_transport}: {len(FAULTS)} behaviours, {n_failed} calls failed, {len(first) - n_failed} answered")
    assert again.n_asked == n_failed == sum(why is not None for _, why in FAULTS.values())
    assert {p.text for p in again.predictions} == {"yes"}
    lines = [json.loads(line) for line in folder.predictions.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(samples)


LISTS = {
    "no JSON": reply(b"<html>"),
    "deep": reply(b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "half pairs": reply(b'{"data": [{"id": "\\ud800"}]}'),
    "other types": reply(b'{"data": [1, null, {"id": 3}, [], {"id": {}}]}'),
    "data of another type": reply(b'{"data": {"id": "x"}}'),
    "infinite fields": reply(
        b'{"data": [{"id": "%s", "max_model_len": 1e999, "dtype": NaN, "root": "%s"}]}' % (MODEL.encode(), b"r" * 10**6)
    ),
    "204": b"HTTP/1.1 204 No\r\n\r\n",
    "418": b"HTTP/1.1 418 No\r\nContent-Length: 1\r\n\r\nx",
}
WITHOUT = {
    "too large": (reply(b" " * 9_000_000), "larger than the limit"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n", "not HTTP"),
    "cut": (reply(b"{}" * 40)[:-9], "cut off"),
    "another model of 10 MB": (
        reply(b'{"data": [{"id": "x%s"}, {"id": "y\\u001b[31m"}]}' % (b"y" * 7_000_000)),
        "has no model",
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_malformed_list_of_models_is_no_list(tmp_path: Path, name: str) -> None:
    samples, requests = asked(tmp_path, ["usage in words"])
    with HostileServer(lambda text: "yes") as server:
        server.listed = LISTS[name]
        made = engine(server.url, served_model=MODEL)
        assert answer_missing(RunFolder(tmp_path / "run"), samples, requests, made, True).n_asked == 2
    assert len(json.dumps(made.metadata(), allow_nan=False)) < 10_000


@pytest.mark.parametrize("name", WITHOUT)
def test_a_list_of_models_that_cannot_be_read_is_one_paragraph(name: str) -> None:
    listed, why = WITHOUT[name]
    with HostileServer(lambda text: "yes") as server, pytest.raises(EngineError) as caught:
        server.listed = listed
        engine(server.url, served_model=MODEL)
    assert why in str(caught.value) and len(str(caught.value)) < 2000 and "\n" not in str(caught.value)


def test_a_limit_of_replies_is_a_setting(tmp_path: Path) -> None:
    samples, requests = asked(tmp_path, ["x"])
    with HostileServer(lambda text: "y" * 3000) as server:
        small = engine(server.url, max_reply_bytes=2000, served_model=MODEL)
        failed = answer_missing(RunFolder(tmp_path / "run"), samples, requests, small, True).predictions
        assert all("limit of 2000 bytes" in str(p.error) for p in failed)
        large = engine(server.url, max_reply_bytes=5000, served_model=MODEL)
        given = answer_missing(RunFolder(tmp_path / "run"), samples, requests, large, True)
    assert given.n_asked == 2 and all(p.error is None for p in given.predictions)


def test_names_that_differ_with_every_reply_fill_neither_record_nor_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = itertools.count()

    def renamed(connection: Connection, text: str) -> None:
        connection.sendall(
            reply(body_of(text, model=f"m{next(numbers)}", system_fingerprint=f"f{next(numbers)}" + "x" * 1000))
        )

    _, requests = asked(tmp_path, ["renamed"] * 100)
    with HostileServer(lambda text: "yes", {"renamed": (renamed, None)}) as server:
        made = engine(server.url, served_model=MODEL)
        assert len([p for batch in made.generate(requests) for p in batch]) == 200
    record = made.metadata()
    assert sum(record["models_returned"].values()) == sum(record["system_fingerprints"].values()) == 200
    assert len(record["models_returned"]) <= 51 and len(record["system_fingerprints"]) <= 51
    assert len(json.dumps(record)) < 30_000
    assert capsys.readouterr().err.count("warning: ") in (4, 5)


@pytest.mark.slow
def test_what_a_server_writes_for_a_terminal_is_shown_and_not_obeyed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    acts = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[red]:smile:"

    def escaping(connection: Connection, text: str) -> None:
        whole = completion(acts, model=acts, system_fingerprint=acts, usage={acts: acts})
        whole["choices"][0]["finish_reason"] = acts
        if len(server.calls) % 2:
            whole["error"] = {"message": acts, "code": acts}
        connection.sendall(reply(json.dumps(whole).encode()))

    with HostileServer(lambda text: acts) as server:
        server.default = escaping
        listed = {"data": [{"id": MODEL, "root": acts, "owned_by": acts}, {"id": acts}]}
        server.listed = reply(json.dumps(listed).encode())
        where = ["task=phantom", "limit=6", "engine=server", f"engine.url={server.url}", "leaderboard=null"]
        where += ["model=phantom-llava", f"out={tmp_path}"]
        assert main([*where, f"engine.served_model={MODEL}"]) == 3
        assert main([*where, "engine.served_model=other"]) == 2
    shown = capfd.readouterr()
    assert not set(shown.out + shown.err) & set("\x1b\x07\x9b\u202e"), "nothing acts on the terminal"
    assert "\\x1b]0;owned\\x07" in shown.err and "[red]:smile:" in shown.err


@pytest.mark.slow
def test_a_key_that_comes_back_in_any_field_is_in_no_file_page_or_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", KEY)

    def echoing(connection: Connection, text: str) -> None:
        n = len(server.calls)
        whole = completion(f"It is {KEY}.", model=KEY, system_fingerprint=f"Bearer {KEY}", usage={KEY: KEY})
        whole["choices"][0]["finish_reason"] = KEY if n % 2 else "stop"
        whole["choices"][0]["message"]["reasoning_content"] = f"the key {KEY}"
        head = HEAD.replace(b"OK", KEY.encode()) + f"X-Key: {KEY}\r\nSet-Cookie: {KEY}={KEY}\r\n".encode()
        if n % 3 == 0:
            head, whole = head.replace(b"200", b"400"), {"error": {"message": f"bad key {KEY}", "code": KEY}}
        connection.sendall(reply(json.dumps(whole).encode(), head))

    with HostileServer(lambda text: "yes") as server:
        server.default = echoing
        listed = [{"id": MODEL, "root": f"/{KEY}", "owned_by": f"Bearer {KEY}"}, {"id": KEY}]
        server.listed = reply(json.dumps({"data": listed}).encode())
        where = ["task=phantom", "limit=8", "engine=server", f"engine.url={server.url}", "engine.api_key_env=LAB_KEY"]
        where += ["leaderboard=null", "model=phantom-llava", f"out={tmp_path / 'runs'}"]
        assert main([*where, f"engine.served_model={MODEL}"]) == 3
        assert main([*where, "engine.served_model=other"]) == 2
        (run,) = (tmp_path / "runs").glob("*/predictions.jsonl")
        assert main(["report", f"run={run.parent}", f"file={tmp_path / 'page.html'}"]) == 0
        assert all(KEY in headers["authorization"] for _, headers, _ in server.requests)
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err and "[key]" in shown.err
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {"manifest.json", "summary.json", "predictions.jsonl", "page.html"} <= {p.name for p in files}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    assert "[key]" in run.read_text(encoding="utf-8")
