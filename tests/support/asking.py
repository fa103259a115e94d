"""Calls by the client of servers alone, without engine or judge."""

from __future__ import annotations

import asyncio
from typing import Any

from evalkit.clients.openai_client import Caller, ChatServer, GetResult
from evalkit.clients.response import CallFailed, Reply
from evalkit.core.errors import EngineError
from tests.support.hostile_server import MODEL

CALLER = Caller(name="engine=server", group="engine", model_setting="engine.served_model", error=EngineError)


def chat_server(url: str, **settings: Any) -> ChatServer:
    return ChatServer(url=url, model=MODEL, caller=CALLER, **{"retries": 0, "timeout": 5.0, **settings})


async def ask(url: str, texts: list[str], **settings: Any) -> list[Reply | str]:
    """Make a call of each text, all at once; returns the replies, or the reasons of the failures."""
    server = chat_server(url, **settings)

    async def one(text: str) -> Reply | str:
        try:
            return await server.ask({"messages": [{"role": "user", "content": text}]})
        except CallFailed as problem:
            return str(problem)

    try:
        return list(await asyncio.gather(*map(one, texts)))
    finally:
        await server.close()


def ask_once(url: str, text: str = "Is it so?", **settings: Any) -> Reply | str:
    return asyncio.run(ask(url, [text], **settings))[0]


def get(url: str, path: str = "/models", **settings: Any) -> GetResult:
    async def one() -> GetResult:
        server = chat_server(url, **settings)
        try:
            return await server.get(path)
        finally:
            await server.close()

    return asyncio.run(one())
