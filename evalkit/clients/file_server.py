"""Client for the files and batches of an OpenAI-compatible server, beside its chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.clients.openai_client import ChatServer
from evalkit.clients.response import CallFailed, read_json
from evalkit.clients.transport import http_library


@dataclass(slots=True, kw_only=True)
class FileServer(ChatServer):
    """A server with files.  See `ChatServer`."""

    async def post(self, path: str, body: Mapping[str, Any], file: Path | None = None) -> Any:
        """POST once, without retries: a second attempt could submit, and cost, the same again.

        Args:
            file: sent with the fields of `body` as a form.

        Raises:
            CallFailed: there is no reply, or one that refuses the request.
            caller.error: no call can succeed.
        """
        import openai

        client = self._clients[0].with_options(max_retries=0)
        form: dict[str, Any] = {}
        if file is not None:
            form["files"] = [("file", (file.name, file.read_bytes(), "application/jsonl"))]
            form["options"] = {"headers": {"Content-Type": "multipart/form-data"}}
        try:
            response = await client.post(self.api.path(path), cast_to=http_library().Response, body=dict(body), **form)
        except openai.APIStatusError as problem:
            self._reply_or_raise(problem)
            raise CallFailed(f"HTTP {problem.status_code}") from None
        except Exception as problem:  # noqa: BLE001 - whatever a broken reply makes the SDK raise
            raise self._failure(problem) from None
        return read_json(response.content, self.redact)

    async def download(self, path: str) -> bytes:
        """GET the bytes of a file, with the SDK's retries.

        Raises:
            CallFailed: there is no reply, or one that refuses the request.
            caller.error: no call can succeed.
        """
        import openai

        try:
            response = await self._clients[0].get(self.api.path(path), cast_to=http_library().Response)
        except openai.APIStatusError as problem:
            self._reply_or_raise(problem)
            raise CallFailed(f"HTTP {problem.status_code}") from None
        except Exception as problem:  # noqa: BLE001 - whatever a broken reply makes the SDK raise
            raise self._failure(problem) from None
        content: bytes = response.content
        return content
