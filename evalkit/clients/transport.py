"""HTTP under the openai SDK: a request carries the headers listed here and nothing of the environment, and a server
can take no more than a limit of time and memory.

The SDK keeps its retries: it receives whole replies, or the HTTP library's own errors.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from evalkit import __version__
from evalkit.clients.rate_limits import RateWaits
from evalkit.clients.redaction import redactor
from evalkit.clients.response import CallFailed, read_json, transient_status

# Outcome of an attempt whose reply never arrived, or was cut off.
NO_REPLY, CUT_OFF = "no reply", "cut off"
# Outcomes of the current call's attempts: the SDK retries internally and does not report it.
attempts: ContextVar[list[str] | None] = ContextVar("attempts", default=None)

AUTHORIZATION = "Authorization"
MAX_REDIRECTS = 3
# Headers of a reply that the SDK or this package reads; a longer value is none of them.
HEADERS_READ = ("retry-after", "retry-after-ms", "x-should-retry", "location", "content-type")
LONGEST_HEADER = 500
# Redirects that repeat a request as it is.
REPEATING = (307, 308)
# Their loggers hold what servers send, such as the words after a status or cookies.
LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp")

Send = Callable[..., Awaitable[Any]]


class CertificateRefused(CallFailed):
    """Raised when the certificate of a server is not valid for it; nothing was sent."""


def has_aiohttp() -> bool:
    """Whether the SDK's aiohttp transport is available, which takes half the time of its default transport."""
    return find_spec("aiohttp") is not None


@cache
def http_library() -> Any:
    """The HTTP library of the installed SDK: httpx2, or httpx before the SDK's version 3."""
    from openai import DefaultAsyncHttpxClient

    base = DefaultAsyncHttpxClient.__mro__[1]
    return import_module(base.__module__.partition(".")[0])


def bounded_client(
    key: str | None, max_reply_bytes: int, key_header: str = AUTHORIZATION, waits: RateWaits | None = None
) -> Any:
    """Make an HTTP client for the SDK.  Proxies and certificates are those of the environment; no netrc is read.

    Args:
        key: sent in `key_header`, as a bearer token where that is `Authorization`.
        max_reply_bytes: limit of a reply's body, compressed and decompressed.
        waits: counts the replies with HTTP 429.
    """
    from openai import DefaultAioHttpClient, DefaultAsyncHttpxClient

    _quieten()
    base: Any = DefaultAioHttpClient if has_aiohttp() else DefaultAsyncHttpxClient
    exchange = Exchange(key=key, max_reply_bytes=max_reply_bytes, key_header=key_header, waits=waits or RateWaits())

    class Bounded(base):  # type: ignore[misc]
        """The SDK's client, whose replies are read whole within limits."""

        async def send(self, request: Any, **_: Any) -> Any:
            """Send a request; options of the SDK (authentication, redirects, streams) have no effect."""
            return await exchange.limited(super().send, request)

    return Bounded()


