"""Answers are written in the background: in order, never reported before they are on the disk, errors not hidden."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import Prediction, Sample
from evalkit.runs import background_writer
from evalkit.runs.background_writer import Appender, BackgroundWriter
from evalkit.runs.schema import PredictionLine


def answer(number: int, text: str = "yes") -> Prediction:
    return Prediction(sample_id=str(number), text=text, fingerprint=f"f{number}")


def record(prediction: Prediction) -> PredictionLine:
    sample = Sample(id=prediction.sample_id, image_id="a", question="q", references=("yes",))
    return PredictionLine.of(sample, prediction)


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["sample_id"]) for line in path.read_text(encoding="utf-8").splitlines()]


def batches(sizes: Sequence[int]) -> Iterator[list[Prediction]]:
    start = 0
    for size in sizes:
        yield [answer(i) for i in range(start, start + size)]
        start += size


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk answers only while the gate is open."""
    opened = threading.Event()
    sync = os.fsync

    def fsync(number: int) -> None:
        assert opened.wait(30)
        sync(number)

    monkeypatch.setattr(background_writer.os, "fsync", fsync)
    yield opened
    opened.set()


def test_the_model_does_not_wait_for_the_disk(gate: threading.Event, tmp_path: Path) -> None:
    path, reported = tmp_path / "p.jsonl", []
    with BackgroundWriter(path, record, reported.append) as file:
        for batch in batches([3] * 10):
            file.write(batch)
        assert reported == [], "what is not on the disk is not reported as written"
        gate.set()
    assert numbers(path) == list(range(30))
    assert sum(reported) == 30
    assert len(reported) <= 2 + 1, "answers that wait together are written together"
    assert file.seconds > 0


def test_no_more_than_a_bounded_number_of_answers_waits(
    gate: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackgroundWriter, "MAX_QUEUED", 10)
    given_away: list[int] = []

    def model() -> None:
        with BackgroundWriter(tmp_path / "p.jsonl", record) as file:
            for batch in batches([3] * 20):
                file.write(batch)
                given_away.append(len(batch))

    thread = threading.Thread(target=model)
    thread.start()
    deadline = time.monotonic() + 20
    while len(given_away) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    assert sum(given_away) == 9, "the next three would make more than ten"
    gate.set()
    thread.join(30)
    assert numbers(tmp_path / "p.jsonl") == list(range(60))


def test_an_answer_is_reported_after_it_was_synced_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    synced, sync = [0], os.fsync

    def fsync(number: int) -> None:
        sync(number)
        synced[0] = len(numbers(path))

    monkeypatch.setattr(background_writer.os, "fsync", fsync)
    reported = [0]

    def written(n: int) -> None:
        reported[0] += n
        assert reported[0] <= synced[0]

    with BackgroundWriter(path, record, written) as file:
        for batch in batches([1, 2, 3] * 30):
            file.write(batch)
    assert reported[0] == synced[0] == 180


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 12))
def test_a_full_disk_ends_the_run_and_leaves_a_beginning(sizes: list[int], good: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "p.jsonl"
        calls, append = [0], Appender.write

        def write(self: Appender, records: Any) -> None:
            calls[0] += 1
            if calls[0] > good:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            append(self, records)

        patch.setattr(Appender, "write", write)
        reported: list[int] = []
        failure = None
        try:
            with BackgroundWriter(path, record, reported.append) as file:
                for batch in batches(sizes):
                    file.write(batch)
        except OSError as problem:
            failure = problem
        assert numbers(path) == list(range(sum(reported))), "what was reported is there, and nothing else"
        assert (failure is not None) == (calls[0] > good)
        assert calls[0] <= good + 1, "nothing is written behind a failure"
        if failure is None:
            assert sum(reported) == sum(sizes)


def test_what_goes_wrong_with_a_line_is_the_error_of_the_run(tmp_path: Path) -> None:
    """A lone surrogate cannot be written as UTF-8."""
    with pytest.raises(UnicodeEncodeError), BackgroundWriter(tmp_path / "p.jsonl", record) as file:
        file.write([answer(0)])
        file.write([answer(1, text="\ud800")])


def test_the_error_comes_while_the_model_is_still_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Appender, records: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Appender, "write", write)
    asked = 0
    with pytest.raises(OSError, match="Input/output"), BackgroundWriter(tmp_path / "p.jsonl", record) as file:
        for batch in batches([1] * 10_000):
            asked += 1
            file.write(batch)
            time.sleep(0.001)
    assert asked < 1000, "a run of hours must not end with the news that nothing was kept"


def test_when_the_model_fails_what_it_answered_before_is_kept(gate: threading.Event, tmp_path: Path) -> None:
    threading.Timer(0.1, gate.set).start()
    with pytest.raises(RuntimeError, match="the model"), BackgroundWriter(tmp_path / "p.jsonl", record) as file:
        for batch in batches([2] * 5):
            file.write(batch)
        raise RuntimeError("the model")
    assert numbers(tmp_path / "p.jsonl") == list(range(10))
