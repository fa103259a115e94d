"""Asking an OpenAI-compatible server, through the openai SDK: its retries, its time-outs, its Retry-After.

What judges and the engine of served models have in common; which reply means what is theirs to say.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.clients.response import CallFailed, Reply, entries_of, read_completion
from evalkit.core.errors import ConfigError, EvalkitError, did_you_mean

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# Connections to one pool of the SDK's default transport: its bookkeeping grows with their square.
PER_POOL = 8
NO_KEY = "none"
# Seconds for a question that a server answers at once or not at all.
SOON = 10.0
# How an attempt is named whose reply never came, or was cut off.
NO_REPLY, CUT = "no reply", "cut off"
# The record of the call that is being made, a word an attempt: the SDK retries by itself and tells nobody.
_attempts: ContextVar[list[str] | None] = ContextVar("attempts", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, for messages.

    name: "judge 'gpt'" or "engine=server".  group: the settings' prefix.  model_setting: what names the model.
    error: raised when no call can succeed.
    """

    name: str
    group: str
    model_setting: str
    error: type[EvalkitError]


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says under an address: `content` None where it does not say; `status` None: no connection."""

    status: int | None
    content: Any = None


def check_url(url: str | None, setting: str, who: str) -> None:
    """ConfigError unless this is the address of a server, with nothing secret in it."""
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{who} has no server; give {setting}=http://HOST:PORT/v1 of an OpenAI-compatible server.")
    if parts.username or parts.query:
        raise ConfigError(
            f"{setting} must carry no user, password or query: it is stored with every result. Put the key into "
            f"an environment variable and name that with {setting.split('.')[0]}.api_key_env."
        )


def check_key_name(name: str | None, setting: str) -> None:
    """ConfigError unless this is the name of an environment variable, which a key itself hardly is."""
    if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{1,63}", name):
        raise ConfigError(
            f"{setting} must be the name of an environment variable (capitals, digits, underscores), such as "
            "OPENAI_API_KEY, and not the key itself. What was given is not shown here, because it may be a key; if it "
            "is one and stood on a command line, it is in your shell's history: replace it."
        )


def place_of(url: str) -> str:
    """Which server, for records: host, port and path."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path.rstrip('/')}"


def has_aiohttp() -> bool:
    """Whether the SDK's aiohttp transport can be had, which takes half the time of its default."""
    from importlib.util import find_spec

    return find_spec("aiohttp") is not None


async def _sent(_request: Any) -> None:
    if (attempts := _attempts.get()) is not None:
        note_cut()
        attempts.append(NO_REPLY)


async def _received(response: Any) -> None:
    if attempts := _attempts.get():
        attempts[-1] = str(response.status_code)


def note_cut() -> None:
    """A call that goes on after a 200, or lost its connection there, had its reply cut off on the way."""
    if (attempts := _attempts.get()) and attempts[-1] == "200":
        attempts[-1] = CUT


