"""Asking an OpenAI-compatible server, through the openai SDK: its retries, its time-outs, its Retry-After."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from evalkit.errors import JudgeError, did_you_mean
from evalkit.judge.config import JudgeConfig, read_key

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# Parameters that newer models and smaller servers refuse: left out when refused, and the record says so.
DISPENSABLE = ("response_format", "temperature", "top_p", "seed")
# Connections to one pool of the SDK's default transport: its bookkeeping grows with their square.
PER_POOL = 8
NO_KEY = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back from one call; kept in the cache as it is.

    tokens_in, tokens_out: as the server counted them, None where it did not say.
    dropped: parameters that the server refused and that were left out.
    """

    text: str | None
    refusal: str | None = None
    finish: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    dropped: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "dropped": list(self.dropped)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reply:
        """From JSON."""
        return cls(**{**record, "dropped": tuple(record.get("dropped") or ())})


class CallFailed(Exception):
    """A call brought no reply; the judgment is counted as failed and asked again another time."""


class Asker(Protocol):
    """Whatever answers a request body: a server, or a model in this process."""

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """The reply.  Raises CallFailed for this call, JudgeError when no call can succeed."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def has_aiohttp() -> bool:
    """Whether the SDK's aiohttp transport can be had, which takes half the time of its default."""
    from importlib.util import find_spec

    return find_spec("aiohttp") is not None


