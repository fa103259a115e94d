"""Weights in 4 or 8 bits, by the bitsandbytes integration of transformers: `model.quantization=4bit|8bit`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, ModelError
from evalkit.models.formats import has_own_projector
from evalkit.models.tensor_files import read_json

KINDS = ("4bit", "8bit")
# Bytes of a weight, with the scales of its blocks and the layers that stay as they are.
BYTES = {"4bit": 0.7, "8bit": 1.2}


def checked_quantization(name: str, value: Any) -> str | None:
    """The setting `quantization` of a model.

    Raises:
        ConfigError: it is none of KINDS.
    """
    if value is None or value in KINDS:
        return value  # type: ignore[no-any-return]
    raise ConfigError(f"{name}: model.quantization={value} is not possible; expected {' or '.join(KINDS)}, or null.")


def check_quantizable(name: str, kind: str, folder: Path, form: str) -> None:
    """Check that a checkpoint can be loaded with quantised weights here.

    Raises:
        ModelError: the library is not installed, or the checkpoint is of another form or quantised already.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{name}: model.quantization={kind} needs the package bitsandbytes, which is not installed. Install it "
            "with `pip install 'evalkit-medvqa[quantization]'`, or leave model.quantization out."
        )
    if form != "hf" and has_own_projector(folder):
        raise ModelError(
            f"{name}: model.quantization={kind} needs a checkpoint in Hugging Face form, and ColonGPT's projector has "
            "none. Leave it out."
        )
    if form != "hf":
        raise ModelError(
            f"{name}: model.quantization={kind} needs a checkpoint in Hugging Face form, and {folder} is in LLaVA's "
            "own layout. Convert it once with `evalkit convert model=NAME to=DIR`, and use model.source=DIR."
        )
    if read_json(folder / "config.json").get("quantization_config"):
        raise ModelError(
            f"{name}: {folder} is quantised already (quantization_config in its config.json), so that "
            f"model.quantization={kind} is not possible. Leave it out, or use the unquantised weights."
        )


def quantization_config(kind: str, dtype: str) -> Any:
    """The configuration for transformers: 4 bits in the NormalFloat type, products in the run's dtype; or 8 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
    )
