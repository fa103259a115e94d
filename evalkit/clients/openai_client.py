"""Client for an OpenAI-compatible server, on top of the openai SDK with its retries, time-outs and Retry-After.

Shared by judges and engine=server; the callers interpret the replies.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.clients.response import MAX_WORDS, CallFailed, Reply, entries_of, read_completion
from evalkit.core.errors import ConfigError, EvalkitError, did_you_mean

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# Maximum connections per pool of the SDK's default transport, whose bookkeeping grows with their square.
CONNECTIONS_PER_POOL = 8
NO_KEY = "none"
# Time-out in seconds of requests that a server answers at once or not at all.
QUICK_TIMEOUT = 10.0
# Outcome of an attempt whose reply never arrived, or was cut off.
NO_REPLY, CUT_OFF = "no reply", "cut off"
# Outcomes of the current call's attempts: the SDK retries internally and does not report it.
_attempts: ContextVar[list[str] | None] = ContextVar("attempts", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """User of the client, for its messages.

    name: "judge 'gpt'" or "engine=server".  group: prefix of its settings.  model_setting: setting that names the
    model.  error: class of the error raised when no call can succeed.
    """

    name: str
    group: str
    model_setting: str
    error: type[EvalkitError]


@dataclass(frozen=True, slots=True)
class GetResult:
    """Result of a GET request: `content` is None without JSON content; `status` is None without a connection."""

    status: int | None
    content: Any = None


def check_url(url: str | None, setting: str, caller: str) -> None:
    """Raise ConfigError unless `url` is the address of a server and contains no credentials."""
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{caller} has no server; set {setting}=http://HOST:PORT/v1 to the address of an OpenAI-compatible server."
        )
    if parts.username or parts.query:
        raise ConfigError(
            f"{setting} must contain no user, password or query: it is stored with every result. Put the key into an "
            f"environment variable and name the variable with {setting.split('.')[0]}.api_key_env."
        )


def check_key_name(name: str | None, setting: str) -> None:
    """Raise ConfigError unless `name` is the name of an environment variable; a key itself hardly ever looks so."""
    if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{1,63}", name):
        raise ConfigError(
            f"{setting} must be the name of an environment variable (capitals, digits, underscores), such as "
            "OPENAI_API_KEY, and not the key itself. The value is not shown here, because it may be a key; if it is "
            "one and was on a command line, it is now in your shell's history: replace it."
        )


def server_label(url: str) -> str:
    """Host, port and path of a server, for records and messages."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path.rstrip('/')}"


def has_aiohttp() -> bool:
    """Whether the SDK's aiohttp transport is available, which takes half the time of its default transport."""
    from importlib.util import find_spec

    return find_spec("aiohttp") is not None


async def _on_request(_request: Any) -> None:
    if (attempts := _attempts.get()) is not None:
        _mark_cut_off()
        attempts.append(NO_REPLY)


async def _on_response(response: Any) -> None:
    if attempts := _attempts.get():
        attempts[-1] = str(response.status_code)


def _mark_cut_off() -> None:
    """Record the last attempt as cut off if it got a 200 but the call was retried or lost its connection."""
    if (attempts := _attempts.get()) and attempts[-1] == "200":
        attempts[-1] = CUT_OFF


