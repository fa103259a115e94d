"""Description of a served model as the server reports it: the only information about weights on another machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.clients.openai_client import ChatServer, GetResult
from evalkit.clients.providers import Provider
from evalkit.clients.response import entries_of
from evalkit.core.errors import EngineError

# Fields that identify the weights (times, permissions and addresses change without a change of weights): in the list of
# models, and at endpoints of vLLM, text-generation-inference and SGLang.
LIST_FIELDS = ("root", "parent", "owned_by", "revision", "sha", "digest", "dtype", "quantization", "max_model_len")
ENDPOINT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "/version": ("version",),
    "/info": ("model_id", "model_sha", "model_dtype", "quantize", "version"),
    "/get_model_info": ("model_path", "tokenizer_path", "weight_version"),
}
# Characters of a field that can identify weights; longer ones are left out.
MAX_FIELD = 500
# Status of a server that is starting, or of a proxy whose server is gone.
UNAVAILABLE = (None, 429, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Information that a server reports about a model.

    listed: whether the list of models contains it; None: the server has no list.  reported: fields by endpoint.
    """

    listed: bool | None
    reported: Mapping[str, Mapping[str, Any]]


async def look_up(server: ChatServer, *, unlisted: bool, provider: Provider) -> ServedModel:
    """Query the server for its list of models and for information about this one.

    Args:
        unlisted: accept a model that is not in the server's list.
        provider: what is known of the server; nothing is asked that it does not answer.

    Raises:
        EngineError: there is no server, it refuses the key, or it has no such model.
    """
    if not provider.lists_models:
        return ServedModel(listed=None, reported={})
    models = _require_available(await server.get("/models"), server, "/models")
    versioned = re.search(r"/v\d+[a-z]*/?$", server.url) is not None
    if models.status == 404 and not versioned:
        raise EngineError(
            f"The server at {server.url} has no list of models at {server.label}/models. The address of an "
            f"OpenAI-compatible server ends with /v1: engine.url={server.url.rstrip('/')}/v1."
        )
    entries = {str(e["id"]).removeprefix(provider.list_prefix): e for e in entries_of(models.content) or ()}
    entry = entries.get(server.model)
    if entries and entry is None and not (unlisted or provider.one_model):
        raise EngineError(
            f"{server.unknown_model(list(entries))} If the server does serve it (`transformers serve FOLDER` lists its "
            "cache and not the folder), set engine.unlisted=true."
        )
    loaded = next(iter(entries)) if provider.one_model and entries and entry is None else None
    described = {"/models": _select(entry, LIST_FIELDS) | ({"id": loaded[:MAX_FIELD]} if loaded else {})}
    reported = described | (await _endpoints(server, versioned) if provider.describes_weights else {})
    return ServedModel(listed=entry is not None if entries else None, reported={k: v for k, v in reported.items() if v})


async def _endpoints(server: ChatServer, versioned: bool) -> dict[str, dict[str, Any]]:
    """What the endpoints of self-hosted servers say about their weights."""
    root = re.sub(r"/v\d+[a-z]*/?$", "", server.url) if versioned else server.url.rstrip("/")
    answers = await asyncio.gather(*(server.get(root + path) for path in ENDPOINT_FIELDS))
    return {
        path: _select(_require_available(answer, server, path).content, names)
        for (path, names), answer in zip(ENDPOINT_FIELDS.items(), answers, strict=True)
    }


def _require_available(result: GetResult, server: ChatServer, path: str) -> GetResult:
    """Raise EngineError if the server is unavailable: incomplete information would identify a different model."""
    if result.status in UNAVAILABLE:
        unanswered = f"does not answer ({result.why})" if result.why else "does not answer"
        status = f"answers HTTP {result.status}" if result.status else unanswered
        raise EngineError(
            f"The server {server.label} {status} to a request for {path}. Is it running, and has it loaded its model? "
            f"engine.url is {server.url}; a server is started for example with `vllm serve MODEL`. The answers of a "
            "run so far are kept; run the same command again to continue."
        )
    return result


def _select(content: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        return {}
    found = {n: content[n] for n in names if isinstance(content.get(n), str | int | float | bool)}
    return {n: value for n, value in found.items() if len(str(value)) <= MAX_FIELD}
