"""Which of the published forms a checkpoint folder is in, from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import ModelError
from evalkit.models.tensor_files import open_folder, read_json

Form = Literal["hf", "llava-full", "llava-delta", "llava-lora"]

ORIGINAL_TYPES = ("llava", "llava_llama", "llava_mistral", "llava_qwen2")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")

# The scale of the last RMS norm is of order 1 in every working language model and of order 1e-3 in a difference
# between two of them: the one thing in the files that tells released deltas from whole weights.
_FINAL_NORM = "model.norm.weight"
_DELTA_BELOW = 0.1


def is_original(config: dict[str, Any]) -> bool:
    """True for the config.json of LLaVA's own code (flat `mm_*` keys), false for transformers' nested one.

    `model_type: llava` is used by both; only transformers' form has a `text_config`.
    """
    flat = any(key.startswith("mm_") for key in config) and "text_config" not in config
    return flat and config.get("model_type") in ORIGINAL_TYPES


def recognise(folder: Path) -> Form:
    """The form of the checkpoint in `folder`.  Reads config files, and one small tensor to tell a delta.

    ModelError when the folder is not there, is no checkpoint, or is of a form that nothing here loads.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: give the folder that holds the checkpoint's config.json")
    if (folder / "adapter_config.json").is_file():
        return _lora(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no config.json and no adapter_config.json: it is not a checkpoint folder, or its "
            "download is not complete"
        )
    config = read_json(folder / "config.json")
    if is_original(config):
        return "llava-delta" if is_delta(folder) else "llava-full"
    return _hf(folder, config)


def is_delta(folder: Path) -> bool:
    """True when the weights are a difference to be added to base weights (see `_FINAL_NORM`)."""
    shards = open_folder(folder)
    if _FINAL_NORM not in shards.shapes:
        raise ModelError(
            f"{folder} has a LLaVA config but no tensor {_FINAL_NORM}: it holds {len(shards.shapes)} tensors, the "
            f"first is {next(iter(shards.shapes), 'none')}; whole weights or a delta were expected"
        )
    median = float(shards.read(_FINAL_NORM).float().abs().median())
    shards.close()
    return median < _DELTA_BELOW


def _lora(folder: Path) -> Form:
    if (folder / "non_lora_trainables.bin").is_file() and (folder / "config.json").is_file():
        return "llava-lora"
    raise ModelError(
        f"{folder} holds an adapter but not both non_lora_trainables.bin and config.json: LLaVA's LoRA form needs all "
        "three; an adapter of another kind has to be merged into its base first"
    )


def _hf(folder: Path, config: dict[str, Any]) -> Form:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{folder}/config.json says model_type {kind!r}, which is neither LLaVA's original layout "
            f"({', '.join(ORIGINAL_TYPES)}, with mm_* keys) nor known to the installed transformers; code that comes "
            "with a checkpoint is not run"
        )
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise ModelError(
            f"{folder} (model_type {kind}) has none of {', '.join(PROCESSOR_FILES)}: a checkpoint that takes images "
            "carries one; fetch the checkpoint again or add the file"
        )
    return "hf"
