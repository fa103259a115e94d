"""Loaded model with its decoding rules and counters, and predictions made from generated tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

from evalkit.core.errors import EngineError, first_line
from evalkit.core.reasoning import belongs_to_marks, is_thought_token
from evalkit.core.thought_tokens import thought_tokens
from evalkit.core.types import Generation, Prediction, Request

# Generation settings of a checkpoint that change which token is chosen, with their neutral values.  The greedy loop of
# `evalkit.engines.prefix_decode` applies only `suppress_tokens`; under any of these it would choose other tokens.
ALTERING: Mapping[str, tuple[Any, ...]] = {
    "bad_words_ids": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None, {}),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
    "watermarking_config": (None,),
}
# Marks, among the new token ids of an answer, the step at which the logits were not finite; no token has this id.
NOT_FINITE = -1
# If this many first samples all fail, the cause is not the samples.
MAX_INITIAL_FAILURES = 8


@dataclass(slots=True)
class Counters:
    """Counts of work done, deterministic for a given batch size; times are in seconds.

    image_decodes: images opened and preprocessed.  vision_encodes: images passed through the vision tower.
    prefix_prefills: shared prefixes computed.  prefill_tokens: prompt tokens passed through the language model, without
    padding.  decode_steps: forward passes after prefill; decode_tokens: unfinished rows summed over these passes.
    """

    image_decodes: int = 0
    vision_encodes: int = 0
    prefix_prefills: int = 0
    prefill_tokens: int = 0
    decode_steps: int = 0
    decode_tokens: int = 0
    padding_tokens: int = 0
    prepare_seconds: float = 0.0
    prefix_seconds: float = 0.0
    question_seconds: float = 0.0
    decode_seconds: float = 0.0
    plain_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class LoadedModel:
    """Model with its processor and decoding rules.

    ends: token ids that end an answer.  arguments: parameter names of the model's forward.  generation: requested
    decoding settings.  faster_prefill: makes the context in which prefixes are computed.
    """

    model: Any
    processor: Any
    device: str
    dtype: str
    generation: Generation
    counters: Counters = field(default_factory=Counters)
    ends: frozenset[int] = frozenset()
    arguments: frozenset[str] = frozenset()
    faster_prefill: Callable[[], AbstractContextManager[None]] = nullcontext

    def __post_init__(self) -> None:
        import inspect

        self.ends = end_token_ids(self.model.generation_config, self.processor.tokenizer)
        self.arguments = frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def text_config(self) -> Any:
        """Configuration of the language model."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def pad_id(self) -> int:
        """Token id for padding, which no token attends to."""
        pad = self.processor.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.ends, default=0)

    @property
    def image_token_id(self) -> int | None:
        """Id of the image placeholder token; None if the configuration has none."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            if (value := getattr(config, name, None)) is not None:
                return int(value)
        return None

    def on_device(self, tensor: Any) -> Any:
        """Move a tensor to the model's device; floating-point tensors are cast to the model's dtype."""
        import torch

        if tensor.is_floating_point():
            return tensor.to(self.device, getattr(torch, self.dtype))
        return tensor.to(self.device)

    def suppressed(self) -> list[int]:
        """Token ids that must never be generated, by the checkpoint's generation settings."""
        return suppressed_tokens(self.model.generation_config)

    def altering(self) -> list[str]:
        """Names of the checkpoint's settings that change which token is chosen, beyond `suppress_tokens`."""
        return altering_settings(self.model.generation_config)


class AnswerRules(Protocol):
    """Part of a model that turns token ids into answers: a `LoadedModel`, or a model that runs elsewhere."""

    @property
    def processor(self) -> Any: ...

    @property
    def generation(self) -> Generation: ...

    @property
    def ends(self) -> frozenset[int]: ...


class TrimmedAnswer(NamedTuple):
    """Token ids of an answer without its end token, and whether it ended before the limit of new tokens."""

    ids: list[int]
    ended: bool


def end_token_ids(config: Any, tokenizer: Any) -> frozenset[int]:
    """Token ids that end an answer, from a checkpoint's GenerationConfig and its tokenizer."""
    ids = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def suppressed_tokens(config: Any) -> list[int]:
    """Token ids that must never be generated, from a checkpoint's GenerationConfig."""
    return [int(i) for i in (config.suppress_tokens or ())]


def altering_settings(config: Any) -> list[str]:
    """Settings in a checkpoint's GenerationConfig that change which token is chosen, beyond `suppress_tokens`."""
    return sorted(name for name, neutral in ALTERING.items() if getattr(config, name, None) not in neutral)


