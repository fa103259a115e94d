"""Log-probabilities of a request's continuations: with shared prefixes, without, the check between both, predictions.

Without a shared prefix the model is asked through transformers' `generate`, which is made to choose the tokens of the
continuation: this is how each model family itself goes on from a prompt, those included whose prompts are not causal.
The log-probabilities are the model's own, before any setting of generation (suppressed tokens, penalties).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from evalkit.core.option_scores import highest, normalised
from evalkit.core.types import Generation, OptionScore, Prediction, Request
from evalkit.engines import option_tree, plain_decode, prefix_check, shared_prefix
from evalkit.engines.loaded_model import Counters, LoadedModel, failed_prediction
from evalkit.engines.option_tree import log_probabilities
from evalkit.engines.prefix_check import (
    FLOAT32_TOLERANCE,
    HALF_BATCHING_FACTOR,
    HALF_MIN_STEPS,
    NO_NUMBERS,
    CheckResult,
)
from evalkit.engines.preprocess import PromptGroup, PromptRow
from evalkit.engines.shared_prefix import PrefixGroup

NOT_FINITE = (
    "the model's logits are NaN or infinite, or give a token of an option no probability: its weights hold such "
    "values, or they overflow in its dtype (engine.dtype=float32 shows which)"
)


def no_generation(given: Generation) -> Generation:
    """The decoding settings of requests that generate nothing: of a model's own, the switch of its chat template."""
    return Generation(max_new_tokens=1, reasoning=given.reasoning)


class Forced(NamedTuple):
    """Log-probabilities of a row's continuation, and the largest absolute logit."""

    logprobs: list[float]
    largest: float


