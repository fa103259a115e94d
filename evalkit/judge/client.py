"""Whom a judge asks: an OpenAI-compatible server, or a model in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evalkit.clients.openai_client import Caller, ChatServer
from evalkit.clients.response import Reply
from evalkit.core.errors import JudgeError
from evalkit.judge.config import JudgeConfig, read_key

# Parameters that newer models and smaller servers refuse: left out when refused, and the record says so.
DISPENSABLE = ("response_format", "temperature", "top_p", "seed")


class Asker(Protocol):
    """Whatever answers a request body: a server, or a model in this process."""

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """The reply.  Raises CallFailed for this call, JudgeError when no call can succeed."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(slots=True)
class ServerAsker:
    """An OpenAI-compatible server."""

    config: JudgeConfig
    announced: str | None = None
    server: ChatServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = ChatServer(
            url=str(self.config.base_url),
            model=str(self.config.model),
            caller=Caller(
                name=f"judge {self.config.name!r}", group="judge", model_setting="judge.model", error=JudgeError
            ),
            key=read_key(self.config),
            key_env=self.config.api_key_env,
            timeout=self.config.timeout,
            retries=self.config.retries,
            concurrency=self.config.concurrency,
            dispensable=DISPENSABLE,
        )

    async def check(self) -> None:
        """Ask the server about the model, which costs nothing; `announced` is the shutdown date that it gave.

        A server that cannot say (many local ones cannot) is not an error: the first call will tell.

        Raises:
            JudgeError: the key is refused, or the server has no such model.
        """
        told = await self.server.get(f"/models/{self.config.model}")
        if told.status == 404:
            names = [str(entry["id"]) for entry in await self.server.models() or []]
            if names and self.config.model not in names:
                raise self.server.unknown_model(names)
        if isinstance(told.content, dict) and isinstance(told.content.get("shutdown_date"), str):
            self.announced = told.content["shutdown_date"]

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """One call."""
        return await self.server.ask(body)

    async def close(self) -> None:
        """Close the connections."""
        await self.server.close()


@dataclass(slots=True)
class LocalAsker:
    """A judge in this process: `complete` takes the messages and returns the reply's text.

    Called one at a time, in a thread of its own, so that what has landed is written while the next is computed.
    """

    config: JudgeConfig
    complete: Callable[[list[dict[str, Any]]], str]

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """One call."""
        import asyncio

        started = time.perf_counter()
        text = await asyncio.to_thread(self.complete, list(body["messages"]))
        return Reply(text=text, model=self.config.model, seconds=round(time.perf_counter() - started, 4))

    async def close(self) -> None:
        """Nothing is held."""
