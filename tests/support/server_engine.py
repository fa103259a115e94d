"""Helpers for tests of engine=server: requests, engines connected to a fake server, and parts of a call's body."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.core.types import Generation, Request
from evalkit.engines.server import ServerEngine
from evalkit.models.checkpoint import CheckpointSpec
from tests.support import tiny_llava as tiny
from tests.support.fake_server import Act, Body, FakeServer

MODEL = "lab/tiny-vlm"
SOON = {"retry-after-ms": "5"}


def spec(**settings: Any) -> CheckpointSpec:
    template = settings.pop("chat_template", None)
    generation = Generation(**{"max_new_tokens": 12, **settings})
    return CheckpointSpec(name="tiny", config={"source": MODEL}, chat_template=template, generation=generation)


def engine(server: FakeServer | str | None, **settings: Any) -> ServerEngine:
    url = server.url if isinstance(server, FakeServer) else server
    fast = {"concurrency": 4, "timeout": 5.0, "retries": 2}
    return ServerEngine(**{"spec": spec(), "url": url, **fast, **settings})


def make_requests(folder: Path, questions: list[int], generation: Generation | None = None) -> list[Request]:
    return tiny.requests(folder / "images", questions, generation or spec().generation)


def question(body: Body) -> str:
    """Return the text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")


def pictures(body: Body) -> list[Image.Image]:
    """Decode the images of a call, as the server would."""
    found = []
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                kind, _, data = part["image_url"]["url"].partition(",")
                assert kind == "data:image/png;base64"
                found.append(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
    return found


def picture_key(body: Body) -> str:
    return json.dumps([p for p in body["messages"][-1]["content"] if p["type"] == "image_url"])


def echo(n: int, body: Body) -> Act:
    """Answer with the question."""
    return Act(text=f"seen: {question(body)}")


def serving(behave: Callable[[int, Body], Act] = echo, **settings: Any) -> FakeServer:
    return FakeServer(behave, **{"model": MODEL, "models": listing(), **settings})


def listing(**more: Any) -> Callable[[str], Act]:
    """Serve a list of models like vLLM's, and further pages (path -> JSON)."""
    entry = {
        "id": MODEL,
        "object": "model",
        "created": 1,
        "owned_by": "vllm",
        "root": "/weights/tiny",
        "permission": [],
    }
    pages = {"/v1/models": {"object": "list", "data": [entry]}, "/version": {"version": "0.11.0"}, **more}

    def models(path: str) -> Act:
        if path not in pages:
            return Act(status=404, error={"error": {"message": "not found"}})
        page = pages[path]
        return page if isinstance(page, Act) else Act(message=page)

    return models
