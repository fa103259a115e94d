"""The model of a training loop: taken out of its wrappers, checked to be whole, and its process left as found."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.api.arguments import WrongType, shown
from evalkit.core.errors import ConfigError

# Classes of wrappers and of parameters that hold a part of the weights only.
_SHARDED = {
    "FullyShardedDataParallel": "FSDP",
    "FSDPModule": "FSDP",
    "DTensor": "FSDP or tensor parallelism",
}


def whole_model(model: Any) -> Any:
    """The model inside DistributedDataParallel, DataParallel, torch.compile or DeepSpeed.

    Raises:
        WrongType: it is no model.
        ConfigError: its weights are spread over the processes.
    """
    from torch.nn import Module

    if not isinstance(model, Module):
        raise WrongType(f"model={shown(model)} is not possible: expected a model of transformers, wrapped or not.")
    from accelerate.utils import extract_model_from_parallel

    how = _sharding(model)
    if how is None:
        model = extract_model_from_parallel(model, keep_fp32_wrapper=True, keep_torch_compile=False)
        how = _sharding(model)
    if how is not None:
        raise ConfigError(
            f"The weights of {type(model).__name__} are spread over the processes ({how}), and the evaluation of a "
            "live model needs them whole in each process: one device, DistributedDataParallel, ZeRO-1 or ZeRO-2. Save "
            "checkpoints instead and evaluate them: python -m evalkit model=CHECKPOINT_FOLDER."
        )
    return model


def _sharding(model: Any) -> str | None:
    """How a model's weights are spread; None where they are not."""
    kinds = dict.fromkeys(type(module) for module in model.modules())
    for kind in dict.fromkeys(base for found in kinds for base in found.__mro__):
        if kind.__name__ in _SHARDED:
            return _SHARDED[kind.__name__]
    for weight in model.parameters():
        if hasattr(weight, "ds_id"):
            return "ZeRO-3"
        if (name := type(weight).__name__) in _SHARDED:
            return _SHARDED[name]
    return None


@contextmanager
def process_as_found() -> Iterator[None]:
    """Restore the random numbers of Python, numpy and torch, and free the memory that an evaluation took."""
    import numpy
    import torch

    has_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    # numpy's global generator is what training code seeds and uses.
    saved = (random.getstate(), numpy.random.get_state(), torch.get_rng_state())
    gpus = torch.cuda.get_rng_state_all() if has_gpu else None
    try:
        yield
    finally:
        random.setstate(saved[0])
        numpy.random.set_state(saved[1])
        torch.set_rng_state(saved[2])
        gc.collect()
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
            torch.cuda.empty_cache()
