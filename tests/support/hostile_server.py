"""A server on raw sockets that breaks HTTP, JSON and every limit, each call in its own way, for engine and judge alike.

A call whose text contains `[[name]]` meets the behaviour of that name; all others are answered.  `is_sane` makes the
server answer everything, as after a repair; `default` is the behaviour of all calls where it is set, and
`page` the answer to every GET request.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import re
import socket
import socketserver
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

MODEL = "lab/tiny-vlm"
# Each connection carries one call: a call must not fail because another one has spoilt its connection.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
# Bytes that a server without end sends before it gives up on a client that reads on.
PATIENCE = 400_000_000

Connection = socket.socket
Behaviour = Callable[[Connection, str], None]


def completion(text: str, **fields: Any) -> dict[str, Any]:
    """A completion; fields replace its own."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 30, "completion_tokens": 2}
    return {"id": "c", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage, **fields}


def body_of(text: str, **fields: Any) -> bytes:
    return json.dumps(completion(text, **fields)).encode()


def reply(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _raw(make: Callable[[str], bytes]) -> Behaviour:
    """Send bytes and close."""
    return lambda connection, text: connection.sendall(make(text))


def _body(make: Callable[[str], bytes]) -> Behaviour:
    """Send a body with right headers."""
    return _raw(lambda text: reply(make(text)))


def _swap(old: bytes, new: bytes) -> Behaviour:
    """Send a completion with a part of its JSON replaced."""

    def make(text: str) -> bytes:
        whole = body_of(text)
        assert old in whole
        return whole.replace(old, new, 1)

    return _body(make)


def _field(name: str, value: str) -> Behaviour:
    """Send a completion with a field of any JSON."""
    return _body(lambda text: b'{"%s": %s, ' % (name.encode(), value.encode()) + body_of(text)[1:])


def _without_end(start: bytes, pieces: Callable[[], Iterator[bytes]], pause: float = 0.0) -> Behaviour:
    def behave(connection: Connection, text: str) -> None:
        connection.sendall(start)
        sent = 0
        for piece in pieces():
            connection.sendall(piece)
            sent += len(piece)
            if sent > PATIENCE:
                return
            time.sleep(pause)

    return behave


def _reset(connection: Connection, text: str) -> None:
    connection.sendall(HEAD)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _silent(connection: Connection, text: str) -> None:
    time.sleep(30)


def _compressed(encoding: str, body: Callable[[], bytes]) -> Behaviour:
    return _raw(lambda text: reply(body(), HEAD + f"Content-Encoding: {encoding}\r\n".encode()))


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@cache
def bomb(wbits: int) -> bytes:
    """300 MB of JSON, compressed to 1 MB."""
    packer = zlib.compressobj(1, wbits=wbits)
    piece = b"0" * 1_000_000
    return packer.compress(b'{"choices": "') + b"".join(packer.compress(piece) for _ in range(300)) + packer.flush()


DEEP_LISTS = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECTS = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
TOO_LARGE = "larger than the limit"
LOST = "cut off"
TIMED_OUT = "timed out"
NOT_JSON = "not JSON"
NO_OBJECT = "not a JSON object"
SURROGATE = "half of a surrogate pair"

# Behaviour -> a part of the failed call's reason; ANSWERED where only a number or name is broken, and not the answer.
MANY = "more than 200000 values"
ANSWERED = None
FAULTS: dict[str, tuple[Behaviour, str | None]] = {
    "half pair in text": (_swap(b'"content": "', b'"content": "\\ud83d '), SURROGATE),
    "second half in text": (_swap(b'"content": "', b'"content": "\\udc00 '), SURROGATE),
    "half pair in model": (_swap(MODEL.encode(), b"x\\ud800"), SURROGATE),
    "half pair in finish": (_swap(b'"stop"', b'"st\\udfffop"'), SURROGATE),
    "half pair in id": (_swap(b'"id": "c"', b'"id": "\\ud800"'), SURROGATE),
    "half pair in fingerprint": (_field("system_fingerprint", '"\\ud800"'), SURROGATE),
    "half pair in a key": (_field("\\ud800", "1"), SURROGATE),
    "half pair in error": (_body(lambda text: b'{"error": {"message": "\\ud800"}}'), SURROGATE),
    "half pair in reasoning": (_swap(b'"role": "assistant"', b'"reasoning": "\\ud800"'), SURROGATE),
    "half pair in refusal": (_swap(b'"role": "assistant"', b'"refusal": "\\ud800"'), SURROGATE),
    "surrogate in bytes": (_swap(b'"content": "', b'"content": "\xed\xa0\x80'), "not UTF-8"),
    "deep lists": (_body(lambda text: DEEP_LISTS), "nested too deeply"),
    "deep objects": (_body(lambda text: DEEP_OBJECTS), "nested too deeply"),
    "deep field": (_field("x", "[" * 100_000 + "]" * 100_000), "nested too deeply"),
    "deep content": (_swap(b'"role": "assistant"', b'"x": ' + b"[" * 300 + b"]" * 300), "levels deep"),
    "deep error": (_raw(lambda text: reply(DEEP_LISTS, HEAD.replace(b"200", b"400"))), "HTTP 400"),
    "status in words": (_raw(lambda text: b"HTTP/1.1 fine OK\r\n\r\n"), LOST),
    "status of six digits": (_raw(lambda text: b"HTTP/1.1 200000 OK\r\nContent-Length: 0\r\n\r\n"), LOST),
    "no status line": (_raw(lambda text: body_of(text) + b"\r\n\r\n"), LOST),
    "another protocol": (_raw(lambda text: b"220 mail.example ESMTP\r\n"), LOST),
    "bytes of chance": (_raw(lambda text: bytes(range(256)) * 40), LOST),
    "nothing": (_raw(lambda text: b""), LOST),
    "reset": (_reset, LOST),
    "one header of 10 MB": (_raw(lambda text: HEAD + b"X: " + b"a" * 10_000_000 + b"\r\n\r\n"), LOST),
    "headers of 10 MB": (_raw(lambda text: HEAD + b"X-Y: abcdefghij\r\n" * 600_000 + b"\r\n"), LOST),
    "a header without end": (_without_end(HEAD + b"X: ", lambda: itertools.repeat(b"a" * 65_536)), LOST),
    "headers without end": (_without_end(HEAD, lambda: itertools.repeat(b"X: a\r\n" * 10_000)), LOST),
    "a header without a colon": (_raw(lambda text: HEAD + b"no colon here\r\n\r\n"), LOST),
    "NUL in a header": (_raw(lambda text: reply(body_of(text), HEAD + b"X: a\x00b\r\n")), LOST),
    "dripping header": (_without_end(HEAD + b"X: ", lambda: itertools.repeat(b"a"), 0.1), TIMED_OUT),
    "dripping headers": (_without_end(HEAD, lambda: itertools.repeat(b"X: a\r\n"), 0.1), TIMED_OUT),
    "dripping body": (
        _without_end(HEAD + b"Content-Length: 90000\r\n\r\n", lambda: itertools.repeat(b" "), 0.1),
        TIMED_OUT,
    ),
    "dripping chunks": (_without_end(CHUNKED, lambda: itertools.repeat(b"1\r\n \r\n"), 0.1), TIMED_OUT),
    "silence": (_silent, TIMED_OUT),
    "endless body": (_without_end(HEAD + b"\r\n", lambda: itertools.repeat(b" " * 65_536)), TOO_LARGE),
    "endless chunks": (
        _without_end(CHUNKED, lambda: itertools.repeat(b"10000\r\n" + b" " * 65_536 + b"\r\n")),
        TOO_LARGE,
    ),
    "endless length": (
        _without_end(HEAD + b"Content-Length: 99999999999\r\n\r\n", lambda: itertools.repeat(b" " * 65_536)),
        TOO_LARGE,
    ),
    "endless chunk extension": (_without_end(CHUNKED + b"1;", lambda: itertools.repeat(b"a" * 65_536)), ""),
    "gzip bomb": (_compressed("gzip", lambda: bomb(31)), TOO_LARGE),
    "deflate bomb": (_compressed("deflate", lambda: bomb(15)), TOO_LARGE),
    "gzip of gzip": (_compressed("gzip, gzip", lambda: gzip.compress(bomb(31))), "compressed"),
    "brotli": (_compressed("br", lambda: b"\x8b\x02\x80abc\x03"), "compressed"),
    "no gzip": (_compressed("gzip", lambda: b"plain"), "cannot be decompressed"),
    "cut gzip": (_compressed("gzip", lambda: gzip.compress(body_of("x" * 9000))[:-20]), NOT_JSON),
    "100 for ever": (
        _without_end(b"", lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 50), 0.001),
        TIMED_OUT,
    ),
    "103 for ever": (_without_end(b"", lambda: itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n"), 0.01), TIMED_OUT),
    "length too short": (_raw(lambda text: HEAD + b"Content-Length: 9\r\n\r\n" + body_of(text)), ""),
    "length too long": (_raw(lambda text: HEAD + b"Content-Length: 90000\r\n\r\n" + body_of(text)), LOST),
    "length below zero": (_raw(lambda text: HEAD + b"Content-Length: -5\r\n\r\n" + body_of(text)), LOST),
    "length in words": (_raw(lambda text: HEAD + b"Content-Length: many\r\n\r\n" + body_of(text)), LOST),
    "two lengths": (_raw(lambda text: HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdefg"), LOST),
    "chunks of garbage": (_raw(lambda text: CHUNKED + b"zz\r\n" + body_of(text)), LOST),
    "a chunk of all bytes": (_raw(lambda text: CHUNKED + b"f" * 40 + b"\r\n" + body_of(text)), LOST),
    "a chunk that is cut": (_raw(lambda text: CHUNKED + b"ffff\r\n" + body_of(text)), LOST),
    "closed in the body": (_raw(lambda text: reply(body_of(text))[:-30]), LOST),
    "closed in the headers": (_raw(lambda text: HEAD[:-10]), LOST),
    "204": (_raw(lambda text: b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), NOT_JSON),
    "304": (_raw(lambda text: b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"), "HTTP 304"),
    "101": (_raw(lambda text: b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), ""),
    "418": (_raw(lambda text: reply(b"teapot", HEAD.replace(b"200", b"418"))), "HTTP 418"),
    "999": (_raw(lambda text: reply(body_of(text), HEAD.replace(b"200", b"999"))), "HTTP 999"),
    "HTML": (
        _raw(lambda text: reply(b"<html>model</html>", HEAD.replace(b"application/json", b"text/html"))),
        NO_OBJECT,
    ),
    "wrong charset": (_swap(b'"content": "', b'"content": "\xe9\xff'), "not UTF-8"),
    "UTF-16": (_body(lambda text: body_of(text).decode().encode("utf-16")), "not UTF-8"),
    "an unknown charset": (_raw(lambda text: reply(b"{", HEAD.replace(b"json", b"json; charset=klingon"))), NOT_JSON),
    "empty": (_body(lambda text: b""), NOT_JSON),
    "null": (_body(lambda text: b"null"), NO_OBJECT),
    "a number of 5000 digits": (_field("x", "9" * 5000), NOT_JSON),
    "a key twice": (_swap(b'"content": "', b'"content": "other", "content": "'), "occurs twice"),
    "an equal key twice": (_swap(b'"content": "', b'"content": "same", "content": "same", "x": "'), "occurs twice"),
    "millions of numbers": (_field("x", "[" + "0," * 1_200_000 + "0]"), MANY),
    "millions of lists": (_field("x", "[" + "[]," * 800_000 + "0]"), MANY),
    "millions of objects": (_field("x", "[" + "{}," * 800_000 + "0]"), MANY),
    "millions of texts": (_field("x", "[" + '"",' * 800_000 + '""]'), MANY),
    "millions of keys": (_field("x", "{" + ",".join(f'"{k}":0' for k in range(210_000)) + "}"), MANY),
    "millions of brackets": (_body(lambda text: b"[" * 2_500_000), MANY),
    "millions of brackets and quotes": (_body(lambda text: b'["\\"' * 1_900_000), MANY),
    "a text of a million brackets": (_field("x", '"' + "[{," * 400_000 + '"'), ANSWERED),
    "choices of another type": (_body(lambda text: b'{"choices": {"message": "x"}}'), "not a chat completion"),
    "retry after ages": (
        _raw(lambda text: reply(b"{}", HEAD.replace(b"200", b"503") + b"Retry-After: 1e999\r\n")),
        "HTTP 503",
    ),
    "retry after a year": (
        _raw(lambda text: reply(b"{}", HEAD.replace(b"200", b"503") + b"Retry-After: Mon, 99 Foo 99999 1:1:1 GMT\r\n")),
        "HTTP 503",
    ),
    "redirect without end": (
        _raw(lambda text: reply(b"", HEAD.replace(b"200", b"307") + b"Location: /v1/chat/completions\r\n")),
        "HTTP 307: the server redirects to itself more than 3 times",
    ),
    "redirect without an address": (
        _raw(lambda text: reply(b"", HEAD.replace(b"200", b"307"))),
        "HTTP 307: the server redirects and names no address",
    ),
    "redirect to an empty address": (
        _raw(lambda text: reply(b"", HEAD.replace(b"200", b"308") + b"Location: \r\n")),
        "HTTP 308: the server redirects and names no address",
    ),
    "redirect to nowhere": (
        _raw(lambda text: reply(b"", HEAD.replace(b"200", b"307") + b"Location: http://[\r\n")),
        "HTTP 307: the server redirects to",
    ),
    "infinite usage": (_swap(b'"prompt_tokens": 30', b'"prompt_tokens": 1e999'), ANSWERED),
    "NaN usage": (_swap(b'"prompt_tokens": 30', b'"prompt_tokens": NaN'), ANSWERED),
    "usage below zero": (_swap(b'"prompt_tokens": 30', b'"prompt_tokens": -30'), ANSWERED),
    "huge usage": (_swap(b'"prompt_tokens": 30', b'"prompt_tokens": ' + b"9" * 400), ANSWERED),
    "usage in words": (_swap(b'"prompt_tokens": 30', b'"prompt_tokens": "30"'), ANSWERED),
    "usage of another type": (_swap(b'"completion_tokens": 2', b'"completion_tokens": [{}]'), ANSWERED),
    "a model's name of 100 kB": (_swap(MODEL.encode(), b"m" * 100_000), ANSWERED),
}


def is_expected(name: str, error: str | None) -> bool:
    """Whether a call's error is the one of its behaviour; on a machine that is busy some of them take too long."""
    why = FAULTS[name][1]
    if why is ANSWERED or error is None:
        return why is ANSWERED and error is None
    return bool(error) and (why in error or TIMED_OUT in error)


class HostileServer:
    """The server; see the module.  answer: makes the text of a good reply from the text of the request."""

    def __init__(
        self,
        answer: Callable[[str], str],
        faults: dict[str, tuple[Behaviour, str | None]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.faults = FAULTS if faults is None else faults
        self.is_sane = False
        self.default: Behaviour | None = None
        self.tls = tls
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.model_entry: bytes | None = None
        self.page: bytes | None = None
        self.reads_bodies = True
        self.listed = reply(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())

    def __enter__(self) -> HostileServer:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client closes where a reply exceeds its limits
                    if outer.tls is None:
                        outer._one(self.request)
                    else:
                        with outer.tls.wrap_socket(self.request, server_side=True) as secured:
                            outer._one(secured)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, block_on_close = True, True, False
            request_queue_size = 200

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def calls(self) -> list[bytes]:
        """Bodies of the calls of completions."""
        return [body for path, _, body in self.requests if path.endswith("/chat/completions")]

    def _one(self, connection: Connection) -> None:
        """Read one request and answer it."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65_536)):
                return
            data += more
            if data.startswith(b"\x16\x03"):  # the client begins with TLS
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if not self.reads_bodies:
            connection.sendall(HEAD + b"Content-Length: 90000\r\n\r\n ")
            time.sleep(30)
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65_536)
        path = urlsplit(lines[0].split(" ")[1]).path
        self.requests.append((path, headers, body))
        if lines[0].startswith("GET"):
            if self.page is not None:
                connection.sendall(self.page)
                return
            other = self.model_entry if path.startswith("/v1/models/") else None
            absent = reply(b"{}", HEAD.replace(b"200 OK", b"404 No"))
            connection.sendall(self.listed if path == "/v1/models" else other or absent)
            return
        asked = _text_of(json.loads(body))
        name = re.search(r"\[\[(.+?)\]\]", asked)
        text = self.answer(asked)
        if self.default is not None:
            self.default(connection, text)
            return
        if self.is_sane or name is None or name[1] not in self.faults:
            connection.sendall(reply(body_of(text)))
            return
        self.faults[name[1]][0](connection, text)


def _text_of(body: dict[str, Any]) -> str:
    contents = [m["content"] for m in body["messages"]]
    return "".join(c if isinstance(c, str) else "".join(p.get("text", "") for p in c) for c in contents)
