"""Recognition of a checkpoint's form (Hugging Face, or one of LLaVA's own) from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import ModelError
from evalkit.models.tensor_files import open_folder, read_json, weight_bytes

Form = Literal["hf", "llava-full", "llava-delta", "llava-lora"]

# ColonGPT has the same layout; no difference to a base was published in it.
COLONGPT = "colongpt-phi"
ORIGINAL_TYPES = ("llava", "llava_llama", "llava_mistral", "llava_qwen2", COLONGPT)
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")

# The scale of the last RMS norm is of order 1 in every working language model, and of order 1e-3 in a difference
# between two models.  Nothing else in the files distinguishes released deltas from complete weights.
_FINAL_NORM = "model.norm.weight"
_DELTA_BELOW = 0.1
_PROJECTOR = "mm_projector.bin"


def is_original(config: dict[str, Any]) -> bool:
    """Whether a config.json is from LLaVA's own code (flat `mm_*` keys) rather than transformers' nested form.

    Both use `model_type: llava`; only transformers' form has a `text_config`.
    """
    flat = any(key.startswith("mm_") for key in config) and "text_config" not in config
    return flat and config.get("model_type") in ORIGINAL_TYPES


def has_own_projector(folder: Path) -> bool:
    """Whether a checkpoint in LLaVA's layout has ColonGPT's projector: it has no Hugging Face form.

    transformers has no class for this projector, so that neither a conversion nor vLLM can represent it.
    """
    path = folder / "config.json"
    return path.is_file() and str(read_json(path).get("mm_projector_type")).startswith("ppc_")


def recognise(folder: Path) -> Form:
    """Recognise the form of the checkpoint in `folder`.  Reads config files, and one small tensor to detect a delta.

    Raises:
        ModelError: the folder does not exist, is not a checkpoint, or has an unsupported form.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: give the folder with the checkpoint's config.json")
    if (folder / "adapter_config.json").is_file():
        return _lora(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} contains neither a config.json nor an adapter_config.json: it is not a checkpoint folder, or "
            "its download is incomplete; fetch the checkpoint again"
        )
    config = read_json(folder / "config.json")
    if is_original(config) and weight_bytes(folder) == 0 and (folder / _PROJECTOR).is_file():
        raise ModelError(
            f"{folder} contains a projector alone ({_PROJECTOR}), as the first stage of training saves it, and no "
            "language model: use the checkpoint of the last stage"
        )
    if is_original(config):
        return "llava-delta" if config["model_type"] != COLONGPT and is_delta(folder) else "llava-full"
    return _hf(folder, config)


def is_delta(folder: Path) -> bool:
    """Whether the weights are a difference that must be added to base weights (see `_FINAL_NORM`)."""
    shards = open_folder(folder)
    if _FINAL_NORM not in shards.shapes:
        raise ModelError(
            f"{folder} has a LLaVA config but no tensor {_FINAL_NORM}: it contains {len(shards.shapes)} tensors, the "
            f"first is {next(iter(shards.shapes), 'none')}; expected complete weights or a delta"
        )
    median = float(shards.read(_FINAL_NORM).float().abs().median())
    shards.close()
    return median < _DELTA_BELOW


def _lora(folder: Path) -> Form:
    if (folder / "non_lora_trainables.bin").is_file() and (folder / "config.json").is_file():
        return "llava-lora"
    raise ModelError(
        f"{folder} contains an adapter but not both non_lora_trainables.bin and config.json: LLaVA's LoRA form needs "
        "all three; a PEFT adapter on any other base is given as model.adapter=DIR, beside the model that is its base"
    )


def _hf(folder: Path, config: dict[str, Any]) -> Form:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{folder}/config.json has model_type {kind!r}, which is neither LLaVA's original layout "
            f"({', '.join(ORIGINAL_TYPES)}, with mm_* keys) nor supported by the installed transformers; evalkit does "
            "not run code from a checkpoint"
        )
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise ModelError(
            f"{folder} (model_type {kind}) has none of {', '.join(PROCESSOR_FILES)}: a checkpoint for images needs "
            "one; fetch the checkpoint again or add the file"
        )
    return "hf"
