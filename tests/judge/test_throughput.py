"""Throughput: 2,000 judgments at 50 ms each, 64 at a time, in near-ideal time and constant memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.judge.api import judge_run
from tests.support.judge_samples import answers, chat, config

SERVER = """
import asyncio, json, sys
TEXT = json.dumps({"reason": "because", "score_1": 8, "score_2": 4})
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}
USAGE = {"prompt_tokens": 300, "completion_tokens": 20}
BODY = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": USAGE}).encode()
calls = 0
async def talk(reader, writer):
    global calls
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\\r\\n")[1:] if b":" in line)
            await reader.readexactly(int(fields.get(b"content-length", 0)))
            if head.startswith(b"POST"):
                calls += 1
                await asyncio.sleep(0.05)
                body = BODY
            else:
                body = json.dumps({"id": "judge-2026-01-01", "calls": calls}).encode()
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
            writer.write(head % len(body) + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
N, LATENCY, CONCURRENCY = 2000, 0.05, 64


def calls_so_far(url: str) -> int:
    import urllib.request

    with urllib.request.urlopen(f"{url}/models/judge-2026-01-01", timeout=10) as reply:
        return int(json.load(reply)["calls"])


@pytest.mark.slow
def test_two_thousand_judgments_take_little_more_than_the_ideal(tmp_path: Path) -> None:
    from evalkit.judge.client import ServerClient

    samples = chat(N)
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    try:
        ServerClient(config(url))  # imports, before the measurement
        cache = str(tmp_path / "cache.sqlite")
        ideal = N / CONCURRENCY * LATENCY
        seconds, grown = [], []
        for attempt in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            fresh = config(url, concurrency=CONCURRENCY, cache=f"{cache}.{attempt}", timeout=30.0)
            outcome = judge_run(tmp_path / f"run{attempt}", fresh, samples, answers(samples))
            grown.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
            outcome.check()
            seconds.append(outcome.seconds)
        print(f"ideal {ideal:.2f} s, measured {[round(s, 2) for s in seconds]} s, memory grew by {grown} MiB")
        assert calls_so_far(url) == 3 * N
        assert grown[-1] < 20, "memory grows with the calls in flight and not with the judgments"
        warm = config(url, concurrency=CONCURRENCY, cache=f"{cache}.0")
        judge_run(tmp_path / "warm", warm, samples, answers(samples))
        assert calls_so_far(url) == 3 * N, "everything comes from the cache"
        if os.getloadavg()[0] > (os.cpu_count() or 1):
            pytest.skip(f"the machine is busy, so the time says nothing: {min(seconds):.2f} s, ideal {ideal:.2f} s")
        assert min(seconds) <= 1.5 * ideal
    finally:
        process.kill()
        process.communicate(timeout=10)
