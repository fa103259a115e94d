"""engine=server with the key of a client object of the caller's, which is sent and never recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evalkit.engines.server import ServerEngine


@dataclass(frozen=True, slots=True)
class HeldKey:
    """An API key; no text of this object shows it."""

    value: str | None = field(repr=False)


class ClientEngine(ServerEngine):
    """ServerEngine whose key comes from a client object and not from the environment.

    Args:
        key: of the client.
        settings: those of ServerEngine.
    """

    def __init__(self, *, key: HeldKey, **settings: Any) -> None:
        self._held = key  # before the base class, which connects to the server
        super().__init__(**settings)

    def _key(self) -> str | None:
        return self._held.value
