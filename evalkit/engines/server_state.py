"""What a run on a server has learned and spent, kept in the run's folder for the next start of the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.clients.budget import FEWEST_CHARACTERS_PER_TOKEN, Budget, Tokens
from evalkit.clients.parameters import Parameters
from evalkit.clients.rate_limits import RateWaits
from evalkit.core.errors import StoreError
from evalkit.core.files import read_json, write_json
from evalkit.core.types import ImagePlace, Request

FILE = "server.json"
# Seconds between two writes while answers arrive: a kill forgets the cost of so many seconds.
SECONDS_BETWEEN_WRITES = 2.0
# Assumed tokens of an image before the server has counted any; budgets then follow what it counts.
IMAGE_TOKENS = 1100


@dataclass(slots=True)
class ServerState:
    """Refused parameters and spent tokens of a run.

    folder: of the run; None where there is none (a comparison of speed).  parameters, budget, waits: shared with the
    client.  provider: the preset; another one does not continue the run, whose answers it has not given.
    """

    parameters: Parameters
    budget: Budget
    waits: RateWaits
    provider: str = ""
    folder: Path | None = None
    refused: set[str] = field(default_factory=set)
    _written: float = 0.0
    _saved: dict[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    def use_folder(self, folder: Path) -> None:
        """Take over what an earlier start of the run has learned and spent.

        Raises:
            StoreError: the file is damaged, or the answers are another provider's.
        """
        self.folder = folder
        path = folder / FILE
        if not path.is_file():
            return
        content = read_json(path, "record of a server's costs")
        try:
            refused = {str(name) for name in content["refused"]}
            renamed = {str(name): str(new) for name, new in content["renamed"].items()}
            tokens = Tokens(int(content["tokens_in"]), int(content["tokens_out"]))
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise StoreError(
                f"{path} is damaged ({type(problem).__name__}): it holds what this run has spent. Restore it, or "
                "remove it if the cost of earlier starts need not count."
            ) from None
        other = content.get("provider")
        if self.provider and other and other != self.provider:
            raise StoreError(
                f"{folder} has answers of engine.provider={other}, and this command asks engine.provider="
                f"{self.provider} for a model of the same name. Give out= another folder for its answers."
            )
        self.refused |= refused & set(self.parameters.dispensable)
        self.parameters.dropped |= self.refused
        self.parameters.renamed |= renamed
        self.budget.tokens_in, self.budget.tokens_out = tokens
        self._saved = self._content()

    def note_refusals(self, given: Sequence[str]) -> None:
        """Take in what the server has refused; `given` was left out from the start."""
        self.refused |= self.parameters.dropped - set(given)

    def _content(self) -> dict[str, Any]:
        return {
            "refused": sorted(self.refused),
            "renamed": dict(sorted(self.parameters.renamed.items())),
            "tokens_in": self.budget.tokens_in,
            "tokens_out": self.budget.tokens_out,
            "usd": self.budget.spent,
            **({"provider": self.provider} if self.provider else {}),
        }

    def save(self, *, now: bool = False) -> None:
        """Write what was learned or paid, if it has changed, some time after the last write."""
        is_worth = self.provider or self.refused or self.parameters.renamed or self.budget.price is not None
        if self.folder is None or not is_worth or (content := self._content()) == self._saved:
            return
        if now or self.clock() - self._written >= SECONDS_BETWEEN_WRITES:
            write_json(self.folder / FILE, content)
            self._written, self._saved = self.clock(), content

    def sentence(self) -> str:
        """Tokens, price and waiting so far, for the progress line; empty before the first token."""
        parts = []
        if self.budget.tokens_in or self.budget.tokens_out:
            tokens = f"{self.budget.tokens_in:,} tokens in, {self.budget.tokens_out:,} out"
            parts.append(f"{tokens}, {self.price()}")
        return "; ".join(filter(None, [*parts, self.waits.sentence()]))

    def record(self) -> dict[str, Any]:
        """What all starts of the run have spent, and what the server's rate limit has cost this one."""
        price = self.budget.price
        return {
            "prompt_tokens": self.budget.tokens_in,
            "answer_tokens": self.budget.tokens_out,
            "usd": self.budget.spent,
            "usd_per_million": None if price is None else [price.input, price.output],
            "prices_of": None if price is None else price.date or "the user",
            "budget_usd": self.budget.usd,
            "rate_limited": self.waits.n,
            "seconds_waited_for_rate": round(self.waits.seconds, 1),
        }

    def price(self) -> str:
        """What was spent, in words."""
        usd, price = self.budget.spent, self.budget.price
        if usd is None or price is None:
            return "price unknown"
        return f"{usd:.4f} USD" + (f" (prices of {price.date})" if price.date else "")


def upper_bound(request: Request) -> Tokens:
    """Upper bound of a call's tokens, which a budget reserves for it."""
    texts = [part for m in request.messages for part in m.content if not isinstance(part, ImagePlace)]
    characters = sum(map(len, texts))
    prompt = math.ceil(characters / FEWEST_CHARACTERS_PER_TOKEN) + IMAGE_TOKENS * len(request.images)
    return Tokens(prompt, request.generation.most_new_tokens)
