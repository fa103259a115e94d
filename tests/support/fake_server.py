"""An OpenAI-compatible server of the tests' own, on loopback, that misbehaves on command.

Runs in a thread with its own event loop.  `behave(n, body)` is called with the number of the call (from 0) and its
JSON body and returns an `Act`; every call that was answered with a completion is kept in `answered`, and `events` holds
when each began and ended, in order.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass
class Act:
    """What to do with a call.  text: the reply's content; raw: bytes instead of a completion; cut: close at once.

    cut_after: close behind what was sent, which may be less than the headers promise.  until: answer when it is true,
    however long the machine takes to make it so.
    """

    text: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False
    cut_after: bool = False
    delay: float = 0.0
    until: Callable[[], bool] | None = None
    message: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"
    error: dict[str, Any] | None = None
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 300, "completion_tokens": 20})


Behave = Callable[[int, Body], Act]


def scores(first: float, second: float) -> Act:
    return Act(text=json.dumps({"reason": "because", "score_1": first, "score_2": second}))


def verdict(label: str) -> Act:
    return Act(text=json.dumps({"reason": "because", "verdict": label}))


@dataclass
class FakeServer:
    behave: Behave
    model: str = "judge-2026-01-01"
    models: Callable[[str], Act] | None = None
    port: int = 0
    calls: list[Body] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    def __enter__(self) -> FakeServer:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(head[0].split(" "), headers, body, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: list[str], headers: dict[str, str], body: bytes, writer: Any) -> bool:
        self.headers.append(headers)
        if request[0] == "GET":
            act = self._model(request[1])
            payload = act.raw if act.raw is not None else json.dumps(act.error or act.message).encode()
            return await self._send(writer, act, payload)
        content = json.loads(body)
        number = len(self.calls)
        self.calls.append(content)
        self.events.append(("begins", number))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            act = self.behave(number, content)
            if act.delay:
                await asyncio.sleep(act.delay)
            async with asyncio.timeout(60):
                while act.until is not None and not act.until():
                    await asyncio.sleep(0.002)
            if act.cut:
                return False
            return await self._send(writer, act, self._payload(act, content)) and not act.cut_after
        finally:
            self.busy -= 1
            self.events.append(("ends", number))

    def _model(self, path: str) -> Act:
        if self.models is not None:
            return self.models(path)
        entry = {"id": self.model, "object": "model", "created": 1, "owned_by": "tests"}
        if path == f"/v1/models/{self.model}":
            return Act(message=entry)
        if path == "/v1/models":
            return Act(message={"object": "list", "data": [entry]})
        return Act(status=404, error={"error": {"message": "no such model", "code": "model_not_found"}})

    def _payload(self, act: Act, content: Body) -> bytes:
        if act.raw is not None:
            return act.raw
        if act.error is not None or act.status != 200:
            return json.dumps({"error": act.error or {"message": f"status {act.status}"}}).encode()
        self.answered.append(json.dumps(content["messages"], sort_keys=True) + str(content.get("seed", "")))
        message = {"role": "assistant", "content": act.text, **act.message}
        choice = {"index": 0, "finish_reason": act.finish, "message": message}
        completion: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "choices": [choice]}
        completion |= {"model": self.model, "system_fingerprint": "fp_1"}
        if act.usage is not None:
            completion["usage"] = act.usage
        return json.dumps(completion).encode()

    async def _send(self, writer: Any, act: Act, payload: bytes) -> bool:
        usual = {"Content-Length": str(len(payload)), "Content-Type": "application/json"}
        lines = [f"HTTP/1.1 {act.status} X", *(f"{k}: {v}" for k, v in (usual | act.headers).items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
        await writer.drain()
        return True
