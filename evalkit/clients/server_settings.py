"""Settings of a server: its address and the name of the variable with its key, checked before any request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from evalkit.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Paths and headers of an interface that differs from OpenAI's own.

    chat_path: below the address; {model} is the model's id.  query: added to each path.  key_header: the header with
    the key; a bearer token in `Authorization`, the bare key in any other.
    """

    chat_path: str = "/chat/completions"
    query: Mapping[str, str] = field(default_factory=dict)
    key_header: str = "Authorization"

    def chat(self, model: str) -> str:
        """The path of a call."""
        return self.path(self.chat_path.replace("{model}", quote(model, safe="")))

    def path(self, path: str) -> str:
        """A path with the query."""
        return f"{path}?{urlencode(self.query)}" if self.query else path


ADDRESS = "http://HOST:PORT/v1"


def check_url(url: str | None, setting: str, caller: str, address: str = "") -> None:
    """Raise ConfigError unless `url` is the address of a server and contains no credentials.

    address: how the address is given with this caller's preset; empty without one.
    """
    try:
        parts = urlsplit(url or "")
        _ = parts.port  # read, because a port out of range raises only then
    except ValueError as problem:
        raise ConfigError(f"{setting} is no address ({problem}); expected {ADDRESS}.") from None
    if not url:
        known = address or f"set {setting}={ADDRESS} to the address of an OpenAI-compatible server"
        raise ConfigError(f"{caller} has no server; {known}.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Not shown: what stands before the host may be a password.
        raise ConfigError(
            f"{setting} is no address: it does not begin with http://HOST or https://HOST. Expected {ADDRESS}."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
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
