"""Choice of the HTTP transport below the openai SDK."""

from __future__ import annotations

import pytest

from evalkit.clients import openai_client, transport


def use_transport(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients use aiohttp, or the SDK's default transport, as where aiohttp is not installed."""
    for module in (transport, openai_client):
        monkeypatch.setattr(module, "has_aiohttp", lambda: name == "aiohttp")
