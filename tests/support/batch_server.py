"""A stand-in of OpenAI's batch interface beside its chat completions: files, batches, and output when it is told to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.server_engine import MODEL

Body = dict[str, Any]


def completion(text: str) -> Body:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 300, "completion_tokens": 20}
    return {"id": "c", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage}


@dataclass
class BatchServer:
    """The server.

    answer: text of a request's reply; None fails it (in the error file of a batch, as HTTP 400 otherwise).
    status: of every batch that is asked for.  done: share of a batch's requests that its output has.
    whole_error: message of a batch that fails as a whole.
    """

    answer: Callable[[Body], str | None]
    status: str = "completed"
    done: float = 1.0
    whole_error: str = ""
    key: str = ""
    files: dict[str, str] = field(default_factory=dict)
    batches: dict[str, list[Body]] = field(default_factory=dict)
    chats: list[Body] = field(default_factory=list)
    refuse: Callable[[str, str], int] = lambda method, path: 0

    def __enter__(self) -> BatchServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(*outer.handle("GET", self.path, dict(self.headers), b""))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                self._send(*outer.handle("POST", self.path, dict(self.headers), content))

            def _send(self, status: int, content: Any) -> None:
                payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def handle(self, method: str, path: str, headers: dict[str, str], content: bytes) -> tuple[int, Any]:
        if status := self.refuse(method, path):
            return status, {"error": {"message": f"refused with {status}"}}
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
        if (method, path) == ("POST", "/v1/chat/completions"):
            body = json.loads(content)
            self.chats.append(body)
            text = self.answer(body)
            return (200, completion(text)) if text is not None else (400, {"error": {"message": "no such picture"}})
        if (method, path) == ("POST", "/v1/files"):
            return 200, self._upload(headers, content)
        if (method, path) == ("POST", "/v1/batches"):
            return 200, self._create(json.loads(content))
        if found := re.fullmatch(r"/v1/batches/(\w+)", path):
            return 200, self._state(found[1])
        if found := re.fullmatch(r"/v1/files/(\w+)/content", path):
            return 200, self._output(*found[1].split("_of_"))
        return 404, {"error": {"message": "not found"}}

    def _upload(self, headers: dict[str, str], content: bytes) -> Body:
        boundary = {k.lower(): v for k, v in headers.items()}["content-type"].partition("boundary=")[2].encode()
        parts = [part.partition(b"\r\n\r\n") for part in content.split(b"--" + boundary)]
        assert any(b'name="purpose"' in head and body.strip() == b"batch" for head, _, body in parts)
        (text,) = (body.decode().rstrip("\r\n") for head, _, body in parts if b'name="file"' in head)
        name = f"file{len(self.files)}"
        self.files[name] = text
        return {"id": name, "object": "file", "purpose": "batch"}

    def _create(self, body: Body) -> Body:
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        name = f"batch{len(self.batches)}"
        self.batches[name] = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        return {"id": name, "object": "batch", "status": "validating"}

    def _state(self, name: str) -> Body:
        n = len(self.batches[name])
        state: Body = {"id": name, "object": "batch", "status": self.status, "errors": None}
        state["request_counts"] = {"total": n, "completed": n if self.status == "completed" else 1, "failed": 0}
        if self.whole_error:
            return state | {"status": "failed", "errors": {"data": [{"message": self.whole_error}]}}
        if self.status in ("completed", "expired"):
            state |= {"output_file_id": f"output_of_{name}", "error_file_id": f"error_of_{name}"}
        return state

    def _output(self, kind: str, name: str) -> str:
        lines = self.batches[name][: int(len(self.batches[name]) * self.done)]
        found = []
        for line in reversed(lines):  # the order of the output is not that of the input
            text = self.answer(line["body"])
            if (text is None) == (kind == "output"):
                continue
            body = completion(text) if text is not None else {"error": {"message": "no such picture"}}
            response = {"status_code": 200 if text is not None else 400, "request_id": "r", "body": body}
            found.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
        return "".join(json.dumps(line) + "\n" for line in found)
