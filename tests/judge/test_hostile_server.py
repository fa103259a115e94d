"""A hostile or broken server ends a call of the judge and not the session: each behaviour of the hostile server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError, JudgeError
from evalkit.core.types import Sample
from evalkit.judge.api import judge_run
from evalkit.judge.batch import batch_folder
from evalkit.judge.plan import make_plan
from tests.judge.test_faults import records
from tests.support.hostile_server import (
    FAULTS,
    MODEL,
    Connection,
    HostileServer,
    body_of,
    completion,
    is_expected,
    reply,
)
from tests.support.judge_samples import KEY, answers, chat, config
from tests.support.transports import use_transport

GOOD = json.dumps({"reason": "because", "score_1": 8, "score_2": 4})


def asked(names: list[str]) -> list[Sample]:
    """A question for each behaviour, and one for each that is answered."""
    texts = [text for name in names for text in (f"Is it so? [[{name}]]", f"And is it so beside {name}?")]
    return [replace(s, question=text) for s, text in zip(chat(len(texts)), texts, strict=True)]


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.slow
def test_each_hostile_reply_fails_its_own_call_and_judging_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    use_transport(transport, monkeypatch)
    samples = asked(list(FAULTS))
    texts = {s.id: s.question for s in samples}
    with HostileServer(lambda text: GOOD) as server:
        settings = config(
            server.url, model=MODEL, concurrency=len(FAULTS), timeout=3.0, retries=0, max_reply_bytes=8_000_000
        )
        first = judge_run(tmp_path, settings, samples, answers(samples))
        made = {texts[r["sample_id"]]: r for r in records(tmp_path)}
        wrong = {}
        for name in FAULTS:
            sick, beside = made[f"Is it so? [[{name}]]"], made[f"And is it so beside {name}?"]
            error = None if sick["status"] == "judged" else sick["why"]
            if not is_expected(name, error) or beside["status"] != "judged":
                wrong[name] = (sick["status"], error, beside["status"])
        assert not wrong
        n_failed = sum(why is not None for _, why in FAULTS.values())
        print(f"{transport}: {len(FAULTS)} behaviours, {n_failed} calls failed, {len(made) - n_failed} judged")
        assert first.scores.outcomes == {"judged": len(made) - n_failed, "error": n_failed}
        server.is_sane = True
        again = judge_run(tmp_path, settings, samples, answers(samples))
    assert again.n_calls == n_failed
    assert again.scores.outcomes == {"judged": len(made)}


ENTRIES = {
    "no date": b'{"id": "m", "shutdown_date": "2026-99-99"}',
    "a date of escapes": b'{"id": "m", "shutdown_date": "\\u001b[31m"}',
    "a date of half a pair": b'{"id": "m", "shutdown_date": "\\ud800"}',
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "too large": b" " * 9_000_000,
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_malformed_entry_of_the_model_stops_nothing(tmp_path: Path, name: str) -> None:
    samples = chat(2)
    said: list[str] = []
    with HostileServer(lambda text: GOOD) as server:
        server.model_entry = reply(ENTRIES[name])
        judge_run(tmp_path, config(server.url, model=MODEL), samples, answers(samples), say=said.append).check()
    assert not any("warning" in text for text in said)


def test_a_certificate_that_is_not_valid_is_a_judge_error_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.certificates import context, self_signed

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    samples = chat(2)
    with HostileServer(lambda text: GOOD, tls=context(self_signed(tmp_path / "own"))) as server:
        with pytest.raises(JudgeError, match=r"^TLS: the certificate of 127.*self-signed.*judge 'server'") as caught:
            judge_run(tmp_path / "run", config(server.url, model=MODEL), samples, answers(samples))
        assert not server.requests
    assert "\n" not in str(caught.value)


def test_a_key_in_any_field_is_in_no_file(tmp_path: Path) -> None:
    def behave(connection: Connection, text: str) -> None:
        n = len(server.calls)
        whole = completion(GOOD if n % 2 else KEY, model=KEY, system_fingerprint=KEY)
        whole["choices"][0]["finish_reason"] = KEY
        if n % 3 == 0:
            whole["error"] = {"message": f"Bearer {KEY}", "code": KEY}
        connection.sendall(reply(json.dumps(whole).encode()))

    samples = chat(12)
    with HostileServer(lambda text: GOOD) as server:
        server.default = behave
        settings = config(server.url, model=MODEL, max_failed=0.9)
        judge_run(tmp_path / "run", settings, samples, answers(samples))
        assert any(KEY in str(headers) for _, headers, _ in server.requests)
    assert {r["model_returned"] for r in records(tmp_path / "run") if r["status"] != "error"} == {"[key]"}
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def outputs(tmp_path: Path, lines: list[bytes]) -> tuple[Any, list[Sample], Path]:
    """A run whose batch output has a line for each of its calls; `KEY` in a line becomes the call's own."""
    samples = chat(len(lines))
    settings = config("http://127.0.0.1:9/v1", model=MODEL, transport="batch", cache=None)
    plan = make_plan(settings, samples, answers(samples), lambda ref: b"")
    folder = batch_folder(tmp_path, plan)
    folder.mkdir(parents=True)
    keyed = [line.replace(b"CALL", key.encode()) for line, key in zip(lines, plan.calls, strict=True)]
    (folder / "output.jsonl").write_bytes(b"".join(line + b"\n" for line in keyed))
    return settings, samples, folder


