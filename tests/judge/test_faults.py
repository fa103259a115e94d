"""Faulty servers: nothing is lost or paid twice, failures are counted, no value is reported above the limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.core.errors import JudgeError, Partial
from evalkit.judge.api import judge_run
from tests.support.fake_server import Act, Body, FakeServer, scores
from tests.support.judge_samples import answers, chat, config

SOON = {"retry-after-ms": "5"}


def records(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "judgments.jsonl").read_text().splitlines()]
    return [line for line in lines if line["record"] == "judgment"]


def once(act: Act) -> Callable[[int, Body], Act]:
    """Each content meets the fault the first time and a judgment the second time."""
    seen: set[str] = set()

    def behave(n: int, body: Body) -> Act:
        content = json.dumps(body["messages"])
        if content in seen:
            return scores(8, 4)
        seen.add(content)
        return act

    return behave


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "fault",
    [
        Act(status=429, headers=SOON),
        Act(status=500, headers=SOON),
        Act(status=503, headers=SOON),
        Act(status=408, headers=SOON),
        Act(cut=True),
    ],
    ids=["429", "500", "503", "408", "cut"],
)
def test_a_passing_fault_is_retried_and_costs_no_judgment(tmp_path: Path, fault: Act) -> None:
    samples = chat(4)
    with FakeServer(once(fault)) as server:
        outcome = judge_run(tmp_path, config(server.url, retries=1), samples, answers(samples))
        assert len(server.calls) == 8 and len(server.answered) == 4
    outcome.check()
    assert outcome.scores.find("relative_score").value == 0.5


@pytest.mark.slow
def test_retry_after_is_respected(tmp_path: Path) -> None:
    samples = chat(1)
    started = time.monotonic()
    with FakeServer(once(Act(status=429, headers={"retry-after": "1"}))) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples)).check()
    assert time.monotonic() - started >= 1.0


LASTING = {
    "429": (Act(status=429, headers=SOON), "error", "HTTP 429"),
    "500": (Act(status=500, headers=SOON), "error", "HTTP 500"),
    "time-out": (Act(text="late", delay=0.6), "error", "timed out (0.4 s)"),
    "cut": (Act(cut=True), "error", "cut off"),
    "malformed JSON": (Act(raw=b'{"choices": [{'), "error", "not JSON"),
    "empty body": (Act(raw=b""), "error", "not JSON"),
    "HTML": (Act(raw=b"<html>busy</html>", headers={"Content-Type": "text/html"}), "error", "not a JSON object"),
    "an error with HTTP 200": (Act(error={"message": "it is busy", "code": 429}), "error", "busy (code 429)"),
    "no choices": (Act(raw=b'{"choices": []}'), "error", "not a chat completion"),
    "empty reply": (Act(text=""), "unreadable", "empty reply"),
    "refusal field": (Act(message={"refusal": "I cannot help with that.", "content": None}), "refused", "cannot help"),
    "blank refusal field": (Act(message={"refusal": " \n", "content": None}), "unreadable", "empty reply"),
    "a score of 400 digits": (scores(int("9" * 400), 4), "unreadable", "no number"),
    "refusal in words": (Act(text="I'm sorry, but I can't assist with that."), "refused", "can't assist"),
    "content filter": (Act(text="", finish="content_filter"), "refused", "content filter"),
    "wrong schema": (Act(text='{"reason": "x", "score": 7}'), "unreadable", "neither"),
    "half a schema": (Act(text='{"reason": "x", "score_1": 7}'), "unreadable", "missing"),
    "a score of 11": (scores(11, 4), "unreadable", "outside"),
    "a score of 0": (scores(5, 0), "unreadable", "outside"),
    "a score in words": (Act(text='{"reason": "x", "score_1": "eight", "score_2": 4}'), "unreadable", "no number"),
    "broken JSON in the reply": (Act(text='{"reason": "x", "score_1": 8, "sco'), "unreadable", "neither"),
    "cut at the token limit": (Act(text='{"reason": "x', finish="length"), "unreadable", "token limit"),
}


@pytest.mark.parametrize("name", LASTING)
@pytest.mark.few(7)
def test_a_lasting_fault_of_one_call_is_counted_and_gives_no_score(tmp_path: Path, name: str) -> None:
    fault, status, why = LASTING[name]
    samples = chat(20)

    def behave(n: int, body: Body) -> Act:
        return fault if "figure 7 show" in body["messages"][1]["content"] else scores(8, 4)

    with FakeServer(behave) as server:
        settings = config(server.url, retries=1, timeout=0.4, max_failed=0.05)
        outcome = judge_run(tmp_path, settings, samples, answers(samples))
        assert len(set(server.answered)) == 19 + (status != "error" or name == "time-out")
        strict = judge_run(tmp_path, config(server.url, retries=0, timeout=0.4), samples, answers(samples))
    outcome.check()
    figure = outcome.scores.find("relative_score")
    assert (figure.value, figure.n, figure.n_unscored, outcome.scores.n_failed) == (0.5, 20, 1, 1)
    assert outcome.scores.outcomes == {"judged": 19, status: 1}
    (reason,) = outcome.scores.reasons
    assert reason.startswith(status) and why in reason
    assert strict.scores.find("relative_score").value is None, "1 of 20 is more than 2 %"
    assert strict.n_calls == (1 if status == "error" else 0), "only calls without a reply are repeated"
    with pytest.raises(Partial, match="no number"):
        strict.check()


def test_an_outage_of_all_calls_gives_no_score_and_exit_code_3(tmp_path: Path) -> None:
    samples = chat(100)
    with FakeServer(lambda n, b: Act(status=500, headers=SOON), models=lambda p: Act(status=500)) as server:
        outcome = judge_run(tmp_path, config(server.url, retries=1), samples, answers(samples))
        assert len(server.calls) <= 2 * (10 + 4), "an outage ends the session early"
    assert all(m.value is None and m.low is None for m in outcome.scores.metrics)
    with pytest.raises(Partial, match="calls in a row") as caught:
        outcome.check()
    assert caught.value.exit_code == 3


def test_a_missing_server_gives_no_score_and_exit_code_3(tmp_path: Path) -> None:
    samples = chat(6)
    outcome = judge_run(tmp_path, config("http://127.0.0.1:9/v1", retries=0), samples, answers(samples))
    assert outcome.scores.find("relative_score").value is None
    assert outcome.scores.outcomes == {"error": 6}
    with pytest.raises(Partial):
        outcome.check()


@pytest.mark.parametrize(("first", "last"), [(0, 30), (30, 70), (85, 10_000)], ids=["start", "middle", "end"])
def test_after_an_outage_only_missing_judgments_are_requested(tmp_path: Path, first: int, last: int) -> None:
    samples = chat(100)
    down = {"now": True}

    def behave(n: int, body: Body) -> Act:
        return Act(status=500, headers=SOON) if down["now"] and first <= n < last else scores(8, 4)

    with FakeServer(behave) as server:
        settings = config(server.url, retries=0, cache=None)
        broken = judge_run(tmp_path, settings, samples, answers(samples))
        assert broken.scores.find("relative_score").value is None
        with pytest.raises(Partial):
            broken.check()
        paid = len(server.answered)
        assert broken.scores.outcomes.get("judged", 0) == paid
        down["now"] = False
        repaired = judge_run(tmp_path, settings, samples, answers(samples))
        assert sorted(server.answered) == sorted(set(server.answered)) and len(server.answered) == 100
    repaired.check()
    assert repaired.n_calls == 100 - paid
    assert repaired.scores.find("relative_score").value == 0.5
    assert repaired.scores.outcomes == {"judged": 100}


def test_a_key_that_is_revoked_during_a_session_stops_it_at_once(tmp_path: Path) -> None:
    samples = chat(50)
    with FakeServer(lambda n, b: scores(8, 4) if n < 20 else Act(status=401, error={"message": "no"})) as server:
        outcome = judge_run(tmp_path, config(server.url), samples, answers(samples))
        assert len(server.calls) <= 20 + 4
    assert outcome.scores.outcomes["judged"] == 20
    with pytest.raises(Partial, match="refuses the key"):
        outcome.check()


def test_an_exhausted_account_stops_the_session_instead_of_failing_every_call(tmp_path: Path) -> None:
    samples = chat(50)
    act = Act(status=429, headers=SOON, error={"message": "quota", "code": "insufficient_quota"})
    with FakeServer(lambda n, b: scores(8, 4) if n < 10 else act) as server:
        outcome = judge_run(tmp_path, config(server.url, retries=0), samples, answers(samples))
        assert len(server.calls) <= 10 + 4
    with pytest.raises(Partial, match="no credit"):
        outcome.check()


def test_an_incomplete_last_line_is_cut_off_and_its_judgment_requested_again(tmp_path: Path) -> None:
    samples = chat(8)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        settings = config(server.url, cache=None)
        whole = judge_run(tmp_path, settings, samples, answers(samples))
        file = tmp_path / "judgments.jsonl"
        file.write_bytes(file.read_bytes()[:-40])
        again = judge_run(tmp_path, settings, samples, answers(samples))
        assert again.n_calls == 1 and len(server.calls) == 9
    assert again.scores.metrics == whole.scores.metrics


def test_damage_inside_the_file_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    samples = chat(4)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        judge_run(tmp_path, config(server.url), samples, answers(samples))
        file = tmp_path / "judgments.jsonl"
        text = file.read_text().splitlines(keepends=True)
        file.write_text("".join([text[0], "{]\n", *text[2:]]))
        with pytest.raises(Exception, match=r"judgments\.jsonl:2 is not a JSON object"):
            judge_run(tmp_path, config(server.url), samples, answers(samples))


def test_a_swapped_pair_with_one_half_missing_is_not_scored(tmp_path: Path) -> None:
    samples = chat(10)

    def behave(n: int, body: Body) -> Act:
        text = body["messages"][1]["content"]
        first_is_candidate = text.index("It is answer") < text.index("It shows finding")
        return Act(text="hm") if "figure 3 show" in text and first_is_candidate else scores(8, 4)

    with FakeServer(behave) as server:
        settings = config(server.url, order="swap", max_failed=0.2)
        outcome = judge_run(tmp_path, settings, samples, answers(samples))
    assert outcome.scores.outcomes == {"judged": 19, "unreadable": 1}
    assert outcome.scores.find("relative_score").n_unscored == 1


def test_an_image_that_cannot_be_sent_is_a_clear_error(tmp_path: Path) -> None:
    from dataclasses import replace

    from evalkit.core.errors import DataError
    from evalkit.core.types import ImageRef

    samples = [replace(s, images=(ImageRef(kind="file", path="x.dcm"),)) for s in chat(2)]
    with FakeServer(lambda n, b: scores(8, 4)) as server, pytest.raises(DataError, match=r"x\.dcm cannot be read"):
        settings = config(server.url, send_images=True)
        judge_run(tmp_path, settings, samples, answers(samples), read_image=lambda ref: b"no image")


def test_images_that_cannot_be_sent_are_failed_calls_and_the_others_are_judged(tmp_path: Path) -> None:
    from dataclasses import replace

    from evalkit.core.types import ImageRef
    from tests.core.test_limits import encoded, huge

    contents = [huge("JPEG"), huge("GIF"), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"no image", encoded("JPEG"), *[b"x"] * 12]
    samples = [replace(s, images=(ImageRef(kind="file", path=f"{k}.png"),)) for k, s in enumerate(chat(len(contents)))]
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        settings = config(server.url, send_images=True, concurrency=1)
        outcome = judge_run(
            tmp_path, settings, samples, answers(samples), read_image=lambda ref: contents[int(Path(ref.path).stem)]
        )
    assert outcome.scores.outcomes == {"judged": 1, "error": len(contents) - 1}
    failed = {str(r["why"]) for r in records(tmp_path) if r.get("why")}
    assert any("0.png cannot be read" in e and "pixels, the limit" in e for e in failed), failed
    assert any("2.png cannot be read" in e and "none of the formats" in e for e in failed), failed


def test_two_processes_cannot_judge_one_run_at_once(tmp_path: Path) -> None:
    from evalkit.core.errors import StoreError
    from evalkit.runs.store import RunFolder

    samples = chat(1)
    with RunFolder(tmp_path).locked(), pytest.raises(StoreError, match="Another process"):
        judge_run(tmp_path, config("http://127.0.0.1:9/v1"), samples, answers(samples))


def test_an_unusable_cache_is_a_clear_error_before_any_request(tmp_path: Path) -> None:
    broken = tmp_path / "cache.sqlite"
    broken.write_bytes(b"this is no database, and longer than a header of one hundred bytes " * 4)
    samples = chat(1)
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        with pytest.raises(JudgeError, match=r"judge\.cache"):
            judge_run(tmp_path / "run", config(server.url, cache=str(broken)), samples, answers(samples))
        assert not server.calls
