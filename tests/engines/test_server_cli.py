"""engine=server through the command line: a run, its records, a kill and the resumed run."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import command_line
from tests.support.command_line import environment, folder_of
from tests.support.fake_server import Act, Body
from tests.support.server_engine import MODEL, SOON, echo, picture_key, pictures, question, serving


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "evalkit", "model=phantom-llava", "task=phantom", *arguments]


def evalkit(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return command_line.in_this_process("model=phantom-llava", "task=phantom", *arguments, cwd=cwd, env=env)


def at(url: str, *more: str) -> tuple[str, ...]:
    return ("engine=server", f"engine.url={url}", f"engine.served_model={MODEL}", *more)


def records(folder: Path) -> list[dict[str, Any]]:
    """Prediction records of a run, sorted by sample id: they are written in the order of arrival."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda record: record["sample_id"])


@pytest.mark.slow
def test_a_run_has_the_same_records_and_files_as_engine_hf(tmp_path: Path) -> None:
    with serving() as server:
        result = evalkit(*at(server.url, "limit=20"), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert len(server.calls) == 20
        assert {len(pictures(body)) for body in server.calls} == {1}
    there = folder_of(result, tmp_path)
    here = folder_of(evalkit("engine=hf", "limit=20", "engine.device=cpu", cwd=tmp_path), tmp_path)
    assert [list(r) for r in records(there)] == [list(r) for r in records(here)]
    same = ("sample_id", "image_id", "question", "references", "answer_type", "error", "finish_reason")
    assert [[r[k] for k in same] for r in records(there)] == [[r[k] for k in same] for r in records(here)]
    assert [{k: type(v) for k, v in r.items()} for r in records(there)] == [
        {k: type(v) for k, v in r.items()} for r in records(here)
    ]
    assert {p.name for p in there.iterdir()} == {p.name for p in here.iterdir()}
    manifest = json.loads((there / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["facts"]["served_model"] == MODEL and manifest["facts"]["weights_sha256"] is None
    assert manifest["config"]["engine"]["url"] == server.url
    again = evalkit(*at(server.url, "limit=20"), cwd=tmp_path)  # the server is gone
    assert again.returncode == 2 and "does not answer" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.slow
def test_weights_need_not_be_local(tmp_path: Path) -> None:
    with serving() as server:
        there = evalkit(*at(server.url, "limit=2", "model=llava-med", "engine.extra_body={min_p: 0}"), cwd=tmp_path)
        assert [body["min_p"] for body in server.calls] == [0, 0]
    assert there.returncode == 0, there.stderr
    assert "the server uses its own" in there.stderr


@pytest.mark.slow
def test_answers_that_never_leave_the_thought_that_their_prompt_opened_are_cut(tmp_path: Path) -> None:
    def reply(n: int, body: Body) -> Act:
        cut = Act(text="Okay, so it could be yes or", finish="length")
        return cut if n % 2 else Act(text="Okay, maybe no. </think>\n\nYes")

    with serving(reply) as server:
        result = evalkit(*at(server.url, "limit=20", "engine.concurrency=1"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "10 of 20 end inside their reasoning and are unscored" in result.stdout
    kept = records(folder_of(result, tmp_path))
    assert sorted(str(r["text"]) for r in kept) == ["None"] * 10 + ["Yes"] * 10
    assert {r["error"] for r in kept} == {None, "cut inside its reasoning"}
    assert {r["raw"] for r in kept if r["error"]} == {"Okay, so it could be yes or"}


@pytest.mark.slow
def test_answers_that_read_like_errors_are_said_beside_the_table(tmp_path: Path) -> None:
    def reply(n: int, body: Body) -> Act:
        return Act(text="<think>Hm</think>Error: 429 Too Many Requests") if n % 2 else echo(n, body)

    with serving(reply) as server:
        result = evalkit(*at(server.url, "limit=20", "engine.concurrency=1"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "10 of 20 answers read like error messages, first for sample" in result.stderr
    assert "10 of 20 answers read like error messages" in " ".join(result.stdout.split())
    summary = json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))
    assert any("read like error messages" in text for text in summary["warnings"])


def test_failed_requests_are_counted_recorded_and_retried_on_resume(tmp_path: Path) -> None:
    def sick(n: int, body: Body) -> Act:
        return Act(status=400, error={"message": "no"}) if n in (3, 4) else echo(n, body)

    with serving(sick) as server:
        first = evalkit(*at(server.url, "limit=20"), cwd=tmp_path)
        assert first.returncode == 3 and "2 of 20 samples failed" in first.stderr
        failed = [r for r in records(folder_of(first, tmp_path)) if r["error"]]
        assert [r["attempts"] for r in failed] == [["400"], ["400"]]
        server.calls.clear()
        server.behave = echo
        second = evalkit(*at(server.url, "limit=20"), cwd=tmp_path)
        assert second.returncode == 0, second.stderr
        assert sorted(r["question"] for r in failed) == sorted(question(b).splitlines()[0] for b in server.calls)
        assert len(server.calls) == 2
    assert folder_of(second, tmp_path) == folder_of(first, tmp_path)
    assert not any(r["error"] for r in records(folder_of(second, tmp_path)))


@pytest.mark.slow
def test_transient_faults_are_retried_and_permanent_ones_recorded_within_the_concurrency(
    tmp_path: Path,
) -> None:
    tries: dict[str, int] = {}

    def faulty(n: int, body: Body) -> Act:
        number = list(tries).index(key_of(body)) if key_of(body) in tries else len(tries)
        tries[key_of(body)] = again = tries.get(key_of(body), 0) + 1
        if number == 2 and again == 1:
            return Act(status=429, headers=SOON)
        if number == 4:
            return Act(status=503, headers=SOON)
        return Act(text="x", delay=5.0 if number == 6 else 0.01)

    with serving(faulty) as server:
        settings = ("limit=24", "engine.concurrency=3", "engine.retries=1", "engine.timeout=2", "engine.lead=false")
        result = evalkit(*at(server.url, *settings), cwd=tmp_path)
        assert result.returncode == 3 and "2 of 24 samples failed" in result.stderr
        assert 1 < server.most_busy <= 3
        first_asked = list(dict.fromkeys((key_of(b), picture_key(b)) for b in server.calls))
    images = [image for _, image in first_asked]
    assert sum(a != b for a, b in pairwise(images)) == len(set(images)) - 1, "each image's questions are adjacent"
    outcomes = [(r["error"], r["attempts"]) for r in records(folder_of(result, tmp_path)) if r.get("attempts")]
    (recovered,) = [attempts for error, attempts in outcomes if error is None]
    assert recovered == ["429", "200"]
    failed = sorted((attempts, error) for error, attempts in outcomes if error is not None)
    assert [attempts for attempts, _ in failed] == [["503", "503"], ["no reply", "no reply"]]
    assert "HTTP 503" in failed[0][1] and "2 s" in failed[1][1]


@pytest.mark.slow
def test_an_interrupt_says_how_to_continue(tmp_path: Path) -> None:
    with serving(lambda n, b: Act(text="x", delay=0.2)) as server:
        process = subprocess.Popen(
            command(*at(server.url)), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(server.calls) < 20:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from there" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_an_outage_ends_with_code_3_and_says_how_to_continue(tmp_path: Path) -> None:
    def dying(n: int, body: Body) -> Act:
        return echo(n, body) if n < 30 else Act(status=503, headers=SOON)

    with serving(dying) as server:
        result = evalkit(*at(server.url, "limit=80", "engine.retries=0", "engine.concurrency=4"), cwd=tmp_path)
    assert result.returncode == 3
    assert "same command again to continue" in result.stderr and "Traceback" not in result.stderr
    (kept,) = tmp_path.rglob("predictions.jsonl")
    assert sum(r["error"] is None for r in records(kept.parent)) == 30


def key_of(body: Body) -> str:
    return hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()


@pytest.mark.slow
def test_a_killed_run_resumes_without_repeating_saved_answers(tmp_path: Path) -> None:
    def slow(n: int, body: Body) -> Act:
        return Act(text=key_of(body), delay=0.03)

    with serving(slow) as server:
        settings = at(server.url, "limit=100", "engine.concurrency=4")
        process = subprocess.Popen(
            command(*settings), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        path = tmp_path / "none"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 25):
            path = next(iter(tmp_path.rglob("predictions.jsonl")), path)
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        whole = path.read_bytes()
        landed = [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]
        assert 25 <= len(landed) < 100
        server.calls.clear()
        result = evalkit(*settings, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        again = [key_of(body) for body in server.calls]
    assert len(again) == len(set(again)) == 100 - len(landed)
    assert not {r["text"] for r in landed} & set(again)
    final = records(folder_of(result, tmp_path))
    assert len({r["sample_id"] for r in final}) == len({r["text"] for r in final}) == len(final) == 100