def _quieten() -> None:
    for name in LOGGERS:
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its whole reply, within limits; see `bounded_client`."""

    key: str | None
    max_reply_bytes: int
    key_header: str
    waits: RateWaits

    async def limited(self, send: Send, request: Any) -> Any:
        """Send a request and read its reply; the request's time-out covers all of it, from connecting to the last byte.

        Raises:
            CallFailed: an error that another attempt would meet again.
            httpx.ReadTimeout, httpx.ReadError: an error after which the SDK tries again.
        """
        seconds = request.extensions.get("timeout", {}).get("read")
        request.extensions["timeout"] = {}
        outcomes = attempts.get()
        record: list[str] = [] if outcomes is None else outcomes
        self.waits.attempt_begins(record)
        record.append(NO_REPLY)
        try:
            async with asyncio.timeout(seconds):
                response = await self._follow(send, request, record)
            self.waits.attempt_ends(record)
            return response
        except TimeoutError as problem:
            raise http_library().ReadTimeout("timed out", request=request) from problem
        except CallFailed:
            raise
        except Exception as problem:
            raise _lost(problem, request) from problem

    async def _follow(self, send: Send, request: Any, record: list[str]) -> Any:
        """Send a request, and once more where the same server redirects it."""
        for _ in range(MAX_REDIRECTS + 1):
            await request.aread()
            request.headers = self._headers(request)
            response = await send(request, stream=True, auth=None, follow_redirects=False)
            record[-1] = CUT_OFF
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
            if response.status_code not in REPEATING:
                break
            following = _following(response)
            if not _is_same_server(request.url, following.url):
                break
            request = following
        else:
            raise CallFailed(
                f"HTTP {response.status_code}: the server redirects to itself more than {MAX_REDIRECTS} times"
            )
        status = response.status_code
        if status == 200 and (named := self._named_status(body)) is not None:
            status = named
        record[-1] = str(status)
        return http_library().Response(
            status,
            headers=[(k, v) for k in HEADERS_READ if len(v := response.headers.get(k, "")) in range(1, LONGEST_HEADER)],
            content=body,
            request=request,
            extensions={"sent_status": response.status_code},
        )

    def _headers(self, request: Any) -> Any:
        """All headers of a request; those that the SDK adds, partly from the environment, are left out."""
        headers = {
            "Host": request.url.netloc.decode("ascii"),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
            "User-Agent": f"evalkit/{__version__}",
        }
        if self.key:
            headers[self.key_header] = f"Bearer {self.key}" if self.key_header == AUTHORIZATION else self.key
        if request.method == "POST":
            # A form with a file names its own boundary; everything else is JSON.
            given = request.headers.get("content-type", "")
            kind = given if given.startswith("multipart/form-data") else "application/json"
            headers |= {"Content-Type": kind, "Content-Length": str(len(request.content))}
        return http_library().Headers(headers)

    async def _body(self, response: Any) -> bytes:
        """Read and decompress a body."""
        limit = self.max_reply_bytes
        expand = _decompressor(response.headers.get("content-encoding", ""))
        received, body = 0, bytearray()
        async for chunk in response.aiter_raw():
            received += len(chunk)
            try:
                # One byte more than the limit is enough to know that it is exceeded.
                body += expand(chunk, limit + 1 - len(body)) if expand is not None else chunk
            except zlib.error:
                raise CallFailed("the server's reply says that it is compressed, and cannot be decompressed") from None
            if max(received, len(body)) > limit:
                raise CallFailed(f"the server's reply is larger than the limit of {limit} bytes (max_reply_bytes)")
        return bytes(body)

    def _named_status(self, body: bytes) -> int | None:
        """The status of a passing failure that the error in a body names, which a gateway sent with HTTP 200."""
        if b'"error"' not in body:
            return None
        try:
            return transient_status(read_json(body, redactor(None)))
        except CallFailed:
            return None


def _following(response: Any) -> Any:
    """The request that a redirect names.

    Raises:
        CallFailed: it names none.
    """
    status = response.status_code
    if not response.headers.get("location"):
        raise CallFailed(f"HTTP {status}: the server redirects and names no address (Location)")
    try:
        following = response.next_request
    except Exception as problem:  # the HTTP library's own, and those of its reader of addresses
        raise CallFailed(f"HTTP {status}: the server redirects to an address that is none") from problem
    if following is None:
        raise CallFailed(f"HTTP {status}: the server redirects to an address that is none")
    return following


def _decompressor(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """Decompression with a limit of bytes; None where a body is not compressed.

    Raises:
        CallFailed: the body is compressed in a way that was not asked for and cannot be limited.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in ("gzip", "x-gzip", "deflate"):
        raise CallFailed("the server's reply is compressed (Content-Encoding), although an uncompressed one was asked")
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress


def _is_same_server(asked: Any, named: Any) -> bool:
    """Whether a redirect stays with the server that the user named, or goes from its http to its https."""
    if (asked.scheme, asked.host, asked.port) == (named.scheme, named.host, named.port):
        return True
    is_upgrade = (asked.scheme, named.scheme) == ("http", "https")
    return is_upgrade and asked.host == named.host and asked.port is None and named.port is None


def _lost(problem: Exception, request: Any) -> Exception:
    """The error of a reply that did not arrive, with a reason that holds nothing of the server's words."""
    links = list(_chain(problem))
    # aiohttp's own errors are among these classes as well, and lack the words.
    tls = [link for link in links if isinstance(link, ssl.SSLError)]
    for error in tls:
        if words := getattr(error, "verify_message", ""):
            where = request.url.netloc.decode("ascii")
            return CertificateRefused(f"TLS: the certificate of {where} is not accepted ({words})")
    for error in tls:
        if words := str(getattr(error, "reason", None) or "").replace("_", " ").lower():
            return _read_error(f"TLS: no secure connection ({words}); does the server speak https?", request)
    for link in links:
        if isinstance(link, OSError) and link.errno and link.strerror:
            return _read_error(f"connection failed or cut off ({link.strerror})", request)
    return _read_error(f"connection failed or cut off, or not HTTP ({type(links[-1]).__name__})", request)


def _read_error(words: str, request: Any) -> Exception:
    error: Exception = http_library().ReadError(words, request=request)
    return error


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it came from."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
