"""evalkit's command line in forks of one process that has imported the large libraries: a start takes milliseconds.

A fork is a process of its own with its own folder, environment, streams and end, as `python -m evalkit` has.  It shares
what Python determines at its start: the seed of hashes, the encoding of the streams, and settings that a library reads
when it is imported.  Tests of these start Python anew (`command_line.in_new_process`).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

# What commands import besides evalkit, and what takes long to import.
PRELOADED = (
    "aiohttp", "hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper",
    "hydra._internal.core_plugins.importlib_resources_config_source", "jiter", "nltk.translate.bleu_score", "openai",
    "PIL.Image", "rich.console", "rich.progress", "rich.table", "scipy.special", "torch",
    "transformers.models.llava.modeling_llava", "transformers.models.llava.processing_llava",
)  # fmt: skip
# Rooms whose modules no command imports, or whose import brings a library that most commands do without.
NOT_PRELOADED = ("evalkit.integrations", "evalkit.__main__")
LOOK = 0.002
KILLED = -9


class Forks:
    """The process that forks, seen from the tests.  One command at a time."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        atexit.register(self.close)

    def run(self, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], out: Path, timeout: float) -> int:
        """Run a command whose streams go to the files `stdout` and `stderr` of a folder; returns its exit code."""
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "out": str(out)}
        with self._lock:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps({**request, "timeout": timeout}) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process: it ends with its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def become(request: dict[str, Any]) -> None:
    """Take on the folder, the environment, the path of modules and the streams of a command, in the fork."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [str(Path.cwd()), *paths]
    importlib.invalidate_caches()
    sys.argv = ["evalkit", *request["arguments"]]
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(request["out"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)


def end_of(process: int, timeout: float) -> int:
    """Wait for a fork and kill it when its time is over; returns its exit code, negative for a signal."""
    deadline = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(process, KILLED * -1)
            deadline = float("inf")
        time.sleep(LOOK)


def leave(code: int) -> NoReturn:
    """End a fork as an interpreter ends, but without taking down the imported modules, which takes seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def preload() -> None:
    """Import the large libraries and all of evalkit, which a command would import a part of."""
    for name in PRELOADED:
        importlib.import_module(name)
    import evalkit

    for module in pkgutil.walk_packages(evalkit.__path__, "evalkit."):
        if not module.name.startswith(NOT_PRELOADED):
            importlib.import_module(module.name)


def serve() -> None:
    """Fork for each command that is read."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    preload()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that was imported
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            from evalkit.cli.main import main

            become(request)
            leave(main())
        replies.write(f"{end_of(process, request['timeout'])}\n")
        replies.flush()


if __name__ == "__main__":
    serve()
