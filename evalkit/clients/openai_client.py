"""Client for an OpenAI-compatible server, on top of the openai SDK with its retries, time-outs and Retry-After.

Shared by judges and engine=server; the callers interpret the replies.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evalkit.clients.parameters import Parameters
from evalkit.clients.rate_limits import RateWaits
from evalkit.clients.redaction import Redact, redactor
from evalkit.clients.response import (
    MAX_NAME,
    MAX_WORDS,
    CallFailed,
    Reply,
    entries_of,
    is_transient,
    read_completion,
    read_json,
)
from evalkit.clients.server_settings import Api, server_label
from evalkit.clients.transport import CertificateRefused, attempts, bounded_client, has_aiohttp, http_library
from evalkit.core.errors import EvalkitError, did_you_mean
from evalkit.core.network import begin_with

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

# Maximum connections per pool of the SDK's default transport, whose bookkeeping grows with their square.
CONNECTIONS_PER_POOL = 8
NO_KEY = "none"
# Time-out in seconds of requests that a server answers at once or not at all.
QUICK_TIMEOUT = 10.0
# Limit of a reply in bytes, compressed and decompressed; a long thought of 100,000 tokens has half a million.
MAX_REPLY_BYTES = 8_000_000
# Characters of an error's body that are shown.
MAX_ERROR = 20_000


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
    """Result of a GET request: `content` is None without JSON content; `status` is None without a reply.

    why: the reason why there is no reply.
    """

    status: int | None
    content: Any = None
    why: str = ""


@dataclass(slots=True, kw_only=True)
class ChatServer:
    """OpenAI-compatible server.  Bound to the event loop in which it is first used.

    Args:
        url: address up to and including `/v1`.
        model: the model's id on the server.
        key: API key, sent as a bearer token and never shown.
        key_env: environment variable that the key was read from, for messages.
        timeout: seconds that one attempt may take, from connecting to the last byte of the reply.
        retries: further attempts, made by the SDK (408, 409, 429, 5xx, lost connections; it waits as long as
            Retry-After says, else from half a second up to eight seconds).
        concurrency: number of calls in flight.
        parameters: what is left out of calls or renamed, and what the server's refusals add to it.
        api: paths and headers where they are not the interface's own.
        waits: replies with HTTP 429 and the time that they cost.
        max_reply_bytes: limit of a reply, compressed and decompressed.

    Raises:
        caller.error: the key cannot be sent, or the environment's proxies or certificates cannot be used.
    """

    url: str
    model: str
    caller: Caller
    key: str | None = field(default=None, repr=False)
    key_env: str | None = None
    timeout: float = 120.0
    retries: int = 5
    concurrency: int = 16
    parameters: Parameters = field(default_factory=Parameters)
    api: Api = field(default_factory=Api)
    waits: RateWaits = field(default_factory=RateWaits)
    max_reply_bytes: int = MAX_REPLY_BYTES
    _redact: Redact = field(init=False, repr=False)
    _clients: list[AsyncOpenAI] = field(default_factory=list)
    _n_calls: int = 0

    def __post_init__(self) -> None:
        from openai import AsyncOpenAI

        begin_with(self.url, self.caller.name)
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise self.caller.error(
                f"The key of {self.caller.name} in the environment variable {self.key_env} has spaces, line breaks or "
                "other characters that a header cannot hold. The value is not shown here; set the variable again."
            )
        self._redact = redactor(self.key)
        pools = 1 if has_aiohttp() else -(-self.concurrency // CONNECTIONS_PER_POOL)
        for _ in range(pools):
            try:
                client = bounded_client(self.key, self.max_reply_bytes, self.api.key_header, self.waits)
            except (ValueError, ImportError, OSError) as problem:
                # The problem's text may hold a proxy's password.
                raise self.caller.error(
                    "The environment's settings of proxies or certificates cannot be used "
                    f"({type(problem).__name__}): check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE "
                    "and SSL_CERT_DIR."
                ) from None
            self._clients.append(
                AsyncOpenAI(
                    base_url=self.url,
                    # Without a placeholder the SDK would take a key from the environment; neither is sent.
                    api_key=NO_KEY,
                    max_retries=self.retries,
                    timeout=self.timeout,
                    http_client=client,
                )
            )

    @property
    def label(self) -> str:
        """Host, port and path, for messages."""
        return server_label(self.url)

    def redact(self, text: str) -> str:
        """Replace the key in a text that the server sent."""
        return self._redact(text)

    async def get(self, path: str) -> GetResult:
        """GET a path ("/models") or a whole address, once, without retries.

        Raises:
            caller.error: the key is refused, or the server's certificate is not valid.
        """
        import openai

        client = self._clients[0].with_options(max_retries=0, timeout=min(QUICK_TIMEOUT, self.timeout))
        try:
            response = await client.get(self.api.path(path), cast_to=http_library().Response)
        except openai.APIStatusError as problem:
            self._raise_if_refused(problem)
            return GetResult(problem.status_code)
        except Exception as problem:  # noqa: BLE001 - whatever a broken reply makes the SDK raise
            failure = self._failure(problem)
            if isinstance(failure, CertificateRefused):
                raise self._untrusted(failure) from None
            return GetResult(None, why=str(failure))
        try:
            return GetResult(200, read_json(response.content, self.redact))
        except CallFailed:
            return GetResult(200)

    async def models(self) -> list[Mapping[str, Any]] | None:
        """Get the entries of the server's list of models; None if it has no list.

        Raises:
            caller.error: the key is refused.
        """
        return entries_of((await self.get("/models")).content)

    def unknown_model(self, names: Sequence[str]) -> EvalkitError:
        """Make the error for a model that the server does not have; `names` are the models that it has."""
        known = [name[:MAX_NAME] for name in names]
        hint = did_you_mean(self.model, known) if known else "The server does not report which models it has."
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

    def _untrusted(self, problem: CertificateRefused) -> EvalkitError:
        return self.caller.error(
            f"{problem}. Nothing was sent to the server of {self.caller.name}. A server whose certificate is of your "
            "own authority needs the environment variable SSL_CERT_FILE=FILE.pem with that authority; otherwise use "
            "the name that the certificate is for, or have the server's certificate renewed."
        )

    async def ask(self, body: Mapping[str, Any], outcomes: list[str] | None = None) -> Reply:
        """Make one call, with the SDK's retries; parameters that are refused are left out from then on.

        Args:
            outcomes: list to which the outcome of each attempt is appended, such as "503", "no reply", "200".

        Raises:
            CallFailed: this call got no reply.
            caller.error: no call can succeed.
        """
        record: list[str] = [] if outcomes is None else outcomes
        async with self.parameters.turn():
            started = time.perf_counter()
            self._n_calls += 1
            client = self._clients[self._n_calls % len(self._clients)]
            token = attempts.set(record)
            try:
                while (reply := await self._call(client, self.parameters.apply(body), started)) is None:
                    pass
                return reply
            finally:
                attempts.reset(token)
                self.waits.call_ends(record)

    async def _call(self, client: AsyncOpenAI, sent: Mapping[str, Any], started: float) -> Reply | None:
        """Make one call; None means that a parameter was refused and the call must be repeated."""
        import openai

        try:
            # The whole response: the SDK's typed reply takes twice the time, and replies are read here within limits.
            response = await client.post(self.api.chat(self.model), cast_to=http_library().Response, body=sent)
        except openai.APIStatusError as problem:
            if problem.response.extensions.get("sent_status") != 200:
                return None if self._is_spared(problem, sent) else self._reply_or_raise(problem)
            response = problem.response
        except Exception as problem:  # noqa: BLE001 - whatever a broken reply makes the SDK raise
            raise self._failure(problem) from None
        return self._read(response.content, time.perf_counter() - started)

    def _failure(self, problem: Exception) -> CallFailed:
        """The failure of a call without a reply, with a reason that holds nothing of the server's words."""
        import openai

        if isinstance(problem, CallFailed):
            return problem
        if isinstance(problem, openai.APITimeoutError):
            return CallFailed(f"no reply: timed out ({self.timeout:g} s)")
        if isinstance(problem, openai.APIConnectionError):
            cause = problem.__cause__
            return cause if isinstance(cause, CallFailed) else CallFailed(f"no reply: {cause or 'connection failed'}")
        return CallFailed(f"the server's reply cannot be read ({type(problem).__name__})")

    def _is_spared(self, problem: APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Whether an error is about a parameter that can be left out or renamed, which is done from now on."""
        if problem.status_code not in (400, 422):
            return False
        return self.parameters.learn(problem.response.content, problem.param, sent)

    def _reply_or_raise(self, problem: APIStatusError) -> Reply:
        self._raise_if_refused(problem)
        status = problem.status_code
        stated = self._message(problem.response.content)
        if problem.code == "content_filter":
            return Reply(text=None, finish="content_filter", model=self.model, error=stated[:MAX_WORDS])
        if status == 404 and (problem.code == "model_not_found" or "model" in stated.lower()):
            raise self.unknown_model([]) from None
        if problem.code == "insufficient_quota":
            raise self.caller.error(
                f"{self.label} reports that the account of {self.caller.name} has no credit left. The answers so far "
                "are kept; run the same command again to continue."
            ) from None
        if location := problem.response.headers.get("location"):
            where = self.redact(location)[:MAX_NAME]
            stated = f"the server redirects to {where!r}; no question, image or key is sent to another server"
        if not stated:
            # The key is replaced before the text is cut: a cut key is no longer found.
            body = self.redact(problem.response.content.decode("utf-8", "replace"))
            stated = " ".join(body[:MAX_ERROR].split())
        raise CallFailed(f"HTTP {status}: {stated[:MAX_NAME]}", transient=is_transient(status)) from None

    def _message(self, raw: bytes) -> str:
        """The message of an error's body in one line; empty where it is not in the interface's form."""
        try:
            content = read_json(raw, self.redact)
        except CallFailed:
            return ""
        error = content.get("error", content) if isinstance(content, Mapping) else None
        message = error.get("message") if isinstance(error, Mapping) else None
        return " ".join(message.split()) if isinstance(message, str) else ""

    def _read(self, raw: bytes, seconds: float) -> Reply:
        return read_completion(read_json(raw, self.redact), seconds, tuple(sorted(self.parameters.dropped)))

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()
