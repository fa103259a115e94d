"""A full disk below engine=server: the first answer that cannot be written ends the paid requests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from evalkit.core.types import Sample
from evalkit.pipeline.resume import answer_missing
from evalkit.runs.background_writer import Appender
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import RunFolder
from tests.support.fake_server import Act
from tests.support.server_engine import engine, make_requests, serving

CONCURRENCY = 8


@pytest.mark.parametrize("room", [0, 1, 4])
@pytest.mark.few(1)
def test_the_first_answer_that_cannot_be_written_ends_the_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    requests = make_requests(tmp_path, [1] * 200)
    samples = [Sample(id=r.sample_id, image_id=r.image_id, question=r.question, references=("x",)) for r in requests]
    folder = RunFolder(tmp_path / "run")
    write = Appender.write
    calls_when_full: list[int] = []
    n_writes = 0

    def limited(appender: Appender, lines: Iterable[PredictionLine]) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes > room:
            calls_when_full.append(len(server.calls))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.predictions))
        write(appender, lines)

    with serving(lambda n, body: Act(text="yes", delay=0.02)) as server:
        made = engine(server, concurrency=CONCURRENCY)
        with monkeypatch.context() as patch:
            patch.setattr(Appender, "write", limited)
            with pytest.raises(OSError, match=r"predictions\.jsonl"):
                answer_missing(folder, samples, requests, made, True)
        paid, kept = len(server.calls), len(folder.predictions.read_text().splitlines())
        print(f"full after {room} writes: {calls_when_full[0]} requests made, {paid} in all, {kept} kept")
        assert len(calls_when_full) == 1 and paid <= calls_when_full[0] + 2 * CONCURRENCY
        again = answer_missing(folder, samples, requests, engine(server), True)
    assert again.n_asked == 200 - kept
    assert {p.text for p in again.predictions} == {"yes"}
