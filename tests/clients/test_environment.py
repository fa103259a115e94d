"""Nothing of the environment reaches a server, no other server is asked, and TLS errors read as such."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from evalkit.clients.redaction import redactor
from evalkit.clients.response import Reply
from evalkit.core.errors import EngineError
from tests.support.asking import ask_once, get
from tests.support.certificates import context, self_signed
from tests.support.hostile_server import HEAD, Connection, HostileServer, body_of, reply
from tests.support.slow import mostly_slow

SECRET = "not-for-this-server"
KEY = "sk-test-0123456789+/very=secret"
OPENAI = ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "BASE_URL", "WEBHOOK_SECRET", "LOG")
CUSTOM = (
    "Authorization", "X-Api-Key", "Api-Key", "Cookie", "User-Agent", "Host", "Accept", "Content-Type", "Referer",
    "OpenAI-Organization", "X-Stainless-Lang", "Proxy-Authorization", "Accept-Encoding",
)  # fmt: skip
SENT = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"}


@pytest.fixture(autouse=True)
def _every_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every variable of the SDK is set, and a netrc file names the server."""
    for name in OPENAI:
        monkeypatch.setenv(f"OPENAI_{name}", f"https://{SECRET}.example/v1" if name == "BASE_URL" else SECRET)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "\n".join(f"{name}: {SECRET}" for name in CUSTOM))
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login user password {SECRET}\nmachine 127.0.0.1 login user password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_request_carries_the_headers_of_the_list_and_none_of_the_environment(
    either_transport: str, key: str | None
) -> None:
    with HostileServer(lambda text: "yes") as server:
        assert isinstance(ask_once(server.url, key=key, key_env="LAB_KEY"), Reply)
        get(server.url, key=key, key_env="LAB_KEY")
        get(server.url.removesuffix("/v1") + "/v1", server.url.removesuffix("/v1") + "/version", key=key)
    assert len(server.requests) == 3
    for path, headers, body in server.requests:
        assert set(headers) <= SENT | ({"authorization"} if key else set()), path
        assert SECRET not in json.dumps(headers) + body.decode()
        assert headers["host"] in server.url and headers["accept"] == "application/json"
        assert headers["user-agent"].startswith("evalkit/")
        assert headers.get("authorization") == (f"Bearer {key}" if key else None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDK's way to hand a proxy's password to aiohttp
def test_a_proxy_of_the_environment_is_used_and_its_password_goes_to_it_alone(
    either_transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileServer(lambda text: "yes") as server, HostileServer(lambda text: "by proxy") as proxy:
        address = proxy.url.removesuffix("/v1").replace("//", "//me:proxy-password@")
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        given = ask_once(server.url, key=KEY)
        assert isinstance(given, Reply) and given.text == "by proxy" and not server.requests
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        given = ask_once(server.url, key=KEY)
        assert isinstance(given, Reply) and given.text == "yes"
    (_, headers, _) = proxy.requests[0]
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:proxy-password").decode()
    assert "proxy-authorization" not in server.requests[0][1]


@pytest.mark.parametrize(("name", "value"), [("HTTP_PROXY", "gopher://pw@x"), ("SSL_CERT_FILE", "/nowhere.pem")])
def test_settings_of_the_environment_that_cannot_be_used_are_one_paragraph(
    either_transport: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv(name.lower(), value)
    with HostileServer(lambda text: "yes") as server, pytest.raises(EngineError, match=name) as caught:
        ask_once(server.url)
    assert "pw@" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-two lines\nHost: x", "sk-é", "sk with spaces"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(EngineError, match="LAB_KEY") as caught:
        ask_once("http://127.0.0.1:9/v1", key=key, key_env="LAB_KEY")
    assert key not in str(caught.value) and "sk" not in str(caught.value)


@pytest.mark.few(4)
@pytest.mark.parametrize("status", mostly_slow([301, 302, 303, 307, 308], [302, 307]))
@pytest.mark.parametrize("other", ["another port", "another name", "no scheme", "a password"])
def test_a_redirect_to_another_server_sends_it_nothing(either_transport: str, status: int, other: str) -> None:
    with HostileServer(lambda text: "stolen") as thief, HostileServer(lambda text: "yes") as server:
        there = {
            "another port": f"{thief.url}/chat/completions",
            "another name": f"{server.url.replace('127.0.0.1', 'localhost')}/chat/completions",
            "no scheme": f"{thief.url.removeprefix('http:')}/chat/completions",
            "a password": f"{thief.url.replace('//', f'//{KEY}@')}/chat/completions",
        }[other]
        head = HEAD.replace(b"200", str(status).encode()) + f"Location: {there}\r\n".encode()
        server.default = lambda connection, text: connection.sendall(reply(b"", head))
        server.listed = reply(b"", head)
        given = ask_once(server.url, "a picture", key=KEY, retries=2)
        assert get(server.url, key=KEY).status == status
        assert isinstance(given, str) and f"HTTP {status}: the server redirects to" in given and KEY not in given
        assert len(server.requests) == 2 and not thief.requests


def test_a_redirect_of_the_same_server_is_followed(either_transport: str) -> None:
    def behave(connection: Connection, text: str) -> None:
        is_first = len(server.requests) == 1
        head = HEAD.replace(b"200", b"307") + b"Location: /v1/elsewhere/chat/completions\r\n"
        connection.sendall(reply(b"", head) if is_first else reply(body_of("yes")))

    with HostileServer(lambda text: "yes") as server:
        server.default = behave
        given = ask_once(server.url, key=KEY)
    assert isinstance(given, Reply) and given.text == "yes"
    assert [path for path, _, _ in server.requests] == ["/v1/chat/completions", "/v1/elsewhere/chat/completions"]
    assert server.requests[1][1]["authorization"] == f"Bearer {KEY}"
    assert server.requests[0][2] == server.requests[1][2]


FORMS = {
    "as it is": KEY,
    "Bearer": f"Bearer {KEY}",
    "percent": "sk-test-0123456789%2B%2Fvery%3Dsecret",
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of Bearer": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "hex": KEY.encode().hex(),
    "capital hex": KEY.encode().hex().upper(),
    "hex with colons": KEY.encode().hex(":"),
    "all percent": "".join(f"%{ord(c):02X}" for c in KEY),
    "all percent, small": "".join(f"%{ord(c):02x}" for c in KEY),
    "percent twice": "".join(f"%25{ord(c):02X}" for c in KEY),
    "some percent": "".join(f"%{ord(c):02X}" if k % 2 else c for k, c in enumerate(KEY)),
    "entities": "".join(f"&#{ord(c)};" for c in KEY),
    "entities in hex": "".join(f"&#x{ord(c):x};" for c in KEY),
    "entities in capital hex": "".join(f"&#X{ord(c):04X};" for c in KEY),
    "entities with zeros": "".join(f"&#{ord(c):05};" for c in KEY),
    "entities twice": "".join(f"&amp;#{ord(c)};" for c in KEY),
    "named entities": KEY.replace("+", "&plus;").replace("/", "&sol;").replace("=", "&equals;"),
    "escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "escapes of escapes": "".join(f"\\\\u{ord(c):04X}" for c in KEY),
    "escapes in braces": "".join(f"\\u{{{ord(c):x}}}" for c in KEY),
    "short escapes": "".join(f"\\x{ord(c):02x}" for c in KEY),
    "octal": "".join(f"\\{ord(c):o}" for c in KEY),
    "quoted-printable": "".join(f"={ord(c):02X}" for c in KEY),
    "backslashes": KEY.replace("/", "\\/"),
    "of each a few": "".join(
        (c, f"%{ord(c):02x}", f"&#{ord(c)};", f"\\u{ord(c):04x}", f"&#x{ord(c):X};")[k % 5] for k, c in enumerate(KEY)
    ),
    **{
        f"base64 of {user!r} before": base64.b64encode(f"{user}{KEY}".encode()).decode()
        for user in ("user:", "a:", "me:", "Basic user:", "name@example.org:", '{"key": "', "x")
    },
    "base64 with more behind": base64.b64encode(f"user:{KEY}@host/path".encode()).decode(),
    "base64 for addresses, with more": base64.urlsafe_b64encode(f"ab{KEY}??>".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_comes_back_is_replaced_in_its_usual_encodings(form: str) -> None:
    text = f"before {FORMS[form]} behind"
    assert "[key]" in redactor(KEY)(text)
    assert FORMS[form] not in redactor(KEY)(text) and redactor(KEY)(text).endswith(" behind")


def test_texts_without_the_key_stay_as_they_are() -> None:
    other = KEY[:-1] + "u"
    for text in ("5 %, 3 %", "a=b&c", "&amp;#65; &lt;", r"\u0041 \frac{a}{b}", "sk-test-", other, other.encode().hex()):
        assert redactor(KEY)(text) == text
    words = base64.b64encode(b"another text, as long as one with a key in it").decode()
    assert redactor(KEY)(words) == words


@pytest.mark.parametrize(
    "piece", ["s", "%73", "%", "%25", "&#0", "&amp;", "\\", "\\u00", "sk-test-", "736b", "a b ", "="]
)
@pytest.mark.few(3)
def test_a_long_text_is_searched_in_a_second_or_two(piece: str) -> None:
    text = piece * (4_000_000 // len(piece))
    started = time.thread_time()
    assert redactor(KEY)(text) == text
    assert time.thread_time() - started < 5


@pytest.mark.parametrize("key", ["none", "EMPTY", "yes", "a", ""])
def test_a_placeholder_instead_of_a_key_changes_no_answer(key: str) -> None:
    text = "yes: none of the EMPTY spaces is a lesion"
    assert redactor(key)(text) == text
    if key:
        assert redactor(key)(f"got Bearer {key}, expected a key") == "got Bearer [key], expected a key"


@pytest.mark.few(1)
def test_a_key_in_any_field_escaped_or_not_is_in_no_part_of_a_reply(either_transport: str) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in KEY).encode()

    def behave(connection: Connection, text: str) -> None:
        whole = body_of(KEY, model=KEY, system_fingerprint=f"Bearer {KEY}", **{KEY: KEY})
        whole = whole.replace(b'"stop"', b'"%s"' % escaped).replace(
            b'"role": "assistant"', b'"refusal": "%s"' % escaped
        )
        head = HEAD.replace(b"OK", KEY.encode()) + f"X-Key: {KEY}\r\nSet-Cookie: k={KEY}\r\n".encode()
        connection.sendall(reply(whole, head))

    with HostileServer(lambda text: "yes") as server:
        server.default = behave
        given = ask_once(server.url, key=KEY)
        assert isinstance(given, Reply)
        assert (given.text, given.model, given.fingerprint) == ("[key]", "[key]", "Bearer [key]")
        assert (given.finish, given.refusal) == ("[key]", "[key]")
        for status in (200, 400, 404, 500):
            for raw in (f'{{"error": "{KEY}"}}', f'{{"error": {{"message": "no {KEY}"}}}}', KEY, f'{{"odd": "{KEY}"}}'):
                head = HEAD.replace(b"200", str(status).encode())
                server.default = lambda c, t, r=raw, h=head: c.sendall(reply(r.encode(), h))
                assert KEY not in repr(ask_once(server.url, key=KEY))


@pytest.mark.parametrize(
    ("names", "end", "is_known", "words"),
    [
        ("DNS:localhost,IP:127.0.0.1", "20491231000000Z", False, "self-signed certificate"),
        ("DNS:localhost,IP:127.0.0.1", "20200301000000Z", True, "certificate has expired"),
        ("DNS:example.org", "20491231000000Z", True, "127.0.0.1"),
        ("DNS:localhost,IP:127.0.0.1", "20491231000000Z", True, ""),
    ],
    ids=["unknown", "expired", "another name", "valid"],
)
@pytest.mark.few(3)
def test_a_certificate_that_is_not_valid_is_one_paragraph_about_it(
    either_transport: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    names: str,
    end: str,
    is_known: bool,
    words: str,
) -> None:
    pem = self_signed(tmp_path / "own", names, end)
    if is_known:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with HostileServer(lambda text: "yes", tls=context(pem)) as server:
        if not words:
            given = ask_once(server.url, key=KEY)
            assert isinstance(given, Reply) and given.text == "yes"
            return
        with pytest.raises(EngineError, match=r"^TLS: the certificate of 127.*SSL_CERT_FILE") as caught:
            get(server.url, key=KEY)
        failed = ask_once(server.url, key=KEY, retries=3)
        assert not server.requests, "nothing was sent"
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(failed, str) and failed.startswith("TLS: the certificate of 127.0.0.1:") and words in failed


def test_a_server_without_tls_under_https_is_said(either_transport: str) -> None:
    with HostileServer(lambda text: "yes") as server:
        failed = ask_once(server.url.replace("http:", "https:"))
    assert isinstance(failed, str) and "TLS: no secure connection" in failed
