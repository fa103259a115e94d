"""What a batch of prompts is computed for: new tokens here, log-probabilities in `evalkit.engines.loglikelihood`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from evalkit.core.types import Prediction
from evalkit.engines import plain_decode, prefix_check, prefix_decode, shared_prefix
from evalkit.engines.loaded_model import NOT_FINITE, LoadedModel, make_prediction
from evalkit.engines.prefix_check import CheckResult
from evalkit.engines.preprocess import PromptGroup, PromptRow
from evalkit.engines.shared_prefix import PrefixGroup
from evalkit.engines.thought_limit import ThoughtLimit, opening_of

# The result of a row: ids of its new tokens, or log-probabilities of tokens that it has.
RowResult = list[Any]


class Decoding(Protocol):
    """How rows are answered with a shared prefix and without, and how a result becomes a prediction."""

    def find_prefix(self, loaded: LoadedModel, group: PromptGroup, *, exact: bool) -> PrefixGroup | str:
        """See `shared_prefix.find_prefix`."""
        ...

    def shared(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], *, at_once: int | None, forward_places: int | None
    ) -> list[list[RowResult]]:
        """Results by image and row; see `prefix_decode.answer`."""
        ...

    def check(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None, forward_places: int | None
    ) -> CheckResult:
        """Compare sharing with plain prompts; see `prefix_check.check`."""
        ...

    def plain(self, loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[RowResult]:
        """Results of whole prompts in one batch."""
        ...

    def is_finite(self, result: RowResult) -> bool:
        """Whether a result was computed from finite logits."""
        ...

    def prediction(self, loaded: LoadedModel, row: PromptRow, result: RowResult, seconds: float) -> Prediction:
        """The prediction of a row."""
        ...


class Generation:
    """Greedy or sampled new tokens."""

    def find_prefix(self, loaded: LoadedModel, group: PromptGroup, *, exact: bool) -> PrefixGroup | str:
        return shared_prefix.find_prefix(loaded, group, exact=exact)

    def shared(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], *, at_once: int | None, forward_places: int | None
    ) -> list[list[RowResult]]:
        return prefix_decode.answer(loaded, pack, at_once=at_once, forward_places=forward_places)

    def check(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None, forward_places: int | None
    ) -> CheckResult:
        return prefix_check.check(loaded, pack, at_once, forward_places)

    def plain(self, loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[RowResult]:
        return plain_decode.answer(loaded, rows)

    def is_finite(self, result: RowResult) -> bool:
        return NOT_FINITE not in result

    def prediction(self, loaded: LoadedModel, row: PromptRow, result: RowResult, seconds: float) -> Prediction:
        made = make_prediction(loaded, row.request, result, seconds)
        if loaded.generation.reasoning_budget is None:
            return made
        limit = ThoughtLimit(loaded, opening_of(loaded, row.ids)).replay(result)
        return replace(made, thought_forced=limit.is_forced)


GENERATION = Generation()
