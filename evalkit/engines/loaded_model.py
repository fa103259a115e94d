"""A model that is ready to answer, what its engine counts, and the text of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evalkit.core.errors import EngineError, first_line
from evalkit.core.types import Generation, Prediction, Request

# A checkpoint's generation settings that change which token is chosen, with the values that change nothing.  The
# greedy loop of `evalkit.engines.shared_prefix` applies `suppress_tokens`; with any other it would choose differently.
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
# When the first samples all fail, the fault is not theirs.
FAULTS_BEFORE_GIVING_UP = 8


@dataclass(slots=True)
class Counters:
    """What was done, deterministic for a given batch size; times are in seconds.

    image_decodes: images opened and preprocessed.  vision_encodes: images put through the vision tower.
    prefix_prefills: shared prefixes computed.  prefill_tokens: prompt tokens put through the language model, padding
    not counted.  decode_steps: forward passes after prefill; decode_tokens: the rows of them that were still open.
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
class Loaded:
    """A model with what the answering functions need to know of it.

    ends: token ids that end an answer.  arguments: what the model's forward accepts.  generation: as asked for.
    """

    model: Any
    processor: Any
    device: str
    dtype: str
    generation: Generation
    counters: Counters = field(default_factory=Counters)
    ends: frozenset[int] = frozenset()
    arguments: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        import inspect

        self.ends = ends_of(self.model.generation_config, self.processor.tokenizer)
        self.arguments = frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def text_config(self) -> Any:
        """The language model's part of the configuration."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def pad_id(self) -> int:
        """The token id that fills places which nothing looks at."""
        pad = self.processor.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.ends, default=0)

    @property
    def image_token_id(self) -> int | None:
        """The id of the token in an image's place, None where the configuration names none."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            if (value := getattr(config, name, None)) is not None:
                return int(value)
        return None

    def on_device(self, tensor: Any) -> Any:
        """The tensor where the model is, floating point in the model's dtype."""
        import torch

        if tensor.is_floating_point():
            return tensor.to(self.device, getattr(torch, self.dtype))
        return tensor.to(self.device)

    def suppressed(self) -> list[int]:
        """Token ids that the checkpoint says must never be generated."""
        return suppressed_by(self.model.generation_config)

    def altering(self) -> list[str]:
        """The checkpoint's own settings that change which token is chosen, beyond `suppress_tokens`."""
        return altered_by(self.model.generation_config)


class Reading(Protocol):
    """What of a model its answers are read with: `Loaded`, or a model that runs elsewhere."""

    @property
    def processor(self) -> Any: ...

    @property
    def generation(self) -> Generation: ...

    @property
    def ends(self) -> frozenset[int]: ...


def ends_of(config: Any, tokenizer: Any) -> frozenset[int]:
    """The token ids that end an answer, of a checkpoint's GenerationConfig and its tokenizer."""
    ids = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def suppressed_by(config: Any) -> list[int]:
    """Token ids that a checkpoint's GenerationConfig says must never be generated."""
    return [int(i) for i in (config.suppress_tokens or ())]


def altered_by(config: Any) -> list[str]:
    """The settings of a checkpoint's GenerationConfig that change which token is chosen, beyond `suppress_tokens`."""
    return sorted(name for name, neutral in ALTERING.items() if getattr(config, name, None) not in neutral)


def cut(loaded: Reading, ids: Sequence[int]) -> tuple[list[int], bool]:
    """The tokens of an answer up to its end, and whether it ended before the limit.

    A stop string is cut where it is complete, whatever came after it in the batch.
    """
    length = next((i for i, token in enumerate(ids) if token in loaded.ends), None)
    kept = list(ids if length is None else ids[:length])
    if loaded.generation.stop:
        for end in range(1, len(kept) + 1):
            if holds_stop(loaded, kept[:end]):
                return kept[:end], True
    return kept, length is not None


def holds_stop(loaded: Reading, ids: Sequence[int]) -> bool:
    """Whether the text of these tokens holds one of the stop strings."""
    text = loaded.processor.tokenizer.decode(ids, skip_special_tokens=True)
    return any(stop in text for stop in loaded.generation.stop)


def prediction(loaded: Reading, request: Request, ids: Sequence[int], seconds: float) -> Prediction:
    """The answer in these new tokens; `seconds` is the sample's share of its batch."""
    kept, stopped = cut(loaded, ids)
    text = loaded.processor.tokenizer.decode(kept, skip_special_tokens=True)
    for stop in loaded.generation.stop:
        text = text.split(stop)[0]
    return Prediction(
        sample_id=request.sample_id,
        text=text.strip(),
        finish_reason="stop" if stopped else "length",
        n_tokens=len(kept),
        seconds=round(seconds, 4),
        fingerprint=request.fingerprint,
    )


def failed(request: Request, problem: Exception) -> Prediction:
    """A sample that could not be answered."""
    return failure(request, f"{type(problem).__name__}: {first_line(problem)}")


def failure(
    request: Request, why: str, attempts: Sequence[str] = (), seconds: float | None = None, n_tokens: int | None = None
) -> Prediction:
    """A request that brought no answer."""
    return Prediction(
        sample_id=request.sample_id,
        error=why,
        finish_reason="error",
        n_tokens=n_tokens,
        seconds=seconds,
        fingerprint=request.fingerprint,
        attempts=tuple(attempts),
    )


@dataclass(slots=True)
class Tally:
    """How many samples were answered and how many failed."""

    answered: int = 0
    failed: int = 0

    def add(self, name: str, predictions: Iterable[Prediction]) -> None:
        """Count; name: of the model.  Raises EngineError where the first samples have all failed."""
        errors = []
        for given in predictions:
            if given.error is None:
                self.answered += 1
            else:
                errors.append(given.error)
        self.failed += len(errors)
        if not self.answered and self.failed >= FAULTS_BEFORE_GIVING_UP:
            raise EngineError(
                f"{name}: the first {self.failed} samples all failed, the last with: {errors[-1]}. "
                "The model, its processor or its chat template do not fit the requests."
            )
