"""Processes that are killed, or find the disk full, at every moment at which they change a file."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

How = Literal["kill", "full disk", "never"]
CHANGES = ("os.rename", "os.remove", "os.truncate", "os.link", "os.mkdir")


class Outcome(NamedTuple):
    """The end of an action in a process of its own.

    code: 0, 1 for an exception, negative for a signal.  n_moments: how often it was about to change a file.  text: of
    the exception.
    """

    code: int
    n_moments: int
    text: str


def interrupted(action: Callable[[], object], below: Path, at: int, how: How) -> Outcome:
    """Run an action in a forked process that is interrupted at its moment number `at` (from 1).

    A moment: a file below a folder is about to be opened for writing, renamed, removed, cut or synchronised.  A disk
    that is full stays full: files can still be removed.
    """
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        code, text, moments = 1, "", [0]
        try:
            watch(below, at, how, moments)
            action()
            code = 0
        except BaseException as problem:  # noqa: BLE001 - reported to the parent
            text = f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}"
        finally:
            os.write(write, f"{moments[0]}\n{text}".encode()[:60_000])
            os._exit(code)
    os.close(write)
    with os.fdopen(read, encoding="utf-8", errors="replace") as pipe:
        count, _, text = pipe.read().partition("\n")
    _, status = os.waitpid(process, 0)
    return Outcome(os.waitstatus_to_exitcode(status), int(count or at), text)


def watch(below: Path, at: int, how: How, moments: list[int]) -> None:
    """Interrupt this process at a moment, counting the moments."""
    start = str(below)

    def moment(is_removal: bool = False) -> None:
        moments[0] += 1
        if how == "kill" and moments[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "full disk" and moments[0] >= at and not is_removal:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[0] if arguments else None
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(start):
            return
        is_write = event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if is_write or event in CHANGES:
            moment(is_removal=event == "os.remove")

    synchronise = os.fsync

    def fsync(number: Any) -> None:
        moment()
        synchronise(number)

    os.fsync = fsync
    sys.addaudithook(hook)


def moments_of(action: Callable[[], object], below: Path) -> int:
    """How many moments an action has that is not interrupted."""
    outcome = interrupted(action, below, 0, "never")
    assert outcome.code == 0, outcome.text
    return outcome.n_moments
