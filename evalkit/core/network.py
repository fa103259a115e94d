"""The servers that this process speaks to: recorded, and refused where a run must stay on its machine.

Python reports every connection of this process to `sys.addaudithook`.  Connections of other processes (workers of Ray
and of vLLM) and of libraries that do not use Python's sockets are not seen.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from evalkit.core.errors import ConfigError

# Values of the setting `offline`: every server is allowed; none; those of this machine.
ONLINE, OFFLINE, LOCAL = False, True, "local"
POLICIES = (ONLINE, OFFLINE, LOCAL)
# Switches of libraries that then look at their caches alone.
SWITCHES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


class Refused(PermissionError):
    """Raised by a connection that the setting `offline` does not allow."""


@dataclass(slots=True)
class Contacts:
    """The servers that were spoken to, as HOST:PORT; names: IP address -> the name that was looked up."""

    offline: bool | str = ONLINE
    hosts: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def allows(self, host: str) -> bool:
        """Whether the setting allows a server."""
        return self.offline is ONLINE or (self.offline == LOCAL and is_local(host))

    def check(self, host: str) -> None:
        """Raise Refused for a server that is not allowed."""
        if not self.allows(host):
            raise Refused(f"offline={setting_text(self.offline)} allows no connection to {host}")

    @property
    def listed(self) -> list[str]:
        """The servers, sorted."""
        return sorted(self.hosts)


class _State:
    """The contacts that connections are written to; None where nobody watches."""

    current: Contacts | None = None
    is_hooked = False


def setting_text(offline: bool | str) -> str:
    """The setting as it is written on the command line."""
    return str(offline).lower()


def is_local(host: str) -> bool:
    """Whether a server is on this machine.

    >>> is_local("127.0.0.1"), is_local("::1"), is_local("localhost"), is_local("localhost.example.org")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


@contextmanager
def watched(offline: bool | str = ONLINE) -> Iterator[Contacts]:
    """Record the servers that this process speaks to until the block ends, and refuse those that are not allowed.

    Raises:
        ConfigError: the setting has another value.
    """
    if offline not in POLICIES:
        raise ConfigError(f"offline={offline} is not possible; expected true, false or local.")
    if not _State.is_hooked:
        sys.addaudithook(_hook)  # for good: Python has no way to remove it
        _State.is_hooked = True
    contacts, before, look_up = Contacts(offline), _State.current, socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **settings: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and not _is_address(name):
            contacts.check(name)
        found = look_up(host, *arguments, **settings)
        if name:
            contacts.names.update({str(entry[4][0]): str(name) for entry in found})
        return found

    switches = {} if offline is ONLINE else {name: os.environ.get(name) for name in SWITCHES}
    os.environ.update(dict.fromkeys(switches, "1"))
    _State.current, socket.getaddrinfo = contacts, getaddrinfo
    try:
        yield contacts
    finally:
        _State.current, socket.getaddrinfo = before, look_up
        for name, value in switches.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Record or refuse a connection.  Called for every audit event of the process, so that it returns at once."""
    if event not in ("socket.connect", "socket.sendto"):
        return  # before anything of this module is read: at the end of the process, there is nothing left of it
    contacts = _State.current
    if contacts is None:
        return
    found, address = arguments[0], arguments[1]
    if not isinstance(address, tuple) or (event == "socket.connect" and found.type != socket.SOCK_STREAM):
        return  # a socket of the file system; a datagram socket, which has sent nothing yet
    host = str(address[0])
    contacts.check(host)
    contacts.hosts.add(f"{contacts.names.get(host, host)}:{address[1]}")


def begin_with(url: str, who: str) -> None:
    """Record the server of a client, or refuse it, before anything is sent; without effect where nobody watches.

    Raises:
        ConfigError: the setting `offline` does not allow it.
    """
    contacts = _State.current
    if contacts is None:
        return
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    if not contacts.allows(host):
        hint = "offline=local allows servers of this machine, offline=false all." if is_local(host) else (
            "Nothing was sent. Use offline=false where data may leave this machine, or a model on it."
        )  # fmt: skip
        setting = setting_text(contacts.offline)
        raise ConfigError(f"{who} would speak to {host}:{port}, which offline={setting} does not allow. {hint}")
    contacts.hosts.add(f"{host}:{port}")


def contacted() -> list[str] | None:
    """The servers that were spoken to so far, sorted; None where nobody watches."""
    return None if _State.current is None else _State.current.listed
