"""Sessions that are killed and continued: the same judgments as without a kill, and no call is repeated."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from evalkit.judge.api import judge_run, recompute
from tests.support.fake_server import Act, FakeServer, scores
from tests.support.judge_samples import answers, chat, config
from tests.support.paths import ROOT


def behave(n: int, body: dict) -> Act:
    number = int(body["messages"][1]["content"].split("figure ")[1].split(" ")[0])
    act = scores(number % 5 + 5, number % 7 + 1)
    act.delay = 0.03
    return act


def stored_keys(run: Path) -> set[str]:
    file = run / "judgments.jsonl"
    whole = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return {r["key"] for r in map(json.loads, whole) if r["record"] == "judgment"}


def start(folder: Path, url: str, n: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.judge_child", str(folder), url, str(n)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill_until_done(folder: Path, n: int, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    samples = chat(n)
    with FakeServer(behave) as server:
        whole = judge_run(folder / "whole", config(server.url, order="swap", cache=None), samples, answers(samples))
        uninterrupted = Counter(server.answered)
        server.calls.clear()
        server.answered.clear()
        in_flight = 0
        for _ in range(kills):
            before = len(server.calls)
            process = start(folder, server.url, n)
            # The kill comes some calls after the first one: before that there is nothing to lose.
            target = before + rng.randint(1, max(1, n // 2))
            deadline = time.monotonic() + 60
            while len(server.calls) < target and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.05)
            process.kill()
            process.communicate(timeout=30)
            in_flight += len(server.calls) - before
            time.sleep(0.1)
        kept = stored_keys(folder / "run")
        calls_before_last = len(server.calls)
        process = start(folder, server.url, n)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output.decode()
        n_calls = len(server.calls) - calls_before_last
        # A reply that was in the cache but not yet in the journal at the kill is not requested again either.
        assert 2 * n - len(kept) - kills * 8 <= n_calls <= 2 * n - len(kept), "stored judgments are not requested again"
        repeated = sum(count - 1 for count in Counter(server.answered).values())
        assert repeated <= kills * 8, "at most the calls in flight at a kill are repeated"
        assert set(server.answered) == set(uninterrupted)
    assert recompute(folder / "run").metrics == whole.scores.metrics


@pytest.mark.slow
def test_a_killed_session_is_continued(tmp_path: Path) -> None:
    kill_until_done(tmp_path, n=20, kills=1, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sessions_killed_at_random_moments_are_continued(tmp_path: Path, seed: int) -> None:
    kill_until_done(tmp_path, n=100, kills=5, seed=seed)
