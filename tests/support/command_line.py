"""evalkit's command line in a process of its own, as a user meets it."""

from __future__ import annotations

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