def batch_line(body: bytes, status: int = 200) -> bytes:
    return b'{"custom_id": "CALL", "response": {"status_code": %d, "body": %s}}' % (status, body)


BATCH = {
    "half pair": (batch_line(body_of(GOOD).replace(b'"content": "', b'"content": "\\ud83d')), "half of a surrogate"),
    "half pair in the model": (batch_line(body_of(GOOD).replace(MODEL.encode(), b"\\udc00")), "half of a surrogate"),
    "bytes": (batch_line(body_of(GOOD).replace(b'"content": "', b'"content": "\xff')), "half of a surrogate"),
    "nested": (batch_line(b"[" * 300 + b"]" * 300), "levels deep"),
    "another type": (batch_line(b'"<html>"'), "not a JSON object"),
    "status": (batch_line(b"{}", 500), "HTTP 500"),
    "error": (b'{"custom_id": "CALL", "error": {"message": "no %s"}}' % KEY.encode(), "[key]"),
}


def test_each_broken_line_of_a_batch_fails_its_own_call(tmp_path: Path) -> None:
    lines = [line for broken, _ in BATCH.values() for line in (broken, batch_line(body_of(GOOD)))]
    settings, samples, _ = outputs(tmp_path, lines)
    outcome = judge_run(tmp_path, settings, samples, answers(samples))
    assert outcome.scores.outcomes == {"judged": len(BATCH), "error": len(BATCH)}
    whys = [r["why"] for r in records(tmp_path) if r["status"] == "error"]
    for name, (_, why) in BATCH.items():
        assert any(why in text for text in whys), name
    assert KEY not in (tmp_path / "judgments.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[" * 100_000, "nested too deeply"), (b"\xff\xfe", "not JSON"), (b"<html>", "not JSON"),
        (b"{}", "not a line of a batch"), (b"1e999", "not a JSON object"),
    ],
    ids=["deep", "bytes", "HTML", "empty", "number"],
)  # fmt: skip
def test_a_batch_file_that_is_none_is_one_paragraph_and_nothing_is_lost(tmp_path: Path, line: bytes, why: str) -> None:
    settings, samples, folder = outputs(tmp_path, [line])
    with pytest.raises(DataError, match=rf"output\.jsonl:1.*{why}") as caught:
        judge_run(tmp_path, settings, samples, answers(samples))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert (folder / "output.jsonl").exists()
