"""engine.batch=write|submit|collect against a stand-in of OpenAI's batch interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, EngineError, Partial
from evalkit.core.types import Prediction, Request
from evalkit.engines.server import ServerEngine
from tests.support import command_line
from tests.support.batch_server import BatchServer
from tests.support.command_line import folder_of, lines
from tests.support.server_engine import MODEL, engine, make_requests, question, spec


def echo(body: dict[str, Any]) -> str:
    return f"seen: {question(body)}"


def started(server: BatchServer, folder: Path, mode: str | None, **settings: Any) -> ServerEngine:
    made = engine(server.url, batch=mode, **settings)
    made.use_folder(folder)
    return made


def given(made: ServerEngine, requests: list[Request]) -> tuple[list[Prediction], str]:
    """The predictions of an engine until it stops, and why it stopped early."""
    found: list[Prediction] = []
    try:
        for batch in made.generate(requests):
            found += batch
    except Partial as problem:
        return found, str(problem)
    return found, ""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_batch_is_submitted_once_and_brings_the_answers_of_the_direct_path(tmp_path: Path, run: Path) -> None:
    requests = make_requests(tmp_path, [3, 1, 2])
    with BatchServer(echo) as server:
        direct, _ = given(started(server, run, None), requests)
        n_chats = len(server.chats)
        none, why = given(started(server, run, "submit"), requests)
        assert none == [] and "6 requests were submitted in 1 batches (batch0)" in why and "engine.batch=collect" in why
        assert "already submitted" in given(started(server, run, "submit"), requests)[1]
        assert list(server.batches) == ["batch0"], "nothing is submitted and paid twice"
        server.status = "in_progress"
        none, why = given(started(server, run, "collect"), requests)
        assert none == [] and "batch0: in_progress, 1 of 6 requests done" in why
        server.status = "completed"
        batch, why = given(started(server, run, "collect"), requests)
        assert why == "" and len(server.chats) == n_chats
        sent = [line["body"] for line in server.batches["batch0"]]
    key = lambda p: p.fingerprint  # noqa: E731
    kept = ("sample_id", "text", "error", "finish_reason", "n_tokens", "fingerprint", "attempts", "reasoning")
    by_batch = [[getattr(p, name) for name in kept] for p in sorted(batch, key=key)]
    assert by_batch == [[getattr(p, name) for name in kept] for p in sorted(direct, key=key)]
    plain = sorted(json.dumps(body, sort_keys=True) for body in server.chats[:n_chats])
    assert sorted(json.dumps(body, sort_keys=True) for body in sent) == plain, "the same requests, byte for byte"


@pytest.mark.slow
def test_requests_that_fail_in_a_batch_are_named_and_submitted_again(tmp_path: Path, run: Path) -> None:
    requests = make_requests(tmp_path, [1] * 5)
    bad = requests[2].question
    with BatchServer(lambda body: None if question(body) == bad else echo(body)) as server:
        given(started(server, run, "submit"), requests)
        found, why = given(started(server, run, "collect"), requests)
        assert why == "" and len(found) == 5
        (failed,) = [p for p in found if p.failed]
        assert failed.sample_id == requests[2].sample_id
        assert failed.error == "the batch says: HTTP 400: no such picture"
        server.answer = echo
        _, why = given(started(server, run, "submit"), [requests[2]])
        assert "1 requests were submitted" in why and list(server.batches) == ["batch0", "batch1"]
        server.status = "validating"
        found, why = given(started(server, run, "collect"), [requests[2]])
        assert found == [] and "batch1: validating" in why, "the failure of the first batch is not taken again"
        server.status = "completed"
        found, why = given(started(server, run, "collect"), [requests[2]])
    assert why == "" and [p.text for p in found] == [f"seen: {bad}"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"whole_error": "the file is too large"}, r"the batch ended without a reply (batch0: failed, "),
        ({"status": "expired", "done": 0.5}, "the batch ended without a reply (batch0: expired"),
        ({"status": "cancelled"}, "the batch ended without a reply (batch0: cancelled"),
    ],
)
def test_a_batch_that_ends_without_replies_fails_its_requests_by_name(
    tmp_path: Path, run: Path, settings: dict[str, Any], words: str
) -> None:
    requests = make_requests(tmp_path, [1] * 4)
    with BatchServer(echo) as server:
        given(started(server, run, "submit"), requests)
        for name, value in settings.items():
            setattr(server, name, value)
        found, why = given(started(server, run, "collect"), requests)
    assert why == "" and len(found) == 4
    failures = [p.error or "" for p in found if p.failed]
    assert len(failures) == (2 if settings.get("status") == "expired" else 4)
    assert all(error.startswith(words) for error in failures)
    assert all(settings.get("whole_error", "") in error for error in failures)


def test_written_requests_are_exchanged_by_hand(tmp_path: Path, run: Path) -> None:
    requests = make_requests(tmp_path, [2, 1])
    with BatchServer(echo) as server:
        found, why = given(started(server, run, "write"), requests)
        assert found == [] and "3 requests are written to" in why and not server.batches
        (file,) = (run / "server-batch").glob("requests-*.jsonl")
        written = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert {line["url"] for line in written} == {"/v1/chat/completions"}
        assert {line["custom_id"] for line in written} == {r.fingerprint for r in requests}
        nothing, why = given(started(server, run, "collect"), requests)
        assert nothing == [] and "3 of 3 requests have no reply yet: no output file" in why
        server.batches["batch0"] = written
        (run / "server-batch" / "output.jsonl").write_text(server._output("output", "batch0"), encoding="utf-8")
        found, why = given(started(server, run, "collect"), requests)
    assert why == "" and {p.text for p in found} == {f"seen: {r.question}" for r in requests}


@pytest.mark.few(2)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
@pytest.mark.parametrize("status", [400, 500])
def test_a_service_that_refuses_is_one_paragraph_and_nothing_is_lost(
    tmp_path: Path, run: Path, path: str, status: int
) -> None:
    requests = make_requests(tmp_path, [1] * 3)
    with BatchServer(echo) as server:
        server.refuse = lambda method, asked: status if (method, asked) == ("POST", path) else 0
        with pytest.raises(EngineError, match=f"The batch service failed: HTTP {status}: refused with {status}"):
            list(started(server, run, "submit").generate(requests))
        server.refuse = lambda method, asked: 0
        assert "3 requests were submitted" in given(started(server, run, "submit"), requests)[1]
        server.refuse = lambda method, asked: status if "/batches/" in asked or "/content" in asked else 0
        with pytest.raises(EngineError, match="The batch service failed"):
            list(started(server, run, "collect").generate(requests))
        server.refuse = lambda method, asked: 0
        assert len(given(started(server, run, "collect"), requests)[0]) == 3
    assert len(server.batches) == 1


def test_damaged_files_are_one_paragraph(tmp_path: Path, run: Path) -> None:
    from evalkit.core.errors import DataError, StoreError

    requests = make_requests(tmp_path, [1] * 2)
    with BatchServer(echo) as server:
        given(started(server, run, "submit"), requests)
        receipts = run / "server-batch" / "batches.json"
        kept = receipts.read_text(encoding="utf-8")
        for damage in ("{}", '{"batches": 3}', '{"batches": [{"id": 1}]}', "no JSON"):
            receipts.write_text(damage, encoding="utf-8")
            with pytest.raises(StoreError, match=r"batches\.json"):
                list(started(server, run, "collect").generate(requests))
        receipts.write_text(kept, encoding="utf-8")
        (run / "server-batch" / "output-x.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
        with pytest.raises(DataError, match=r"output-x.jsonl:1 is not a line of a batch's output"):
            list(started(server, run, "collect").generate(requests))


def test_a_provider_without_batches_and_a_run_without_a_folder_are_refused(tmp_path: Path) -> None:
    with BatchServer(echo) as server:
        with pytest.raises(ConfigError, match=r"engine.batch=submit is not possible with engine.provider=x"):
            engine(server.url, batch="submit", provider={"name": "x", "batch": False})
        with pytest.raises(ConfigError, match="needs the folder of a run"):
            list(engine(server.url, batch="write").generate(make_requests(tmp_path, [1])))


def test_the_cost_of_a_batch_has_the_price_of_batches_and_fits_the_budget_before(tmp_path: Path, run: Path) -> None:
    requests = make_requests(tmp_path, [1] * 4)
    price = {"input": 1000.0, "output": 1000.0, "date": "2026-01-01", "batch_factor": 0.5}
    provider = {"name": "x", "prices": {MODEL: price}}
    with BatchServer(echo) as server:
        with pytest.raises(ConfigError, match=r"could cost up to .* USD, which is more than the budget of 1 USD"):
            given(started(server, run, "submit", provider=provider, budget_usd=1.0), requests)
        assert not server.files
        given(started(server, run, "submit", provider=provider, budget_usd=9.0), requests)
        made = started(server, run, "collect", provider=provider, budget_usd=9.0)
        given(made, requests)
    cost = made.metadata()["cost"]
    assert cost["usd"] == pytest.approx(4 * 320 * 1000 / 1e6 / 2)


@pytest.mark.slow
def test_a_run_by_batches_on_the_command_line_has_the_records_of_a_direct_run(tmp_path: Path) -> None:
    common = ("task=phantom", "limit=8", "model=phantom-llava", "leaderboard=null", "engine=server")
    with BatchServer(echo) as server:
        at = (*common, f"engine.url={server.url}", f"engine.served_model={MODEL}")
        direct = command_line.in_this_process(*at, "out=direct", cwd=tmp_path)
        submitted = command_line.in_this_process(*at, "out=batch", "engine.batch=submit", cwd=tmp_path)
        assert submitted.returncode == 3 and "8 requests were submitted" in submitted.stderr
        collected = command_line.in_this_process(*at, "out=batch", "engine.batch=collect", cwd=tmp_path)
        assert collected.returncode == 0, collected.stderr
    one, two = folder_of(direct, tmp_path), folder_of(collected, tmp_path)
    assert one.name == two.name
    records = [[{**line, "seconds": None} for line in lines(folder / "predictions.jsonl")] for folder in (one, two)]
    by_id = [sorted(found, key=lambda line: line["sample_id"]) for found in records]
    assert by_id[0] == by_id[1]
    assert (one / "scores.jsonl").read_bytes() == (two / "scores.jsonl").read_bytes()
    assert spec().generation.max_new_tokens == 12
