"""evalkit's command line in a process of its own, as a user meets it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.forking import Forks
from tests.support.paths import ROOT

SCRIPTED = ("model=scripted", "model.rule=digest", "task=phantom")
TIMEOUT = 170


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EVALKIT_")}
    return kept | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


@cache
def _forks() -> Forks:
    return Forks(environment())


def evalkit(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a fork; see `tests.support.forking` for what it shares with other forks."""
    where = environment() if env is None else env
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        code = _forks().run(arguments, cwd, where, out, TIMEOUT)
        printed, said = ((out / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(arguments, code, printed, said)


def in_this_process(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a call, with its own folder, environment and streams, which takes a third of a fork's time.

    For tests of what a command does.  Not where it is killed, imports a package of the test's own, or has folders
    of the configuration that are relative: imported modules and what was read of folders stay in the process.
    """
    from evalkit.cli.main import main

    where = environment() if env is None else env
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    before = dict(os.environ)
    with contextlib.chdir(cwd), contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            os.environ.clear()
            os.environ.update(where)
            code = main(list(arguments))
        finally:
            os.environ.clear()
            os.environ.update(before)
    printed, said = (stream.buffer.getvalue().decode("utf-8") for stream in streams)
    return subprocess.CompletedProcess(arguments, code, printed, said)


def in_new_process(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command with a Python that is started anew."""
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *arguments],
        cwd=cwd,
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def folder_of(result: subprocess.CompletedProcess[str], cwd: Path) -> Path:
    return cwd / result.stdout.strip().splitlines()[-1]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
