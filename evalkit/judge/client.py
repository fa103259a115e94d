"""Clients of a judge: an OpenAI-compatible server, or a model in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evalkit.clients.openai_client import Caller, ChatServer
from evalkit.clients.parameters import Parameters
from evalkit.clients.response import CallFailed, Reply
from evalkit.core.errors import JudgeError
from evalkit.judge.config import JudgeConfig, is_date, read_key

# Parameters that newer models and smaller servers refuse: omitted when refused, which the judgment records.
DISPENSABLE = ("response_format", "temperature", "top_p", "seed")


class JudgeClient(Protocol):
    """Sends request bodies and returns replies."""

    async def send(self, body: Mapping[str, Any]) -> Reply:
        """Send one request.  Raises CallFailed for this call, JudgeError when no call can succeed."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


@dataclass(slots=True)
class ServerClient:
    """Client of an OpenAI-compatible server.

    announced_shutdown: ISO date on which the provider turns the model off, as the server reports it; see `check`.
    """

    config: JudgeConfig
    announced_shutdown: str | None = None
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
            parameters=Parameters(dispensable=DISPENSABLE),
            max_reply_bytes=self.config.max_reply_bytes,
        )

    async def check(self) -> None:
        """Request the model's entry from the server, which costs nothing, and set `announced_shutdown`.

        A server without such entries (many local ones) is not an error: the first call will show whether it works.

        Raises:
            JudgeError: the key is refused, or the server has no such model.
        """
        entry = await self.server.get(f"/models/{self.config.model}")
        if entry.status == 404:
            names = [str(entry["id"]) for entry in await self.server.models() or []]
            if names and self.config.model not in names:
                raise self.server.unknown_model(names)
        if isinstance(entry.content, dict) and is_date(entry.content.get("shutdown_date")):
            self.announced_shutdown = entry.content["shutdown_date"]

    async def send(self, body: Mapping[str, Any]) -> Reply:
        """Send one request.  A reply that reports an error is a failed call, which must not enter the cache."""
        reply = await self.server.ask(body)
        if reply.error and reply.finish != "content_filter":
            raise CallFailed(f"the reply reports an error: {reply.error}")
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self.server.close()


@dataclass(slots=True)
class LocalClient:
    """Client of a model in this process: `complete` maps chat messages to the text of the reply.

    Calls run one at a time, in a thread, so that finished replies are written while the next one is computed.
    """

    config: JudgeConfig
    complete: Callable[[list[dict[str, Any]]], str]

    async def send(self, body: Mapping[str, Any]) -> Reply:
        """Compute one reply."""
        import asyncio

        started = time.perf_counter()
        text = await asyncio.to_thread(self.complete, list(body["messages"]))
        return Reply(text=text, model=self.config.model, seconds=round(time.perf_counter() - started, 4))

    async def close(self) -> None:
        """Do nothing: there are no connections."""