@dataclass(slots=True, kw_only=True)
class ChatServer:
    """An OpenAI-compatible server.  Belongs to the event loop that it is first used in.

    Args:
        url: up to and with `/v1`.
        model: the name that the server knows.
        key: sent as a bearer token, never shown; key_env: where it was read from, for messages.
        timeout: seconds a call may take; retries: further attempts, by the SDK (408, 409, 429, 5xx, lost connections;
            it waits as long as Retry-After says, else from half a second up to eight).
        concurrency: calls that will be in flight.
        dispensable: parameters that are left out from then on when the server refuses them.
    """

    url: str
    model: str
    caller: Caller
    key: str | None = None
    key_env: str | None = None
    timeout: float = 120.0
    retries: int = 5
    concurrency: int = 16
    dispensable: tuple[str, ...] = ()
    dropped: set[str] = field(default_factory=set)
    _clients: list[AsyncOpenAI] = field(default_factory=list)
    _turn: int = 0

    def __post_init__(self) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

        transport = DefaultAioHttpClient if has_aiohttp() else DefaultAsyncHttpxClient
        pools = 1 if has_aiohttp() else -(-self.concurrency // PER_POOL)
        self._clients = [
            AsyncOpenAI(
                base_url=self.url,
                # A server without a key must not be sent the key of another that happens to be in the environment.
                api_key=self.key or NO_KEY,
                max_retries=self.retries,
                timeout=self.timeout,
                http_client=transport(event_hooks={"request": [_sent], "response": [_received]}),
            )
            for _ in range(pools)
        ]

    @property
    def place(self) -> str:
        """Which server: host, port and path."""
        return place_of(self.url)

    def hide(self, text: str) -> str:
        """The text without the key, should a server have sent it back."""
        return text.replace(self.key, "[key]") if self.key else text

    async def tell(self, path: str) -> Told:
        """What the server says under a path ("/models") or a whole address; asked once, costs nothing.

        Raises:
            caller.error: the key is refused.
        """
        import openai

        client = self._clients[0].with_options(max_retries=0, timeout=min(SOON, self.timeout))
        try:
            return Told(200, await client.get(path, cast_to=object))
        except openai.APIStatusError as problem:
            self._raise_if_refused(problem)
            return Told(problem.status_code)
        except openai.APIConnectionError:
            return Told(None)
        except (openai.OpenAIError, ValueError):
            return Told(200)

    async def models(self) -> list[Mapping[str, Any]] | None:
        """The entries of the server's list of models, None where it has none to show.

        Raises:
            caller.error: the key is refused.
        """
        return entries_of((await self.tell("/models")).content)

    def unknown_model(self, names: Sequence[str]) -> EvalkitError:
        """The error for a model that the server does not have; `names` are those that it has."""
        near = did_you_mean(self.model, names) if names else "The server does not say which it has."
        return self.caller.error(
            f"The server {self.place} has no model {self.model!r}, or this key may not use it. {near} "
            f"Give another with {self.caller.model_setting}=NAME."
        )

    def _raise_if_refused(self, problem: APIStatusError) -> None:
        if problem.status_code in (401, 403):
            where = f"the environment variable {self.key_env}" if self.key_env else "no key"
            raise self.caller.error(
                f"The server {self.place} refuses the key of {self.caller.name} (HTTP {problem.status_code}); it was "
                f"taken from {where}. Check that it is whole, not revoked, and for this server; "
                f"{self.caller.group}.api_key_env=NAME names another variable."
            ) from None

    async def ask(self, body: Mapping[str, Any], attempts: list[str] | None = None) -> Reply:
        """One call, with the SDK's retries; dispensable parameters that are refused are left out from then on.

        Args:
            attempts: takes how each attempt went, such as "503", "no reply", "200".

        Raises:
            CallFailed: this call brought no reply.
            caller.error: no call can succeed.
        """
        started = time.perf_counter()
        self._turn += 1
        client = self._clients[self._turn % len(self._clients)]
        token = _attempts.set(attempts)
        try:
            while True:
                sent = {key: value for key, value in body.items() if key not in self.dropped}
                reply = await self._call(client, sent, started)
                if reply is not None:
                    return reply
        finally:
            _attempts.reset(token)

    async def _call(self, client: AsyncOpenAI, sent: Mapping[str, Any], started: float) -> Reply | None:
        """The reply; None: a parameter was refused that can be left out, so ask again."""
        import openai

        try:
            # The SDK's low-level call: the typed one costs twice the time, and the reply is checked here.
            content: Any = await client.post("/chat/completions", cast_to=object, body=sent)
        except openai.APIStatusError as problem:
            return None if self._drop(problem, sent) else self._reply_or_raise(problem)
        except openai.APITimeoutError:
            note_cut()
            # The aiohttp transport reports a connection that the server closed as a time-out as well.
            raise CallFailed(f"no reply: timed out ({self.timeout:g} s) or cut off") from None
        except openai.APIConnectionError as problem:
            note_cut()
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
        refused = {key for key in self.dispensable if key in sent and (key in text or key == problem.param)}
        if "response_format" in self.dispensable and "response_format" in sent and "json_schema" in text:
            refused.add("response_format")
        self.dropped |= refused
        return bool(refused)

    def _reply_or_raise(self, problem: APIStatusError) -> Reply:
        self._raise_if_refused(problem)
        if problem.code == "content_filter":
            return Reply(text=None, finish="content_filter", model=self.model)
        said = self.hide(" ".join(str(problem.message).split()))[:200]
        if problem.status_code == 404 and (problem.code == "model_not_found" or "model" in said.lower()):
            raise self.unknown_model([]) from None
        if problem.code == "insufficient_quota":
            raise self.caller.error(
                f"The account behind {self.caller.name} has no credit left, says {self.place}. What was answered is "
                "kept; the same command goes on from there."
            ) from None
        passing = problem.status_code in (408, 409, 429) or problem.status_code >= 500
        raise CallFailed(f"HTTP {problem.status_code}: {said}", passing=passing) from None

    def _read(self, content: Any, seconds: float) -> Reply:
        reply = read_completion(content, seconds, tuple(sorted(self.dropped)))
        text = None if reply.text is None else self.hide(reply.text)
        refusal = None if reply.refusal is None else self.hide(reply.refusal)
        return Reply(**{**asdict(reply), "text": text, "refusal": refusal, "dropped": reply.dropped})

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()