@dataclass(slots=True, kw_only=True)
class ChatServer:
    """OpenAI-compatible server.  Bound to the event loop in which it is first used.

    Args:
        url: address up to and including `/v1`.
        model: the model's id on the server.
        key: API key, sent as a bearer token and never shown.
        key_env: environment variable that the key was read from, for messages.
        timeout: seconds a call may take.
        retries: further attempts, made by the SDK (408, 409, 429, 5xx, lost connections; it waits as long as
            Retry-After says, else from half a second up to eight seconds).
        concurrency: number of calls in flight.
        dispensable: parameters that are left out of all further calls once the server refuses them.
        dropped: the parameters left out so far.
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
    _n_calls: int = 0

    def __post_init__(self) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

        transport = DefaultAioHttpClient if has_aiohttp() else DefaultAsyncHttpxClient
        pools = 1 if has_aiohttp() else -(-self.concurrency // CONNECTIONS_PER_POOL)
        self._clients = [
            AsyncOpenAI(
                base_url=self.url,
                # Without a placeholder the SDK would send the key of another server from the environment.
                api_key=self.key or NO_KEY,
                max_retries=self.retries,
                timeout=self.timeout,
                http_client=transport(event_hooks={"request": [_on_request], "response": [_on_response]}),
            )
            for _ in range(pools)
        ]

    @property
    def label(self) -> str:
        """Host, port and path, for messages."""
        return server_label(self.url)

    def redact(self, text: str) -> str:
        """Replace the key in a text that the server sent."""
        return text.replace(self.key, "[key]") if self.key else text

    async def get(self, path: str) -> GetResult:
        """GET a path ("/models") or a whole address, once, without retries.

        Raises:
            caller.error: the key is refused.
        """
        import openai

        client = self._clients[0].with_options(max_retries=0, timeout=min(QUICK_TIMEOUT, self.timeout))
        try:
            return GetResult(200, await client.get(path, cast_to=object))
        except openai.APIStatusError as problem:
            self._raise_if_refused(problem)
            return GetResult(problem.status_code)
        except openai.APIConnectionError:
            return GetResult(None)
        except (openai.OpenAIError, ValueError):
            return GetResult(200)

    async def models(self) -> list[Mapping[str, Any]] | None:
        """Get the entries of the server's list of models; None if it has no list.

        Raises:
            caller.error: the key is refused.
        """
        return entries_of((await self.get("/models")).content)

    def unknown_model(self, names: Sequence[str]) -> EvalkitError:
        """Make the error for a model that the server does not have; `names` are the models that it has."""
        hint = did_you_mean(self.model, names) if names else "The server does not report which models it has."
        return self.caller.error(
            f"The server {self.label} has no model {self.model!r}, or this key may not use it. {hint} "
            f"Set another with {self.caller.model_setting}=NAME."
        )

    def _raise_if_refused(self, problem: APIStatusError) -> None:
        if problem.status_code in (401, 403):
            sent = f"the key in the environment variable {self.key_env}" if self.key_env else "no key"
            raise self.caller.error(
                f"The server {self.label} refuses the key of {self.caller.name} (HTTP {problem.status_code}); {sent} "
                "was sent. Check that the key is complete, not revoked, and meant for this server; "
                f"{self.caller.group}.api_key_env=NAME sets another variable."
            ) from None

    async def ask(self, body: Mapping[str, Any], attempts: list[str] | None = None) -> Reply:
        """Make one call, with the SDK's retries; dispensable parameters that are refused are left out from then on.

        Args:
            attempts: list to which the outcome of each attempt is appended, such as "503", "no reply", "200".

        Raises:
            CallFailed: this call got no reply.
            caller.error: no call can succeed.
        """
        started = time.perf_counter()
        self._n_calls += 1
        client = self._clients[self._n_calls % len(self._clients)]
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
        """Make one call; None means that a dispensable parameter was refused and the call must be repeated."""
        import openai

        try:
            # The SDK's low-level call: the typed one takes twice the time, and the reply is validated here.
            content: Any = await client.post("/chat/completions", cast_to=object, body=sent)
        except openai.APIStatusError as problem:
            return None if self._drop_refused(problem, sent) else self._reply_or_raise(problem)
        except openai.APITimeoutError:
            _mark_cut_off()
            # The aiohttp transport reports a connection that the server closed as a time-out as well.
            raise CallFailed(f"no reply: timed out ({self.timeout:g} s) or cut off") from None
        except openai.APIConnectionError as problem:
            _mark_cut_off()
            cause = problem.__cause__
            raise CallFailed(
                self.redact(f"no reply: connection failed or cut off ({type(cause or problem).__name__})")
            ) from None
        except (openai.OpenAIError, ValueError) as problem:
            raise CallFailed(f"the server's reply is not JSON ({type(problem).__name__})") from None
        return self._read(content, time.perf_counter() - started)

    def _drop_refused(self, problem: APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Drop the dispensable parameters that a 400 or 422 is about, for all further calls; True if there are any."""
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
            words = " ".join(str(problem.message).split())[:MAX_WORDS]
            return Reply(text=None, finish="content_filter", model=self.model, error=self.redact(words))
        message = self.redact(" ".join(str(problem.message).split()))[:200]
        if problem.status_code == 404 and (problem.code == "model_not_found" or "model" in message.lower()):
            raise self.unknown_model([]) from None
        if problem.code == "insufficient_quota":
            raise self.caller.error(
                f"{self.label} reports that the account of {self.caller.name} has no credit left. The answers so far "
                "are kept; run the same command again to continue."
            ) from None
        transient = problem.status_code in (408, 409, 429) or problem.status_code >= 500
        raise CallFailed(f"HTTP {problem.status_code}: {message}", transient=transient) from None

    def _read(self, content: Any, seconds: float) -> Reply:
        try:
            reply = read_completion(content, seconds, tuple(sorted(self.dropped)))
        except CallFailed as problem:
            raise CallFailed(self.redact(str(problem)), transient=problem.transient) from None
        return replace(
            reply,
            text=self._redacted(reply.text),
            refusal=self._redacted(reply.refusal),
            error=self._redacted(reply.error),
            reasoning=self._redacted(reply.reasoning),
        )

    def _redacted(self, text: str | None) -> str | None:
        return None if text is None else self.redact(text)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()
