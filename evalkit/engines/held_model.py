"""engine=hf with a transformers model and processor that the caller has in memory."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from evalkit.core.errors import ConfigError, ModelError, first_line
from evalkit.core.types import digest_json
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec, ModelAndProcessor, prepare_processor, refuse_changes
from evalkit.models.components import Part
from evalkit.models.processors import forget_lengths

# Entries of a configuration that say where a model came from and not what it computes.
_ORIGIN = frozenset({"_name_or_path", "transformers_version", "_commit_hash"})
# Tensors that are hashed at a time.
_HASHED_AT_ONCE = 4


@dataclass(frozen=True, slots=True, eq=False)
class HeldModel:
    """A model and its processor.  digest: the caller's name for the weights; None: they are hashed."""

    model: Any
    processor: Any
    digest: str | None = None


class HeldModelEngine(HfEngine):
    """Generates with a model in memory, with its own dtype and on its own device.

    Args:
        held: the model.  Its processor is copied, because generation changes settings of a tokenizer.
        dtype, device: as `HfEngine`; anything but `auto` must be what the model has.
        settings: those of HfEngine.
    """

    def __init__(
        self, *, held: HeldModel, spec: CheckpointSpec, dtype: str = "auto", device: str = "auto", **settings: Any
    ) -> None:
        own = str(held.model.dtype).removeprefix("torch.")
        if dtype not in ("auto", own):
            raise ConfigError(
                f"engine.dtype={dtype} is not possible: the model in memory is {own}, and is used as it is. Convert it "
                "before, or leave the setting out."
            )
        refuse_changes(spec, "a model in memory")
        self.held = held
        self._processor = prepared(spec, held.processor)
        super().__init__(spec=spec, dtype=own, device=device, **settings)

    def _locate(self) -> tuple[Part, ...]:
        return ()

    def _device(self, device: str) -> str:
        own = str(self.held.model.device)
        if device not in ("auto", own, own.partition(":")[0]):
            raise ConfigError(
                f"engine.device={device} is not possible: the model in memory is on {own}, and is used there. Move it "
                "before, or leave the setting out."
            )
        return own

    def _digest(self) -> str:
        weights = self.held.digest if self.held.digest is not None else weights_digest(self.held.model)
        return digest_json([weights, processor_digest(self._processor)])

    def _load_model(self) -> ModelAndProcessor:
        return ModelAndProcessor(self.held.model.eval(), self._processor)


def prepared(spec: CheckpointSpec, processor: Any) -> Any:
    """A copy of a processor, configured for batched generation.

    Raises:
        ModelError: it has no tokenizer, no image processor or no chat template.
    """
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise ModelError(
                f"{spec.name}: the processor {type(processor).__name__} has no {part}; expected the processor of an "
                "image-text-to-text model, as AutoProcessor.from_pretrained gives it."
            )
    return prepare_processor(spec, copy.deepcopy(processor))


_users: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_users_lock = threading.Lock()


@contextmanager
def as_found(model: Any) -> Iterator[None]:
    """Use a model that may be in training, and leave it as it was: the mode of each module, `use_cache`, its forward.

    Between, it computes what its checkpoint would compute: with a cache, which gradient checkpointing turns off, and in
    its own dtype, without the autocast of a training loop.
    One thread at a time: a second one waits, since the first would set the mode while the second generates.
    """
    with _users_lock:
        lock = _users.setdefault(model, threading.Lock())
    with lock:
        modes = [(module, module.training) for module in model.modules()]
        try:
            with _with_cache(model), _without_autocast(model):
                yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def _with_cache(model: Any) -> Iterator[None]:
    """`use_cache` in every part of the model's configuration; a part that has no such setting stays without."""
    parts = [model.config, *(getattr(model.config, name, None) for name in getattr(model.config, "sub_configs", ()))]
    changed = [part for part in parts if getattr(part, "use_cache", None) is False]
    for part in changed:
        part.use_cache = True
    try:
        yield
    finally:
        for part in changed:
            part.use_cache = False


@contextmanager
def _without_autocast(model: Any) -> Iterator[None]:
    """The model's own forward, where accelerate has put one with autocast over it, outside any autocast."""
    import torch

    own = vars(model)
    replaced = own.get("forward") if "_original_forward" in own else None
    if replaced is not None:
        model.forward = own["_original_forward"]
    try:
        with torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        if replaced is not None:
            model.forward = replaced


def weights_digest(model: Any) -> str:
    """sha256 over a model's tensors, their names, and its configurations; about two seconds a GB on two CPU cores.

    Raises:
        ModelError: a tensor is not in memory (offloaded, or spread over processes).
    """

    def one(item: tuple[str, Any]) -> list[Any]:
        name, tensor = item
        if not hasattr(tensor, "detach"):  # an extra state of a module
            return [name, repr(tensor)]
        try:
            import torch

            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest = hashlib.sha256(content).hexdigest()
        except (RuntimeError, NotImplementedError, TypeError, AttributeError) as problem:
            raise ModelError(
                f"The weights of {type(model).__name__} cannot be hashed, because {name} is not in memory here "
                f"({first_line(problem)}). Give a name for these weights with digest=TEXT, another for other weights."
            ) from None
        return [name, str(tensor.dtype), list(tensor.shape), digest]

    with ThreadPoolExecutor(_HASHED_AT_ONCE) as pool:
        tensors = list(pool.map(one, model.state_dict().items()))
    adapters = getattr(model, "peft_config", None) or {}
    configs = [model.config, getattr(model, "generation_config", None), *adapters.values()]
    return digest_json(
        [
            type(model).__qualname__,
            tensors,
            [_settings(c) for c in configs],
            _plain(getattr(model, "active_adapter", 0)),
        ]
    )


def processor_digest(processor: Any) -> str:
    """sha256 over a processor's settings, its tokenizer and its chat template."""
    processor = copy.deepcopy(processor)
    forget_lengths(processor)
    tokenizer = processor.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    return digest_json(
        [words, _settings(processor.image_processor), _plain(tokenizer.special_tokens_map), processor.chat_template]
    )


def _settings(config: Any) -> Any:
    """A configuration of transformers or peft as plain values, without its origin."""
    if config is None:
        return None
    content = config if isinstance(config, dict) else config.to_dict()
    return _plain({k: v for k, v in content.items() if k not in _ORIGIN})


def _plain(value: Any) -> Any:
    """A value that JSON can hold, the same in every process: sets have no order."""

    def other(found: Any) -> Any:
        return sorted(map(str, found)) if isinstance(found, set | frozenset) else str(found)

    return json.loads(json.dumps(value, default=other, sort_keys=True))
