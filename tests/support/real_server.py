"""A real OpenAI-compatible server for tests: `transformers serve` on loopback with a given checkpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

START = 180.0


@contextmanager
def serve(model: Path, folder: Path) -> Iterator[str]:
    """Serve the checkpoint in `model` in float32 on the CPU; yields the URL.  Logs are written to `folder`."""
    for needed in ("fastapi", "uvicorn"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is missing; pip install 'transformers[serving]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["serve", str(model), "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    code = f"import sys; sys.argv[1:] = {command!r}; from transformers.cli.transformers import main; main()"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=file, stderr=file)
        try:
            wait_until_up(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended at once:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"the server did not start within {START} s:\n{log.read_text()[-3000:]}")
