"""Servers that a process speaks to: recorded, and refused with offline=true."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from evalkit.core import network
from evalkit.core.errors import ConfigError
from evalkit.core.network import SWITCHES, Refused, begin_with, contacted, watched


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server of this machine that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def by_socket(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=5).close()


def by_asyncio(host: str, port: int) -> None:
    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    asyncio.run(connect())


@pytest.mark.parametrize("connect", [by_socket, by_asyncio])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_is_recorded_by_the_name_that_was_asked_for(connect: object, host: str, port: int) -> None:
    with watched() as contacts:
        connect(host, port)  # type: ignore[operator]
        assert contacted() == contacts.listed == [f"{host}:{port}"]
    assert contacted() is None


@pytest.mark.parametrize("connect", [by_socket, by_asyncio])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_offline_refuses_every_server_and_local_those_of_other_machines(connect: object, host: str, port: int) -> None:
    with watched(True) as contacts:
        with pytest.raises(Refused):
            connect(host, port)  # type: ignore[operator]
        assert contacts.listed == []
    with watched("local"):
        connect(host, port)  # type: ignore[operator]
    connect(host, port)  # type: ignore[operator]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org", "localhost.example.org"])
@pytest.mark.parametrize("offline", [True, "local"])
def test_a_server_elsewhere_is_refused_before_its_name_is_looked_up(host: str, offline: bool | str) -> None:
    with watched(offline) as contacts:
        with pytest.raises(Refused):
            socket.create_connection((host, 443), timeout=1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(Refused):
            datagrams.sendto(b"x", ("192.0.2.1", 53))
        assert contacts.listed == []


def test_a_client_is_told_before_it_sends_anything() -> None:
    begin_with("https://api.example.org/v1", "engine=server")
    with watched() as contacts:
        begin_with("https://api.example.org/v1", "engine=server")
        begin_with("http://[::1]:8000/v1", "engine=server")
        assert contacts.listed == ["::1:8000", "api.example.org:443"]
    with watched("local"):
        begin_with("http://127.0.0.1:8000/v1", "judge 'x'")
        with pytest.raises(ConfigError, match=r"judge 'x' would speak to api\.example\.org:443"):
            begin_with("https://api.example.org/v1", "judge 'x'")
    with watched(True), pytest.raises(ConfigError, match="offline=local allows servers of this machine"):
        begin_with("http://127.0.0.1:8000/v1", "engine=server")


def test_switches_of_libraries_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCHES[0], "0")
    monkeypatch.delenv(SWITCHES[1], raising=False)
    with watched(True):
        assert all(os.environ[name] == "1" for name in SWITCHES)
    assert os.environ[SWITCHES[0]] == "0" and SWITCHES[1] not in os.environ


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="true, false or local"), watched("never"):
        pass


def test_at_the_end_of_the_process_files_are_removed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_State", None)  # as Python leaves it, before temporary folders are removed
    network._hook("os.remove", ("file", -1))
