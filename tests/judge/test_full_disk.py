"""A full disk: the judge is asked nothing more, what was kept stays good, and the next session goes on."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import EvalkitError, Partial, StoreError
from evalkit.judge.api import judge_run
from evalkit.judge.batch import batch_folder
from evalkit.judge.config import JudgeConfig
from evalkit.judge.journal import Journal, JournalLine
from evalkit.judge.plan import make_plan
from evalkit.judge.records import plan_line
from tests.judge.test_faults import records
from tests.support.fake_server import Act, FakeServer, scores
from tests.support.hostile_server import body_of
from tests.support.judge_samples import answers, chat, config
from tests.support.paths import ROOT
from tests.support.slow import mostly_slow

CONCURRENCY = 8


class Disk:
    """A disk that is full after a number of writes of the journal.

    calls_when_full: calls that the server had received at the first write that failed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, number: int = errno.ENOSPC) -> None:
        self.room = room
        self.server: FakeServer | None = None
        self.calls_when_full = -1
        write = Journal.write

        def limited(journal: Journal, lines: Iterable[JournalLine]) -> None:
            if self.room:
                self.room -= 1
                write(journal, lines)
                return
            if self.calls_when_full < 0 and self.server is not None:
                self.calls_when_full = len(self.server.calls)
            raise OSError(number, os.strerror(number), str(journal.path))

        monkeypatch.setattr(Journal, "write", limited)


def judge_until_full(folder: Path, settings: JudgeConfig, n: int) -> EvalkitError:
    samples = chat(n)
    with pytest.raises(EvalkitError) as caught:
        judge_run(folder, settings, samples, answers(samples))
    message = str(caught.value)
    assert str(folder / "judgments.jsonl") in message and "\n" not in message and "same command again" in message
    return caught.value


NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


@pytest.mark.few(1)
@pytest.mark.parametrize("number", mostly_slow(NUMBERS, [errno.ENOSPC]), ids=errno.errorcode.get)
@pytest.mark.parametrize("room", [2, 3, 6])
def test_the_first_reply_that_cannot_be_written_stops_new_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, number: int
) -> None:
    with FakeServer(lambda n, b: replace(scores(8, 4), delay=0.02)) as server, monkeypatch.context() as patch:
        settings = config(server.url, cache=None, concurrency=CONCURRENCY)
        disk = Disk(patch, room, number)
        disk.server = server
        problem = judge_until_full(tmp_path, settings, 100)
        paid, kept = len(server.calls), len(records(tmp_path))
        patch.undo()
        print(f"full after {room} writes: {disk.calls_when_full} calls made, {paid} in all, {kept} kept")
        assert paid <= disk.calls_when_full + CONCURRENCY, "those in flight, and no more"
        assert os.strerror(number) in str(problem)
        assert (type(problem), problem.exit_code) == ((Partial, 3) if kept else (StoreError, 2))
        assert f"{kept} replies of this session are kept" in str(problem)
        outcome = judge_run(tmp_path, settings, chat(100), answers(chat(100)))
    assert outcome.n_calls == 100 - kept, "only what is missing is asked"
    assert outcome.scores.outcomes == {"judged": 100}


def test_failed_calls_that_cannot_be_written_stop_new_calls_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(lambda n, b: Act(text="{", raw=b"{")) as server, monkeypatch.context() as patch:
        Disk(patch, 2)
        problem = judge_until_full(tmp_path, config(server.url, cache=None, retries=0, concurrency=2), 100)
        assert len(server.calls) <= 2
    assert isinstance(problem, StoreError) and "no reply is lost" in str(problem)


def test_replies_in_flight_are_kept_in_the_cache_where_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(lambda n, b: replace(scores(8, 4), delay=0.02)) as server, monkeypatch.context() as patch:
        settings = config(server.url, cache=str(tmp_path / "elsewhere" / "cache.sqlite"), concurrency=CONCURRENCY)
        Disk(patch, 3)
        problem = judge_until_full(tmp_path / "run", settings, 100)
        paid = len(server.calls)
        patch.undo()
        assert "no reply is lost" in str(problem) and "cache.sqlite" in str(problem) and problem.exit_code == 3
        outcome = judge_run(tmp_path / "run", settings, chat(100), answers(chat(100)))
        assert len(server.calls) == 100 and outcome.n_calls == 100 - paid