def trim_answer(rules: AnswerRules, ids: Sequence[int]) -> TrimmedAnswer:
    """Cut the new tokens of a row at the end token, or where the first stop string is complete.

    Tokens after that point belong to the batch, whose other rows were longer.
    """
    length = next((i for i, token in enumerate(ids) if token in rules.ends), None)
    kept = list(ids if length is None else ids[:length])
    if rules.generation.stop:
        for end in range(1, len(kept) + 1):
            if contains_stop(rules, kept[:end]):
                return TrimmedAnswer(kept[:end], True)
    return TrimmedAnswer(kept, length is not None)


def contains_stop(rules: AnswerRules, ids: Sequence[int]) -> bool:
    """Whether the text of these tokens contains one of the stop strings."""
    text = rules.processor.tokenizer.decode(ids, skip_special_tokens=True)
    return any(stop in text for stop in rules.generation.stop)


def has_ended(rules: AnswerRules, ids: Sequence[int]) -> bool:
    """Whether the newest of an answer's tokens ends it: an end token, or one that completes a stop string."""
    return ids[-1] in rules.ends or (bool(rules.generation.stop) and contains_stop(rules, ids))


def make_prediction(rules: AnswerRules, request: Request, ids: Sequence[int], seconds: float) -> Prediction:
    """Make a prediction from the new tokens of a row; `seconds` is the sample's share of its batch.

    An answer that had not ended when its logits became NaN or infinite is a failure: no token was the most likely one.
    """
    finite = ids[: ids.index(NOT_FINITE)] if NOT_FINITE in ids else ids
    answer = trim_answer(rules, finite)
    if len(finite) < len(ids) and not answer.ended:
        return failed_prediction(request, not_finite_reason(len(finite)), seconds=round(seconds, 4))
    text = whole = decode_answer(rules.processor.tokenizer, answer.ids)
    for stop in rules.generation.stop:
        text = text.split(stop)[0]
    return Prediction(
        sample_id=request.sample_id,
        text=text.strip(),
        finish_reason="stop" if answer.ended else "length",
        n_tokens=len(answer.ids),
        seconds=round(seconds, 4),
        fingerprint=request.fingerprint,
        thought_tokens=thought_tokens(answer.ids, whole, partial(decode_answer, rules.processor.tokenizer)),
    )


def not_finite_reason(step: int) -> str:
    """Reason of a failure by logits that are NaN or infinite, after `step` tokens."""
    return (
        f"the model's logits are NaN or infinite at token {step + 1} of the answer: its weights hold such values, or "
        "they overflow in its dtype (engine.dtype=float32 shows which)"
    )


def decode_answer(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode an answer without special tokens, except those that mark a thought.

    Some tokenizers mark a thought with special tokens (`[THINK]`, harmony channels); without them the thought would
    look like the answer.
    """
    special = _special_tokens(tokenizer)
    if not any(is_thought_token(special[i]) for i in set(ids) if i in special):
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text
    kept = [i for i in ids if i not in special or belongs_to_marks(special[i])]
    text = tokenizer.decode(kept, skip_special_tokens=False)
    return text


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> Mapping[int, str]:
    """The special tokens of a tokenizer by id."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    return {int(i): str(token.content) for i, token in added.items() if token.special}


def prediction_of_error(request: Request, problem: Exception) -> Prediction:
    """Make the prediction of a request that failed with an exception."""
    return failed_prediction(request, f"{type(problem).__name__}: {first_line(problem)}")


def failed_prediction(
    request: Request,
    reason: str,
    attempts: Sequence[str] = (),
    seconds: float | None = None,
    n_tokens: int | None = None,
) -> Prediction:
    """Make the prediction of a request without an answer."""
    return Prediction(
        sample_id=request.sample_id,
        error=reason,
        finish_reason="error",
        n_tokens=n_tokens,
        seconds=seconds,
        fingerprint=request.fingerprint,
        attempts=tuple(attempts),
    )


@dataclass(slots=True)
class Tally:
    """Numbers of answered and failed samples."""

    answered: int = 0
    failed: int = 0

    def add(self, name: str, predictions: Iterable[Prediction]) -> None:
        """Count predictions of the model `name`.

        Raises:
            EngineError: the first `MAX_INITIAL_FAILURES` samples or more all failed.
        """
        errors = []
        for given in predictions:
            if given.error is None:
                self.answered += 1
            else:
                errors.append(given.error)
        self.failed += len(errors)
        if not self.answered and self.failed >= MAX_INITIAL_FAILURES:
            raise EngineError(
                f"{name}: the first {self.failed} samples all failed, the last with: {errors[-1]}. "
                "Check that the model, its processor and its chat template fit the task's requests."
            )