class LogLikelihood:
    """The log-probabilities of the tokens of each row's continuation; see `evalkit.engines.decoding.Decoding`."""

    def find_prefix(self, loaded: LoadedModel, group: PromptGroup, *, exact: bool) -> PrefixGroup | str:
        """The common prefix, which ends before the last token of every prompt: its logits are needed."""
        at_most = min(row.start for row in group.rows) - 1
        return shared_prefix.find_prefix(loaded, group, exact=exact, at_most=at_most)

    def shared(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], *, at_once: int | None, forward_places: int | None
    ) -> list[list[list[Any]]]:
        return option_tree.score(loaded, pack, at_once=at_once, forward_places=forward_places)

    def check(
        self, loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None, forward_places: int | None
    ) -> CheckResult:
        return check(loaded, pack, at_once, forward_places)

    def plain(self, loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[list[Any]]:
        return [found.logprobs for found in forced(loaded, rows)]

    def is_finite(self, result: list[Any]) -> bool:
        return all(map(math.isfinite, result))

    def prediction(self, loaded: LoadedModel, row: PromptRow, result: list[Any], seconds: float) -> Prediction:
        """A prediction of one option; `Collector` joins those of a request."""
        del loaded
        return option_prediction(row.request, row.option, result, seconds)


LOG_LIKELIHOOD = LogLikelihood()


def option_prediction(request: Request, option: int, logprobs: Sequence[float], seconds: float) -> Prediction:
    """The prediction of one option from the log-probabilities of its tokens; a failure where one is not finite."""
    if not logprobs or not all(map(math.isfinite, logprobs)):
        return failed_prediction(request, NOT_FINITE, seconds=seconds)
    text = request.continuations[option]
    score = OptionScore(text=text, logprob=math.fsum(logprobs), n_tokens=len(logprobs))
    return Prediction(
        sample_id=request.sample_id,
        text=text,
        finish_reason="stop",
        n_tokens=score.n_tokens,
        seconds=seconds,
        fingerprint=request.fingerprint,
        options=(score,),
    )


def forced(loaded: LoadedModel, rows: Sequence[PromptRow], *, padding: int = 0) -> list[Forced]:
    """Log-probabilities without a shared prefix, in one batch.

    padding: places on the left of the longest prompt.
    """
    import torch

    started = time.perf_counter()
    prompts = [_prompt_of(row) for row in rows]
    wanted = [row.ids[row.start :] for row in rows]
    inputs = plain_decode.collate(loaded, prompts, padding=padding)
    width = inputs["input_ids"].shape[1]
    config = plain_decode.generation_config(
        replace(loaded, generation=Generation(max_new_tokens=max(map(len, wanted)))),
        output_logits=True,
        return_dict_in_generate=True,
    )
    # No token ends a row: `generate` takes None from the checkpoint, and a number above every id is none.
    config.eos_token_id = loaded.text_config.vocab_size
    with torch.inference_mode():
        output = loaded.model.generate(
            **inputs, generation_config=config, logits_processor=[_Forcing(wanted, width, loaded.pad_id)]
        )
    plain_decode.count_work(loaded, prompts, inputs["input_ids"], wanted)
    found = []
    for m, tokens in enumerate(wanted):
        logits = torch.stack([step[m] for step in output.logits[: len(tokens)]]).float()
        values = log_probabilities(logits, torch.tensor(tokens, device=logits.device))
        found.append(Forced(values, float(logits.abs().max())))
    loaded.counters.plain_seconds += time.perf_counter() - started
    return found


def _prompt_of(row: PromptRow) -> PromptRow:
    """A row without its continuation."""
    sequences = {name: tensor[:, : row.start] for name, tensor in row.sequences.items()}
    return replace(row, ids=row.ids[: row.start], sequences=sequences)


class _Forcing:
    """Logits processor that allows the next token of each row's continuation alone, and padding after it."""

    def __init__(self, wanted: Sequence[Sequence[int]], width: int, pad: int) -> None:
        self.wanted, self.width, self.pad = wanted, width, pad

    def __call__(self, ids: Any, scores: Any) -> Any:
        """Scores (rows, vocabulary) of 0 for the token and minus infinity for all others."""
        import torch

        step = ids.shape[1] - self.width
        tokens = [row[step] if step < len(row) else self.pad for row in self.wanted]
        chosen = torch.full_like(scores, float("-inf"))
        return chosen.scatter(1, torch.tensor(tokens, device=scores.device)[:, None], 0.0)


def check(
    loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None, forward_places: int | None
) -> CheckResult:
    """Score a pack with sharing, two of its rows without, and the same two again with a changed image.

    As in `prefix_check.check`, the changed image must move the log-probabilities by more than the tolerance.
    """
    found = option_tree.score(loaded, pack, at_once=at_once, forward_places=forward_places)
    image, numbers = prefix_check.choose_probe(pack)
    rows = [pack[image].group.rows[n] for n in numbers]
    counters, loaded.counters = loaded.counters, Counters()
    try:
        alone = [forced(loaded, [row])[0] for row in rows]
        tolerance = _tolerance(loaded, rows, alone)
        changed = option_tree.score(loaded, [prefix_check.with_changed_image(pack[image], numbers)])[0]
    finally:
        cost, loaded.counters = loaded.counters, counters
    difference = _difference([found[image][n] for n in numbers], [one.logprobs for one in alone])
    control = _difference(changed, [one.logprobs for one in alone])
    values = {"logprob_difference": difference, "tolerance": tolerance, "changed_image_difference": control}
    measurements: dict[str, Any] = {k: v if math.isfinite(v) else None for k, v in values.items()}  # for JSON
    reason = None
    if any(not math.isfinite(v) for one in alone for v in one.logprobs):
        reason = NO_NUMBERS
    elif not difference <= tolerance:
        reason = f"its log-probabilities differ from plain prompts' by {difference:.3g} (allowed {tolerance:.3g})"
    elif not control > tolerance:
        reason = f"a changed image moves the log-probabilities by only {control:.3g}, so the check could not fail"
    measurements |= {"prefill_tokens": cost.prefill_tokens, "vision_encodes": cost.vision_encodes, "options": len(rows)}
    return CheckResult(reason=reason, finite=reason != NO_NUMBERS, answers=found, measurements=measurements)


def _difference(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    """Largest absolute difference between log-probabilities; infinite where one is NaN."""
    pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    return max((abs(x - y) if math.isfinite(x) and math.isfinite(y) else math.inf for x, y in pairs), default=0.0)


def _tolerance(loaded: LoadedModel, rows: Sequence[PromptRow], alone: Sequence[Forced]) -> float:
    """As for logits in `prefix_check`."""
    import torch

    if loaded.dtype == "float32":
        return FLOAT32_TOLERANCE
    batch = forced(loaded, rows if len(rows) > 1 else [*rows, *rows], padding=8)[: len(alone)]
    batched = _difference([one.logprobs for one in batch], [one.logprobs for one in alone])
    step = torch.finfo(getattr(torch, loaded.dtype)).eps * max(one.largest for one in batch)
    return max(HALF_BATCHING_FACTOR * batched, HALF_MIN_STEPS * float(step))


class OptionRow(Protocol):
    """A prompt with one of its request's continuations."""

    @property
    def request(self) -> Request: ...

    @property
    def option(self) -> int: ...


class Whole(NamedTuple):
    """The prediction of a request, and the rows that it was made from."""

    rows: tuple[Any, ...]
    prediction: Prediction


@dataclass(slots=True)
class Collector:
    """Joins the predictions of single options: a request is answered when all of its options are."""

    _open: dict[str, dict[int, tuple[Any, Prediction]]] = field(default_factory=dict)

    def add(self, row: OptionRow, prediction: Prediction) -> Whole | None:
        """Add the prediction of an option; returns the request's once it is complete."""
        parts = self._open.setdefault(row.request.fingerprint, {})
        parts[row.option] = (row, prediction)
        if len(parts) < len(row.request.continuations):
            return None
        del self._open[row.request.fingerprint]
        found = [parts[k] for k in range(len(parts))]
        return Whole(tuple(r for r, _ in found), joined(row.request, [p for _, p in found]))


def joined(request: Request, parts: Iterable[Prediction]) -> Prediction:
    """The prediction of a request from those of its options in order; a failure if one of them failed."""
    found = list(parts)
    seconds = round(sum(part.seconds or 0.0 for part in found), 4)
    if failed := [part for part in found if part.error is not None]:
        return replace(failed[0], seconds=seconds)
    options = tuple(replace(o, logprob=round(o.logprob, 6)) for part in found for o in part.options)
    best = highest(normalised(options, "sum"))
    return Prediction(
        sample_id=request.sample_id,
        text=options[best[0]].text if len(best) == 1 else "",
        finish_reason="stop",
        n_tokens=sum(option.n_tokens for option in options),
        seconds=seconds,
        fingerprint=request.fingerprint,
        options=options,
    )
