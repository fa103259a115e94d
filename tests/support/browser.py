"""Pages in headless Chromium, driven over its DevTools pipe: no driver, no port, nothing but the browser."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars",
)  # fmt: skip
SECONDS = 60
CODES = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}


class Pipe:
    """The two pipes to the browser: messages end with a zero byte."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._number = to, back, b"", 0

    def write(self, message: dict[str, Any]) -> int:
        """Send a message; its number, under which its answer comes."""
        self._number += 1
        os.write(self._to, json.dumps({"id": self._number, **message}).encode("utf-8") + b"\0")
        return self._number

    def read(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self._rest:
            part = os.read(self._back, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))


class Browser:
    """One page.  `events` holds its messages that were no reply since a file was opened, in order."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._session = pipe, ""
        self.events: list[dict[str, Any]] = []
        # The addresses that a page may ask for start so.
        self._expected: tuple[str, ...] = ("file:", "data:")
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A DevTools command and its result."""
        session = {"sessionId": self._session} if self._session else {}
        number = self._pipe.write({"method": method, "params": params or {}, **session})
        while True:
            message = self._pipe.read()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            if message.get("sessionId") == self._session:
                self.events.append(message)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        result = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:500])
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        until = time.monotonic() + SECONDS
        while not self._holds(condition):
            if time.monotonic() > until:
                raise RuntimeError(f"not true in {SECONDS} s: {condition}; {self.complaints()}")
            time.sleep(0.02)

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file from disk and wait until it has run."""
        # An address that differs in its fragment only would not load anew.
        self.call("Page.navigate", {"url": "about:blank"})
        self.events.clear()
        self.call("Page.navigate", {"url": path.resolve().as_uri() + fragment})
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, address: str) -> None:
        """Load a page from a server of this machine and wait until its script has run."""
        self._expected = (address.split("?")[0].rpartition("/")[0], "data:")
        self.call("Page.navigate", {"url": "about:blank"})
        self.events.clear()
        self.call("Page.navigate", {"url": address})
        self.wait("location.protocol === 'http:' && document.readyState === 'complete'")

    def press(self, key: str, text: str | None = None) -> None:
        """One key, as a person presses it."""
        typed = key if text is None and len(key) == 1 else text
        more = {"key": key, "windowsVirtualKeyCode": CODES.get(key, 0)}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **more, **({"text": typed} if typed else {})})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **more})

    def choose(self, element: str, value: str) -> None:
        """Choose in the select of that id, or type into the input."""
        place = f"document.getElementById({json.dumps(element)})"
        known = self.run(f"{place}.options ? [...{place}.options].map((o) => o.value) : null")
        assert known is None or value in known, f"{element} offers {known}"
        kind = "input" if known is None else "change"
        self.run(f"{place}.value = {json.dumps(value)}; {place}.dispatchEvent(new Event('{kind}'))")

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.run(f"Boolean({condition})"))
        except RuntimeError as problem:
            if "navigated" not in str(problem):
                raise
            return False  # the page is about to be another one

    def text(self, selector: str) -> str:
        """What a person reads in the first such element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screen(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Another window size and colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [feature]})

    def picture(self) -> bytes:
        """A PNG of what the window shows."""
        return base64.b64decode(self.call("Page.captureScreenshot", {"format": "png"})["data"])

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [str(e["params"]["request"]["url"]) for e in sent]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and requests for anything but the opened files."""
        self.run("new Promise((done) => setTimeout(done, 50))")
        said = [f"request for {url}" for url in self.requests if not url.startswith(self._expected)]
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(str(params["exceptionDetails"]))
            if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                said.append(str(params["args"]))
            if event.get("method") == "Log.entryAdded":
                said.append(str(params["entry"]))
        return said


def _high(number: int) -> int:
    """The same file under a number above those that the browser expects."""
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(number)
    return moved


@contextmanager
def browsers() -> Iterator[Callable[[], Browser]]:
    """What opens pages, all in one browser; a visible skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    theirs_in, ours_out = map(_high, os.pipe())
    ours_in, theirs_out = map(_high, os.pipe())
    # The browser reads commands from its file 3 and writes replies to its file 4.
    command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null'
    with tempfile.TemporaryDirectory(prefix="evalkit-chromium-", ignore_cleanup_errors=True) as profile:
        words = ["bash", "-c", command, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(words, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        pipe = Pipe(ours_out, ours_in)
        try:
            yield lambda: Browser(pipe)
        finally:
            # Asked to go it takes its children with it; killed, it leaves them writing to the profile.
            with suppress(OSError):
                pipe.write({"method": "Browser.close"})
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=20)
            os.close(ours_out)
            os.close(ours_in)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of one page."""
    with browsers() as new:
        yield new()
