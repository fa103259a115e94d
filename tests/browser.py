"""A page in headless Chromium, driven over the DevTools protocol through two pipes: no driver and no package needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


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
            chunk = os.read(self._back, 1 << 20)
            assert chunk, "the browser is gone"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))


class Page:
    """One page.  `console` and `requests` grow while it is waited for: messages of any level, addresses asked for."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._session = pipe, ""
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; AssertionError with the browser's words when it refuses."""
        session = {"sessionId": self._session} if self._session else {}
        number = self._pipe.write({"method": method, "params": params, **session})
        while True:
            message = self._pipe.read()
            if message.get("sessionId") == self._session:
                self._note(message.get("method", ""), message.get("params", {}))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        got = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def open(self, path: Path) -> None:
        """Load a file from disk and wait until its script has ended."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready === '1'")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}; console: {self.console}"
            time.sleep(0.02)

    def screen(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """The size of the screen and its colours."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def picture(self) -> bytes:
        """A PNG of what the screen shows."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        named = {"Enter": 13, "Escape": 27, "Home": 36, "End": 35, "ArrowDown": 40, "ArrowUp": 38}
        text = {} if key in named else {"text": key}
        code = named.get(key, 0)
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def choose(self, element: str, value: str) -> None:
        """Choose in a select, or type into an input."""
        place = f"document.getElementById({json.dumps(element)})"
        kind = "input" if element == "text" else "change"
        known = self.run(f"{place}.options ? [...{place}.options].map((o) => o.value) : null")
        assert known is None or value in known, f"{element} offers {known}"
        self.run(f"{place}.value = {json.dumps(value)}; {place}.dispatchEvent(new Event('{kind}'))")

    def text(self, selector: str) -> str:
        """What a person reads in the first element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def _high(number: int) -> int:
    """The same file under a number above those that the browser expects."""
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(number)
    return moved


@contextmanager
def browser(folder: Path) -> Iterator[Callable[[], Page]]:
    """A browser with its profile in `folder`; gives what opens pages in it."""
    assert CHROMIUM is not None
    theirs_in, ours_out = map(_high, os.pipe())
    ours_in, theirs_out = map(_high, os.pipe())

    # A shell gives the pipes their numbers: code between fork and exec is not safe beside threads.
    shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    pipe = Pipe(ours_out, ours_in)
    try:
        yield lambda: Page(pipe)
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
