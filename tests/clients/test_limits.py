"""Limits of what a server can take: memory, whatever it sends, and the whole time of a request."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.clients.response import Reply
from tests.support.asking import ask, ask_once
from tests.support.hostile_server import ANSWERED, FAULTS, TIMED_OUT, HostileServer
from tests.support.paths import ROOT
from tests.support.slow import mostly_slow

HEAVY = (
    "endless body", "endless chunks", "endless length", "gzip bomb", "deflate bomb", "one header of 10 MB",
    "headers of 10 MB", "a header without end", "headers without end", "100 for ever", "deep lists",
)  # fmt: skip


def child(url: str) -> None:
    """Ask all at once, in a process of its own; prints the number of failures and the megabytes that it took."""
    ask_once(url)
    before = most_memory()
    reasons = asyncio.run(ask(url, [f"[[{name}]]" for name in HEAVY for _ in range(2)], concurrency=64))
    print(sum(isinstance(reason, str) for reason in reasons), most_memory() - before)


def most_memory() -> int:
    """The most memory that this process has had, in megabytes; `getrusage` would count its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_memory_is_bounded_whatever_22_replies_at_once_send() -> None:
    with HostileServer(lambda text: "yes") as server:
        program = f"from tests.clients.test_limits import child; child({server.url!r})"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    failed, megabytes = map(int, done.stdout.split())
    print(f"22 replies without end or of 300 MB: {failed} calls failed, {megabytes} MB more than one good reply")
    assert failed == 2 * len(HEAVY)
    assert megabytes < 300, "at most the limit of 8 MB for each reply, in a few forms"


def test_a_server_that_does_not_read_the_request_is_not_waited_for(either_transport: str) -> None:
    with HostileServer(lambda text: "yes") as server:
        server.reads_bodies = False
        started = time.monotonic()
        given = ask_once(server.url, "x" * 20_000_000, timeout=1.0)
        assert time.monotonic() - started < 8
    assert isinstance(given, str) and ("timed out" in given or "cut off" in given)


# By default one for each reason; the tests of engine and judge ask for all of them at once.
ONE_FOR_EACH_REASON = {why: name for name, (_, why) in reversed(FAULTS.items())}


@pytest.mark.parametrize("name", mostly_slow(FAULTS, ONE_FOR_EACH_REASON.values()))
@pytest.mark.few(8)
def test_each_hostile_reply_is_a_failure_with_its_reason(either_transport: str, name: str) -> None:
    why = FAULTS[name][1]
    with HostileServer(lambda text: "yes") as server:
        started = time.monotonic()
        given = ask_once(server.url, f"[[{name}]]", timeout=0.4 if why == TIMED_OUT else 20.0)
        seconds = time.monotonic() - started
    if why == TIMED_OUT:
        assert given == "no reply: timed out (0.4 s)" and seconds < 3, "the time-out covers a whole request"
    elif why is ANSWERED:
        assert isinstance(given, Reply) and given.text == "yes"
        assert (given.tokens_in, given.tokens_out) in ((30, 2), (None, 2), (30, None)) and len(given.model or "") < 300
    else:
        assert isinstance(given, str) and why is not None and why in given and len(given) < 500
