"""Files are written whole: temporaries of killed processes are swept, and errors name the file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.core import files
from evalkit.core.files import naming, sweep_temporaries, write_whole
from evalkit.runs.store import RunFolder
from tests.support.interruptions import interrupted, moments_of


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def gone_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file_and_the_next_write_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    n = moments_of(lambda: write_whole(path, "new"), tmp_path)
    seen = set()
    for at in range(1, n + 1):
        write_whole(path, "old")
        assert interrupted(lambda: write_whole(path, "new"), tmp_path, at, "kill").code == -9
        seen.add(path.read_text(encoding="utf-8"))
        write_whole(path, "newer")
        assert names(tmp_path) == ["a.json"]
    assert seen == {"old", "new"}


@pytest.mark.parametrize("sweep", [lambda p: write_whole(p / "a.json", "x"), lambda p: sweep_temporaries(p)])
def test_temporaries_of_ended_processes_are_swept_and_all_others_left(
    sweep: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, alive = gone_process(), os.getppid()
    host = files._HOST
    swept = [f".a.json.{gone}.tmp", f".a.json.{gone}.{host}.tmp"]
    left = [
        f".a.json.{alive}.{host}.tmp", f".a.json.{gone}.another-machine.tmp", ".a.json.x.tmp", "a.json.1.tmp", ".a.tmp",
    ]  # fmt: skip
    for name in (*swept, *left):
        (tmp_path / name).write_text("half", encoding="utf-8")
    sweep(tmp_path)  # type: ignore[operator]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "a.json") == sorted(left)


def test_a_write_sweeps_temporaries_of_its_own_file_alone(tmp_path: Path) -> None:
    gone = gone_process()
    for name in ("a.json", "b.json", "a.json.b"):
        (tmp_path / f".{name}.{gone}.tmp").write_text("half", encoding="utf-8")
    write_whole(tmp_path / "a.json", "x")
    assert names(tmp_path) == [f".a.json.b.{gone}.tmp", f".b.json.{gone}.tmp", "a.json"]


def test_whoever_takes_the_lock_of_a_run_sweeps_its_folder(tmp_path: Path) -> None:
    for name in ("manifest.json", "summary.json", "judged-x.json"):
        (tmp_path / f".{name}.{gone_process()}.tmp").write_text("half", encoding="utf-8")
    with RunFolder(tmp_path).locked():
        assert names(tmp_path) == ["run.lock"]


def test_the_file_is_named_where_the_operating_system_names_none() -> None:
    with pytest.raises(OSError, match=r"No space left.*runs/a\.jsonl"), naming(Path("runs/a.jsonl")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_answers_and_judgments_on_a_full_disk_name_their_file(tmp_path: Path) -> None:
    from evalkit.judge.journal import Journal
    from evalkit.runs.background_writer import Appender
    from evalkit.runs.codec import decode
    from evalkit.runs.schema import Judgment
    from tests.runs.test_background_writer import answer, record
    from tests.runs.test_watchers import JUDGMENT

    for name in ("predictions.jsonl", "judgments.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    answers, journal = Appender(tmp_path / "predictions.jsonl"), Journal(tmp_path / "judgments.jsonl")
    with pytest.raises(OSError, match=r"predictions\.jsonl"):
        answers.write([record(answer(1))])
    with pytest.raises(OSError, match=r"judgments\.jsonl"):
        journal.write([decode(Judgment, json.dumps(JUDGMENT), "test")])
    for file in (answers, journal):
        with pytest.raises(OSError, match=r"s\.jsonl"):  # what is left cannot be written either
            file.close()
