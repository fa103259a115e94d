"""What a server says of the model that it serves: all that can be known of weights on another machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.clients.openai_client import ChatServer, Told
from evalkit.clients.response import entries_of
from evalkit.core.errors import EngineError

# What says which weights, of all that servers tell (times, permissions and addresses change by themselves): in their
# list of models, and under addresses of vLLM, text-generation-inference and SGLang.
IN_LIST = ("root", "parent", "owned_by", "revision", "sha", "digest", "dtype", "quantization", "max_model_len")
ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "/version": ("version",),
    "/info": ("model_id", "model_sha", "model_dtype", "quantize", "version"),
    "/get_model_info": ("model_path", "tokenizer_path", "weight_version"),
}
# A server that is starting, or a proxy in front of one that is gone.
NOT_NOW = (None, 429, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """says: what the server tells of the model, by address; listed: whether its list names it, None: it has no list."""

    listed: bool | None
    says: Mapping[str, Mapping[str, Any]]


async def look_up(server: ChatServer, *, unlisted: bool) -> Served:
    """Ask the server which models it has, and what it says of this one.

    Args:
        unlisted: take a model that the server's list does not name.

    Raises:
        EngineError: there is no server, it refuses the key, or it has no such model.
    """
    told = _now(await server.tell("/models"), server, "/models")
    versioned = re.search(r"/v\d+[a-z]*/?$", server.url) is not None
    if told.status == 404 and not versioned:
        raise EngineError(
            f"The server at {server.url} has no list of models at {server.place}/models. The address of an "
            f"OpenAI-compatible server ends with /v1: engine.url={server.url.rstrip('/')}/v1."
        )
    entries = {str(entry["id"]): entry for entry in entries_of(told.content) or ()}
    entry = entries.get(server.model)
    if entries and entry is None and not unlisted:
        raise EngineError(
            f"{server.unknown_model(list(entries))} If it is served all the same (`transformers serve FOLDER` lists "
            "its cache and not the folder), say engine.unlisted=true."
        )
    root = re.sub(r"/v\d+[a-z]*/?$", "", server.url) if versioned else server.url.rstrip("/")
    answers = await asyncio.gather(*(server.tell(root + path) for path in ADDRESSES))
    says = {"/models": _kept(entry, IN_LIST)}
    for (path, names), answer in zip(ADDRESSES.items(), answers, strict=True):
        says[path] = _kept(_now(answer, server, path).content, names)
    return Served(listed=entry is not None if entries else None, says={k: v for k, v in says.items() if v})


def _now(told: Told, server: ChatServer, path: str) -> Told:
    """What was told, unless the server cannot be asked now: half of what it says would name another model."""
    if told.status in NOT_NOW:
        how = f"answers HTTP {told.status}" if told.status else "does not answer"
        raise EngineError(
            f"The server {server.place} {how} when asked for {path}. Is it running, and has it loaded its model? "
            f"engine.url was given as {server.url}; a server is started for example with `vllm serve MODEL`. Answers "
            "that a run already has are kept; the same command goes on from there."
        )
    return told


def _kept(content: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        return {}
    return {n: content[n] for n in names if isinstance(content.get(n), str | int | float | bool)}
