"""What judging costs: said before the first call, and held to a budget while it goes on.

"Unknown" is a word of its own here: a price that nobody gave is not zero.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.clients.response import Reply
from evalkit.judge.config import JudgeConfig
from evalkit.judge.journal import REPLIED
from evalkit.judge.plan import Plan

# English text under today's tokenizers: about four characters a token, and seldom fewer than three.
LIKELY_CHARACTERS = 4.0
CAUTIOUS_CHARACTERS = 3.0
LIKELY_OUTPUT_TOKENS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Before the first call: how many calls, tokens and (where the price is known) US dollars."""

    calls: int
    known: int
    tokens_in: int
    tokens_out: int
    tokens_out_most: int
    usd: float | None
    usd_most: float | None
    price_date: str | None

    def sentence(self) -> str:
        """One line for the user."""
        head = f"judge: {self.calls} calls to make, {self.known} judgments already there"
        if not self.calls:
            return f"{head}; nothing to pay"
        tokens = (
            f"about {self.tokens_in:,} tokens in and {self.tokens_out:,} out (at most {self.tokens_out_most:,} out)"
        )
        if self.usd is None or self.usd_most is None:
            return f"{head}; {tokens}; price unknown"
        return f"{head}; {tokens}; about {self.usd:.2f} USD, at most {self.usd_most:.2f} (prices of {self.price_date})"


def estimate(plan: Plan, keys: Iterable[str]) -> Estimate:
    """What the calls of `keys` will take, from the length of their text; replies are guessed at 120 tokens."""
    config = plan.config
    n, likely, most_in = 0, 0, 0
    for key in keys:
        n += 1
        length, images = plan.characters(key), plan.n_images(key) * config.image_tokens
        likely += math.ceil(length / LIKELY_CHARACTERS) + images
        most_in += math.ceil(length / CAUTIOUS_CHARACTERS) + images
    out, most_out = n * min(LIKELY_OUTPUT_TOKENS, config.max_output_tokens), n * config.max_output_tokens
    return Estimate(
        calls=n,
        known=plan.n_slots - sum(len(plan.calls[k]) for k in keys),
        tokens_in=likely,
        tokens_out=out,
        tokens_out_most=most_out,
        usd=price_of(config, likely, out),
        usd_most=price_of(config, most_in, most_out),
        price_date=str(config.price["date"]) if config.price else None,
    )


def price_of(config: JudgeConfig, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """US dollars for counted tokens; None where the price or the count is unknown."""
    if config.price is None or tokens_in is None or tokens_out is None:
        return None
    factor = float(config.price.get("batch_factor", 1.0)) if config.transport == "batch" else 1.0
    return factor * (tokens_in * float(config.price["input"]) + tokens_out * float(config.price["output"])) / 1e6


def most_tokens(plan: Plan, key: str) -> tuple[int, int]:
    """The most that a call can take, in and out: what the budget sets aside for it."""
    text = math.ceil(plan.characters(key) / CAUTIOUS_CHARACTERS)
    return text + plan.n_images(key) * plan.config.image_tokens, plan.config.max_output_tokens


def spent_before(records: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Tokens (in, out) that earlier sessions paid for a plan's judgments; a reply that fills two slots counts once."""
    paid = {r["key"]: r for r in records if r["status"] in REPLIED and not r["cached"]}
    return (
        sum(r["usage"]["tokens_in"] or 0 for r in paid.values()),
        sum(r["usage"]["tokens_out"] or 0 for r in paid.values()),
    )


@dataclass(slots=True)
class Budget:
    """Keeps calls within the budget: each sets aside the most it can take, and gives back what it did not.

    Where a server counts more tokens than the text's length promised, later calls set aside more by that factor.
    `exhausted` says in words why the next call may not be made.
    """

    config: JudgeConfig
    tokens_in: int = 0
    tokens_out: int = 0
    exhausted: str = ""
    _factor: float = 1.0
    _aside_in: int = 0
    _aside_out: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.config.budget_usd is not None or self.config.budget_tokens is not None

    async def take(self, most: tuple[int, int]) -> tuple[int, int] | None:
        """Set aside the most that a call can take; None when it does not fit even after all others have ended."""
        async with self._changed:
            while not self._fits(aside := (math.ceil(most[0] * self._factor), most[1])):
                if self.exhausted or not (self._aside_in or self._aside_out):
                    self.exhausted = self.exhausted or self._sentence()
                    self._changed.notify_all()
                    return None
                await self._changed.wait()
            self._aside_in += aside[0]
            self._aside_out += aside[1]
            return aside

    async def settle(self, aside: tuple[int, int], most: tuple[int, int], reply: Reply | None) -> None:
        """Count what a call took.  A reply without a count is taken to have cost all that was set aside."""
        async with self._changed:
            self._aside_in -= aside[0]
            self._aside_out -= aside[1]
            if reply is not None:
                self.tokens_in += aside[0] if reply.tokens_in is None else reply.tokens_in
                self.tokens_out += aside[1] if reply.tokens_out is None else reply.tokens_out
                self._factor = max(self._factor, (reply.tokens_in or 0) / max(most[0], 1))
            self._changed.notify_all()

    def _fits(self, most: tuple[int, int]) -> bool:
        tokens_in = self.tokens_in + self._aside_in + most[0]
        tokens_out = self.tokens_out + self._aside_out + most[1]
        if self.config.budget_tokens is not None and tokens_in + tokens_out > self.config.budget_tokens:
            return False
        if self.config.budget_usd is None:
            return True
        usd = price_of(self.config, tokens_in, tokens_out)
        return usd is not None and usd <= self.config.budget_usd

    def _sentence(self) -> str:
        usd = price_of(self.config, self.tokens_in, self.tokens_out)
        paid = "" if usd is None else f" ({usd:.4f} USD)"
        limits = [f"{self.config.budget_usd:g} USD"] if self.config.budget_usd is not None else []
        limits += [f"{self.config.budget_tokens} tokens"] if self.config.budget_tokens is not None else []
        return (
            f"the budget of {' and '.join(limits)} is used up: {self.tokens_in + self.tokens_out} tokens{paid} were "
            "taken for this run so far, and the next call could go over it"
        )
