"""Generated tokens with their log-probabilities, with shared prefixes and without (`confidence=true`).

The log-probability of a token is that of the model's own distribution at its step, without the tokens that the
checkpoint's settings suppress.  Greedy decoding alone: `evalkit.pipeline.inputs` refuses other settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evalkit.core.types import Prediction
from evalkit.engines import plain_decode, prefix_check, prefix_decode
from evalkit.engines.decoding import Generation, RowResult
from evalkit.engines.loaded_model import NOT_FINITE, Counters, LoadedModel, make_prediction, trim_answer
from evalkit.engines.prefix_check import CheckResult
from evalkit.engines.preprocess import PromptRow
from evalkit.engines.shared_prefix import PrefixGroup


class GenerationWithProbability(Generation):
    """New tokens as pairs (id, log-probability); see `evalkit.engines.decoding.Decoding`."""

    def shared(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], *, at_once: int | None, forward_places: int | None
    ) -> list[list[RowResult]]:
        import torch

        chosen: dict[tuple[int, int], list[Any]] = {}
        suppressed = loaded.suppressed()

        def record(image: int, number: int, logits: Any) -> None:
            if suppressed:
                logits = logits.index_fill(0, torch.tensor(suppressed, device=logits.device), -math.inf)
            chosen.setdefault((image, number), []).append(logits.max() - logits.logsumexp(dim=-1))

        found = prefix_decode.answer(loaded, pack, at_once=at_once, forward_places=forward_places, record=record)
        return [
            [list(zip(ids, torch.stack(chosen[m, n]).tolist(), strict=True)) for n, ids in enumerate(image)]
            for m, image in enumerate(found)
        ]

    def check(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None, forward_places: int | None
    ) -> CheckResult:
        """The check, outside the run's counters, and then the answers with their probabilities."""
        counters, loaded.counters = loaded.counters, Counters()
        try:
            result = prefix_check.check(loaded, pack, at_once, forward_places)
        finally:
            loaded.counters = counters
        answers = self.shared(loaded, pack, at_once=at_once, forward_places=forward_places)
        return replace(result, answers=answers)

    def plain(self, loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[RowResult]:
        return [list(row) for row in plain_decode.answer_with_probabilities(loaded, rows)]

    def is_finite(self, result: RowResult) -> bool:
        return all(token != NOT_FINITE for token, _ in result)

    def prediction(self, loaded: LoadedModel, row: PromptRow, result: RowResult, seconds: float) -> Prediction:
        """The prediction, with the sum over its tokens and the token that ended it."""
        ids = [token for token, _ in result]
        made = make_prediction(loaded, row.request, ids, seconds)
        n = len(trim_answer(loaded, ids).ids)
        n += n < len(ids) and ids[n] in loaded.ends
        total = math.fsum(value for _, value in result[:n])
        if made.error is not None or not n or not math.isfinite(total):
            return made
        return replace(made, logprob=min(0.0, round(total, 6)))


WITH_PROBABILITY = GenerationWithProbability()
