"""Limits of what a server can take: memory, whatever it sends, and the whole time of a request."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.clients.openai_client import Caller, ChatServer
from evalkit.clients.response import CallFailed
from evalkit.core.errors import EngineError
from tests.support.hostile_server import MODEL, HostileServer
from tests.support.paths import ROOT

CALLER = Caller(name="engine=server", group="engine", model_setting="engine.served_model", error=EngineError)
HEAVY = (
    "endless body", "endless chunks", "endless length", "gzip bomb", "deflate bomb", "one header of 10 MB",
    "headers of 10 MB", "a header without end", "headers without end", "100 for ever", "deep lists",
)  # fmt: skip


async def ask(url: str, names: list[str], **settings: float) -> list[str]:
    """Make a call of each behaviour, all at once; returns the reasons of the failures."""
    server = ChatServer(url=url, model=MODEL, caller=CALLER, concurrency=64, **{"retries": 0, **settings})  # type: ignore[arg-type]

    async def one(name: str) -> str:
        try:
            await server.ask({"messages": [{"role": "user", "content": f"[[{name}]]"}]})
        except CallFailed as problem:
            return str(problem)
        return ""

    try:
        return list(await asyncio.gather(*(one(name) for name in names)))
    finally:
        await server.close()


def child(url: str) -> None:
    """Ask all at once, in a process of its own; prints the number of failures and the megabytes that it took."""
    asyncio.run(ask(url, [""], timeout=5.0))
    before = most_memory()
    reasons = asyncio.run(ask(url, [name for name in HEAVY for _ in range(4)], timeout=5.0))
    print(sum(map(bool, reasons)), most_memory() - before)


def most_memory() -> int:
    """The most memory that this process has had, in megabytes; `getrusage` would count its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_bounded_whatever_44_replies_at_once_send() -> None:
    with HostileServer(lambda text: "yes") as server:
        program = f"from tests.clients.test_limits import child; child({server.url!r})"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    failed, megabytes = map(int, done.stdout.split())
    print(f"44 replies without end or of 300 MB: {failed} calls failed, {megabytes} MB more than one good reply")
    assert failed == 44
    assert megabytes < 500, "at most the limit of 8 MB for each reply, in a few forms"


@pytest.mark.parametrize("name", ["dripping header", "dripping body", "silence", "100 for ever"])
def test_the_time_out_covers_a_whole_request(name: str) -> None:
    with HostileServer(lambda text: "yes") as server:
        started = time.monotonic()
        reasons = asyncio.run(ask(server.url, [name], timeout=0.5))
        assert time.monotonic() - started < 3
    assert reasons == ["no reply: timed out (0.5 s)"]
