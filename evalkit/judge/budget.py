"""Cost of judging: the estimate before the first call, and the judge's budget.

An unknown price is None and never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.clients.budget import FEWEST_CHARACTERS_PER_TOKEN, Budget, Price, Tokens
from evalkit.judge.config import JudgeConfig
from evalkit.judge.journal import REPLIED
from evalkit.judge.plan import Plan
from evalkit.runs.schema import Judgment

# English text under current tokenizers: about four characters a token.
TYPICAL_CHARACTERS_PER_TOKEN = 4.0
TYPICAL_OUTPUT_TOKENS = 120


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
        typical_in += config.rounds * (math.ceil(length / TYPICAL_CHARACTERS_PER_TOKEN) + images)
        max_in += max_tokens_of(plan, key).tokens_in
    replies = n * config.rounds
    out, max_out = replies * min(TYPICAL_OUTPUT_TOKENS, config.max_output_tokens), replies * config.max_output_tokens
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
    return Price.of(config.price).usd(Tokens(tokens_in, tokens_out), batch=config.transport == "batch")


def max_tokens_of(plan: Plan, key: str) -> Tokens:
    """Upper bound of a call's tokens, which the budget reserves for it."""
    text = math.ceil(plan.characters(key) / FEWEST_CHARACTERS_PER_TOKEN)
    config, images = plan.config, plan.n_images(key) * plan.config.image_tokens
    # A later round sends the prompt again, with the replies before it and the text that asks once more.
    more = config.max_output_tokens + math.ceil(len(config.again) / FEWEST_CHARACTERS_PER_TOKEN)
    rounds = config.rounds
    return Tokens(rounds * (text + images) + more * (rounds * (rounds - 1) // 2), rounds * config.max_output_tokens)


def tokens_spent(judgments: Iterable[Judgment]) -> Tokens:
    """Tokens that earlier sessions paid for a plan's judgments; a reply that fills two slots counts once."""
    paid = {j.key: j.usage for j in judgments if j.status in REPLIED and not j.cached}
    usages = [usage for usage in paid.values() if usage is not None]
    return Tokens(sum(u.tokens_in or 0 for u in usages), sum(u.tokens_out or 0 for u in usages))


def budget_of(config: JudgeConfig, spent: Tokens) -> Budget:
    """The budget of a judge, of which earlier sessions have used `spent`."""
    return Budget(
        price=Price.of(config.price) if config.price else None,
        usd=config.budget_usd,
        tokens=config.budget_tokens,
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        is_batch=config.transport == "batch",
    )
