"""Cost of calls: prices of tokens, and the budget that calls are kept within.  Shared by judges and engine=server.

An unknown price is None and never zero.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.clients.response import Reply
from evalkit.core.errors import ConfigError

# English text under current tokenizers has seldom fewer characters a token.
FEWEST_CHARACTERS_PER_TOKEN = 3.0


class Tokens(NamedTuple):
    """Numbers of tokens: prompt, reply."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price in US dollars per million tokens of the prompt (`input`) and the reply (`output`).

    date: of these prices; empty where the user gave them.  batch_factor: share of the price that a batch costs.
    """

    input: float
    output: float
    date: str = ""
    batch_factor: float = 1.0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Price:
        """Read from a YAML's mapping, whose further keys (`source`) are for readers."""
        return cls(
            input=float(content["input"]),
            output=float(content["output"]),
            date=str(content.get("date") or ""),
            batch_factor=float(content.get("batch_factor", 1.0)),
        )

    def usd(self, tokens: Tokens, *, batch: bool = False) -> float:
        """The price of some tokens."""
        factor = self.batch_factor if batch else 1.0
        return factor * (tokens.tokens_in * self.input + tokens.tokens_out * self.output) / 1e6


@dataclass(slots=True, kw_only=True)
class Budget:
    """Keeps calls within the budget: each one reserves its upper bound and returns what it did not use.

    Where a server counts more tokens than the length of the text suggested, later calls reserve more by that factor.

    price: None where it is unknown; then `usd` cannot be a limit.  usd, tokens: the limits; None for none.
    tokens_in, tokens_out: used so far.  is_batch: batch prices apply.  exhausted: message why the next call must not be
    made; empty until then.
    """

    price: Price | None = None
    usd: float | None = None
    tokens: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    is_batch: bool = False
    exhausted: str = ""
    _factor: float = 1.0
    _reserved_in: int = 0
    _reserved_out: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.usd is not None or self.tokens is not None

    @property
    def spent(self) -> float | None:
        """US dollars used so far; None where the price is unknown."""
        return self._price_of(self.tokens_in, self.tokens_out)

    def count(self, reply: Reply) -> None:
        """Count the tokens of a call that reserved nothing."""
        self.tokens_in += reply.tokens_in or 0
        self.tokens_out += reply.tokens_out or 0

    def check_whole(self, limit: Tokens) -> None:
        """Check that all calls together fit, where their cost is known only when all have ended (a batch).

        Raises:
            ConfigError: they could cost more than the budget.
        """
        usd = self._price_of(self.tokens_in + limit.tokens_in, self.tokens_out + limit.tokens_out)
        if self.usd is not None and usd is not None and usd > self.usd:
            raise ConfigError(
                f"These requests could cost up to {usd:.4f} USD, which is more than the budget of {self.usd:g} USD, "
                "and a batch cannot be stopped in between. Nothing was written or submitted; give a larger budget, or "
                "fewer questions (limit=N)."
            )

    async def reserve(self, limit: Tokens) -> Tokens | None:
        """Reserve a call's upper bound; None when it does not fit even after all other calls have ended.

        Once one call did not fit, no other one is let through: its reply would come when nobody waits for it any more.
        """
        async with self._changed:
            while not self.exhausted and not self._fits(reserved := self._bound(limit)):
                if not (self._reserved_in or self._reserved_out):
                    self.exhausted = self._message()
                    self._changed.notify_all()
                    break
                await self._changed.wait()
            if self.exhausted:
                return None
            self._reserved_in += reserved.tokens_in
            self._reserved_out += reserved.tokens_out
            return reserved

    async def settle(self, reserved: Tokens, limit: Tokens, reply: Reply | None) -> None:
        """Count the tokens of a call.  A reply without a count is assumed to have used everything reserved."""
        async with self._changed:
            self._reserved_in -= reserved.tokens_in
            self._reserved_out -= reserved.tokens_out
            if reply is not None:
                self.tokens_in += reserved.tokens_in if reply.tokens_in is None else reply.tokens_in
                self.tokens_out += reserved.tokens_out if reply.tokens_out is None else reply.tokens_out
                self._factor = max(self._factor, (reply.tokens_in or 0) / max(limit.tokens_in, 1))
            self._changed.notify_all()

    def _bound(self, limit: Tokens) -> Tokens:
        return Tokens(math.ceil(limit.tokens_in * self._factor), limit.tokens_out)

    def _price_of(self, tokens_in: int, tokens_out: int) -> float | None:
        return None if self.price is None else self.price.usd(Tokens(tokens_in, tokens_out), batch=self.is_batch)

    def _fits(self, call: Tokens) -> bool:
        tokens_in = self.tokens_in + self._reserved_in + call.tokens_in
        tokens_out = self.tokens_out + self._reserved_out + call.tokens_out
        if self.tokens is not None and tokens_in + tokens_out > self.tokens:
            return False
        if self.usd is None:
            return True
        usd = self._price_of(tokens_in, tokens_out)
        return usd is not None and usd <= self.usd

    def _message(self) -> str:
        usd = self.spent
        paid = "" if usd is None else f" ({usd:.4f} USD)"
        limits = [f"{self.usd:g} USD"] if self.usd is not None else []
        limits += [f"{self.tokens} tokens"] if self.tokens is not None else []
        return (
            f"the budget of {' and '.join(limits)} is used up: this run has used "
            f"{self.tokens_in + self.tokens_out} tokens{paid} so far, and the next call could exceed it"
        )
