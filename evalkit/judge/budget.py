"""Cost of judging: the estimate before the first call, and the budget that calls are kept within.

An unknown price is None and never zero.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from evalkit.clients.response import Reply
from evalkit.judge.config import JudgeConfig
from evalkit.judge.journal import REPLIED
from evalkit.judge.plan import Plan
from evalkit.runs.schema import Judgment

# English text under current tokenizers: about four characters a token, and seldom fewer than three.
TYPICAL_CHARACTERS_PER_TOKEN = 4.0
FEWEST_CHARACTERS_PER_TOKEN = 3.0
TYPICAL_OUTPUT_TOKENS = 120


class Tokens(NamedTuple):
    """Numbers of tokens: prompt, reply."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Expected cost before the first call.

    calls: to be made.  known: judgments that are already there.  tokens_out_max, usd_max: upper bounds.  usd, usd_max,
    price_date: None where the price is unknown.
    """

    calls: int
    known: int
    tokens_in: int
    tokens_out: int
    tokens_out_max: int
    usd: float | None
    usd_max: float | None
    price_date: str | None

    def sentence(self) -> str:
        """One line for the user."""
        head = f"judge: {self.calls} calls to make, {self.known} judgments already there"
        if not self.calls:
            return f"{head}; nothing to pay"
        tokens = f"about {self.tokens_in:,} tokens in and {self.tokens_out:,} out (at most {self.tokens_out_max:,} out)"
        if self.usd is None or self.usd_max is None:
            return f"{head}; {tokens}; price unknown"
        return f"{head}; {tokens}; about {self.usd:.2f} USD, at most {self.usd_max:.2f} (prices of {self.price_date})"


def estimate(plan: Plan, keys: Iterable[str]) -> Estimate:
    """The expected cost of the calls `keys`, from the length of their text; assumes replies of 120 tokens."""
    config = plan.config
    n, typical_in, max_in = 0, 0, 0
    for key in keys:
        n += 1
        length, images = plan.characters(key), plan.n_images(key) * config.image_tokens
        typical_in += math.ceil(length / TYPICAL_CHARACTERS_PER_TOKEN) + images
        max_in += math.ceil(length / FEWEST_CHARACTERS_PER_TOKEN) + images
    out, max_out = n * min(TYPICAL_OUTPUT_TOKENS, config.max_output_tokens), n * config.max_output_tokens
    return Estimate(
        calls=n,
        known=plan.n_slots - sum(len(plan.calls[k]) for k in keys),
        tokens_in=typical_in,
        tokens_out=out,
        tokens_out_max=max_out,
        usd=price_of(config, typical_in, out),
        usd_max=price_of(config, max_in, max_out),
        price_date=str(config.price["date"]) if config.price else None,
    )


def price_of(config: JudgeConfig, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """Price of tokens in US dollars; None where the price or the count is unknown."""
    if config.price is None or tokens_in is None or tokens_out is None:
        return None
    factor = float(config.price.get("batch_factor", 1.0)) if config.transport == "batch" else 1.0
    return factor * (tokens_in * float(config.price["input"]) + tokens_out * float(config.price["output"])) / 1e6


def max_tokens_of(plan: Plan, key: str) -> Tokens:
    """Upper bound of a call's tokens, which the budget reserves for it."""
    text = math.ceil(plan.characters(key) / FEWEST_CHARACTERS_PER_TOKEN)
    return Tokens(text + plan.n_images(key) * plan.config.image_tokens, plan.config.max_output_tokens)


def tokens_spent(judgments: Iterable[Judgment]) -> Tokens:
    """Tokens that earlier sessions paid for a plan's judgments; a reply that fills two slots counts once."""
    paid = {j.key: j.usage for j in judgments if j.status in REPLIED and not j.cached}
    usages = [usage for usage in paid.values() if usage is not None]
    return Tokens(sum(u.tokens_in or 0 for u in usages), sum(u.tokens_out or 0 for u in usages))


@dataclass(slots=True)
class Budget:
    """Keeps calls within the budget: each one reserves its upper bound and returns what it did not use.

    Where a server counts more tokens than the length of the text suggested, later calls reserve more by that factor.
    exhausted: message why the next call must not be made; empty until then.
    """

    config: JudgeConfig
    tokens_in: int = 0
    tokens_out: int = 0
    exhausted: str = ""
    _factor: float = 1.0
    _reserved_in: int = 0
    _reserved_out: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.config.budget_usd is not None or self.config.budget_tokens is not None

    async def reserve(self, limit: Tokens) -> Tokens | None:
        """Reserve a call's upper bound; None when it does not fit even after all other calls have ended."""
        async with self._changed:
            while not self._fits(reserved := Tokens(math.ceil(limit.tokens_in * self._factor), limit.tokens_out)):
                if self.exhausted or not (self._reserved_in or self._reserved_out):
                    self.exhausted = self.exhausted or self._message()
                    self._changed.notify_all()
                    return None
                await self._changed.wait()
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

    def _fits(self, call: Tokens) -> bool:
        tokens_in = self.tokens_in + self._reserved_in + call.tokens_in
        tokens_out = self.tokens_out + self._reserved_out + call.tokens_out
        if self.config.budget_tokens is not None and tokens_in + tokens_out > self.config.budget_tokens:
            return False
        if self.config.budget_usd is None:
            return True
        usd = price_of(self.config, tokens_in, tokens_out)
        return usd is not None and usd <= self.config.budget_usd

    def _message(self) -> str:
        usd = price_of(self.config, self.tokens_in, self.tokens_out)
        paid = "" if usd is None else f" ({usd:.4f} USD)"
        limits = [f"{self.config.budget_usd:g} USD"] if self.config.budget_usd is not None else []
        limits += [f"{self.config.budget_tokens} tokens"] if self.config.budget_tokens is not None else []
        return (
            f"the budget of {' and '.join(limits)} is used up: this run has used "
            f"{self.tokens_in + self.tokens_out} tokens{paid} so far, and the next call could exceed it"
        )
