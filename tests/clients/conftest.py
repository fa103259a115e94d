"""Both HTTP transports of the SDK, for every test of the clients that asks for one."""

from __future__ import annotations

import pytest

from tests.support.transports import use_transport


@pytest.fixture(params=["aiohttp", "httpx"])
def either_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the transport."""
    use_transport(request.param, monkeypatch)
    return str(request.param)