CHILD = """
import resource, sys
from pathlib import Path
from typing import Any
from evalkit.judge.api import judge_run
from tests.support.judge_samples import answers, chat, config
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
samples = chat(100)
try:
    judge_run(Path(sys.argv[1]), config(sys.argv[2], cache=None, concurrency=8), samples, answers(samples)).check()
except Exception as problem:
    print(f"{type(problem).__name__}: {problem}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limits of processes")
def test_a_real_limit_of_the_files_size_leaves_whole_lines_and_the_session_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with FakeServer(lambda n, b: scores(8, 4)) as server:
        command = [sys.executable, "-c", CHILD, str(run), server.url]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "JUDGE_TEST_KEY": "k" * 9},
        )
        kept, paid = len(records(run)), len(server.calls)
        assert done.stdout.startswith("Partial: ") and str(run / "judgments.jsonl") in done.stdout, done.stderr
        assert "File too large" in done.stdout
        assert 10 < kept < 40 and paid <= kept + 2 * 8
        assert (run / "judgments.jsonl").read_bytes().endswith(b"}\n")
        outcome = judge_run(run, config(server.url, cache=None), chat(100), answers(chat(100)))
    print(f"files of 20 kB: {paid} calls made, {kept} kept, {outcome.n_calls} made by the next session")
    assert outcome.n_calls == 100 - kept and outcome.scores.outcomes == {"judged": 100}


def test_a_batch_that_cannot_be_written_keeps_its_output_files_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = chat(10)
    settings = config("http://127.0.0.1:9/v1", transport="batch", cache=None)
    plan = make_plan(settings, samples, answers(samples), lambda ref: b"")
    folder = batch_folder(tmp_path, plan)
    folder.mkdir(parents=True)
    text = str(scores(8, 4).text)
    lines = [
        {"custom_id": key, "response": {"status_code": 200, "body": json.loads(body_of(text))}} for key in plan.calls
    ]
    output = folder / "output.jsonl"
    output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with monkeypatch.context() as patch:
        Disk(patch, 5)
        problem = judge_until_full(tmp_path, settings, 10)
    assert problem.exit_code == 3 and len(records(tmp_path)) == 3 and output.exists()
    outcome = judge_run(tmp_path, settings, samples, answers(samples))
    assert outcome.n_calls == 7 and outcome.scores.outcomes == {"judged": 10}


def test_request_files_of_a_batch_stay_where_new_ones_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = chat(3)
    settings = config("http://127.0.0.1:9/v1", transport="batch", cache=None)
    (written,) = judge_run(tmp_path, settings, samples, answers(samples)).files
    before = written.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(written))

    with monkeypatch.context() as patch:
        patch.setattr("evalkit.clients.batch_files.write_whole", full)
        with pytest.raises(OSError, match="No space"):
            judge_run(tmp_path, settings, samples, answers(samples))
    assert written.read_bytes() == before


def test_a_torn_write_is_taken_back(tmp_path: Path) -> None:
    """The journal is as before where a part of a write reached the disk."""
    path = tmp_path / "judgments.jsonl"
    path.write_text('{"record": "judgment"}\n')
    journal = Journal(path)

    class Torn:
        """A file of a disk that has room for 100 bytes."""

        def __init__(self, file: Any) -> None:
            self.seek, self.truncate, self.write_through = file.seek, file.truncate, file.write

        def write(self, data: memoryview) -> int:
            if len(data) <= 100 or not hasattr(self, "write_through"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written: int = self.write_through(data[:100])
            del self.write_through
            return written

    samples = chat(1)
    plan = make_plan(config("http://127.0.0.1:9/v1"), samples, answers(samples), lambda ref: b"")
    file = journal._file
    journal._file = Torn(file)  # type: ignore[assignment]
    with file, pytest.raises(OSError, match=r"judgments\.jsonl"):
        journal.write([plan_line(plan)])
    assert path.read_text() == '{"record": "judgment"}\n'