@dataclass(slots=True)
class ServerAsker:
    """An OpenAI-compatible server."""

    config: JudgeConfig
    announced: str | None = None
    _clients: list[AsyncOpenAI] = field(default_factory=list)
    _key: str | None = None
    _dropped: set[str] = field(default_factory=set)
    _turn: int = 0

    def __post_init__(self) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self._key = read_key(self.config)
        pools = 1 if has_aiohttp() else -(-self.config.concurrency // PER_POOL)
        self._clients = [
            AsyncOpenAI(
                base_url=self.config.base_url,
                # A server without a key must not be sent the key of another that happens to be in the environment.
                api_key=self._key or NO_KEY,
                max_retries=self.config.retries,
                timeout=self.config.timeout,
                http_client=DefaultAioHttpClient() if has_aiohttp() else None,
            )
            for _ in range(pools)
        ]

    def hide(self, text: str) -> str:
        """The text without the key, should a server have sent it back."""
        return text.replace(self._key, "[key]") if self._key else text

    async def check(self) -> None:
        """Ask the server about the model, which costs nothing; `announced` is the shutdown date that it gave.

        A server that cannot say (many local ones cannot) is not an error: the first call will tell.

        Raises:
            JudgeError: the key is refused, or the server has no such model.
        """
        import openai

        client = self._clients[0].with_options(max_retries=0, timeout=min(10.0, self.config.timeout))
        try:
            found: Any = await client.get(f"/models/{self.config.model}", cast_to=object)
        except openai.APIStatusError as problem:
            self._raise_if_refused(problem)
            if problem.status_code == 404:
                await self._check_list(client)
            return
        except (openai.OpenAIError, ValueError):
            return
        if isinstance(found, dict) and isinstance(found.get("shutdown_date"), str):
            self.announced = found["shutdown_date"]

    async def _check_list(self, client: AsyncOpenAI) -> None:
        import openai

        try:
            listed: Any = await client.get("/models", cast_to=object)
        except openai.APIStatusError as problem:
            self._raise_if_refused(problem)
            return
        except (openai.OpenAIError, ValueError):
            return
        entries = listed.get("data") if isinstance(listed, dict) else None
        names = [str(e["id"]) for e in entries or [] if isinstance(e, dict) and "id" in e]
        if names and self.config.model not in names:
            raise self._unknown_model(names)

    def _unknown_model(self, names: list[str]) -> JudgeError:
        near = did_you_mean(str(self.config.model), names) if names else "The server does not say which it has."
        return JudgeError(
            f"The server {self.config.server} has no model {self.config.model!r}, or this key may not use it. {near} "
            f"Give another with judge.model=NAME."
        )

    def _raise_if_refused(self, problem: APIStatusError) -> None:
        if problem.status_code in (401, 403):
            where = f"the environment variable {self.config.api_key_env}" if self.config.api_key_env else "no key"
            raise JudgeError(
                f"The server {self.config.server} refuses the key of judge {self.config.name!r} (HTTP "
                f"{problem.status_code}); it was taken from {where}. Check that it is whole, not revoked, and for this "
                "server; judge.api_key_env=NAME names another variable."
            ) from None

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """One call, with the SDK's retries; parameters that the server refuses are left out from then on."""
        import openai

        started = time.perf_counter()
        self._turn += 1
        client = self._clients[self._turn % len(self._clients)]
        while True:
            sent = {key: value for key, value in body.items() if key not in self._dropped}
            try:
                # The SDK's low-level call: the typed one costs twice the time, and the reply is checked here.
                content: Any = await client.post("/chat/completions", cast_to=object, body=sent)
            except openai.APIStatusError as problem:
                if self._drop(problem, sent):
                    continue
                return self._reply_or_raise(problem)
            except openai.APITimeoutError:
                # The aiohttp transport reports a connection that the server closed as a time-out as well.
                raise CallFailed(f"no reply: timed out ({self.config.timeout:g} s) or cut off") from None
            except openai.APIConnectionError as problem:
                cause = problem.__cause__
                raise CallFailed(
                    self.hide(f"no reply: connection failed or cut off ({type(cause or problem).__name__})")
                ) from None
            except (openai.OpenAIError, ValueError) as problem:
                raise CallFailed(f"the server's reply is no JSON ({type(problem).__name__})") from None
            return self._read(content, time.perf_counter() - started)

    def _drop(self, problem: APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Whether a 400 is about a parameter that can be left out, which is then left out for good."""
        if problem.status_code not in (400, 422):
            return False
        text = str(problem.body)
        refused = {key for key in DISPENSABLE if key in sent and (key in text or key == problem.param)}
        if "response_format" in sent and "json_schema" in text:
            refused.add("response_format")
        self._dropped |= refused
        return bool(refused)

    def _reply_or_raise(self, problem: APIStatusError) -> Reply:
        self._raise_if_refused(problem)
        if problem.code == "content_filter":
            return Reply(text=None, finish="content_filter", model=self.config.model)
        said = self.hide(" ".join(str(problem.message).split()))[:200]
        if problem.status_code == 404 and (problem.code == "model_not_found" or "model" in said.lower()):
            raise self._unknown_model([]) from None
        if problem.code == "insufficient_quota":
            raise JudgeError(
                f"The account behind judge {self.config.name!r} has no credit left, says {self.config.server}. What "
                "was judged is kept; the same command goes on from there."
            ) from None
        raise CallFailed(f"HTTP {problem.status_code}: {said}") from None

    def _read(self, content: Any, seconds: float) -> Reply:
        reply = read_completion(content, seconds, tuple(sorted(self._dropped)))
        text = None if reply.text is None else self.hide(reply.text)
        refusal = None if reply.refusal is None else self.hide(reply.refusal)
        return Reply(**{**asdict(reply), "text": text, "refusal": refusal, "dropped": reply.dropped})

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()


def read_completion(content: Any, seconds: float | None, dropped: tuple[str, ...] = ()) -> Reply:
    """A chat completion's JSON as a Reply.

    Raises:
        CallFailed: it is not a chat completion.
    """
    if not isinstance(content, Mapping):
        raise CallFailed("the server's reply is no JSON object")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise CallFailed("the server's reply is no chat completion (it has no choices with a message)")
    usage = content.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return Reply(
        text=_text(message.get("content")),
        refusal=_text(message.get("refusal")),
        finish=_text(choice.get("finish_reason")),
        model=_text(content.get("model")),
        fingerprint=_text(content.get("system_fingerprint")),
        tokens_in=_count(counts.get("prompt_tokens")),
        tokens_out=_count(counts.get("completion_tokens")),
        seconds=None if seconds is None else round(seconds, 4),
        dropped=dropped,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


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
