"""A page in headless Chromium, driven over its DevTools pipe: no driver, no port, nothing but the browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30


class Browser:
    """One page.  `events` holds every message that was no reply, in order."""

    def __init__(self, write: FileIO, read: FileIO) -> None:
        self._out = write
        self._in = read
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._in.read(1 << 16)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def _call(self, method: str, params: dict[str, Any] | None = None, **more: str) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": params or {}, **more}
        self._out.write(json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self.events.append(message)

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A DevTools command on the page."""
        return self._call(method, params, sessionId=self._session)

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file from disk and wait until it has run."""
        # An address that differs in its fragment only would not load anew.
        self.call("Page.navigate", {"url": "about:blank"})
        self.events.clear()
        self.call("Page.navigate", {"url": path.resolve().as_uri() + fragment})
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if self.run("document.readyState === 'complete' && location.protocol === 'file:'"):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{path} did not load in {SECONDS} s")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:500])
        return result["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """One key on the keyboard."""
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, **({"text": text} if text else {})})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """Another window size and colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [feature]})

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and requests for anything but the opened files."""
        self.run("new Promise((done) => setTimeout(done, 50))")
        said = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(str(params["exceptionDetails"]))
            if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                said.append(str(params["args"]))
            if event.get("method") == "Log.entryAdded":
                said.append(str(params["entry"]))
            if event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:")):
                    said.append(f"request for {url}")
        return said


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for a test; a visible skip where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    options = "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe"
    # The browser reads commands from its file 3 and writes replies to its file 4.
    command = f'exec "$0" {options} --user-data-dir="$1" 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null'
    with (
        tempfile.TemporaryDirectory(prefix="evalkit-chromium-", ignore_cleanup_errors=True) as profile,
        os.fdopen(ours_out, "wb", buffering=0) as write,
        os.fdopen(ours_in, "rb", buffering=0) as read,
    ):
        process = subprocess.Popen(["bash", "-c", command, program, profile], pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(write, read)
        finally:
            process.terminate()
            process.wait(timeout=SECONDS)
