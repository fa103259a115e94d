"""Settings of a registered model for each published form, and the Hugging Face form of each known model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.support import tiny_checkpoints as tiny
from tests.support.paths import CONF

MODELS = CONF / "model"
CASES = ("full-v1.5", "full-v1.0", "delta", "lora")


def conf(name: str) -> dict[str, Any]:
    return yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8"))


def settings_of(case: str, v15, v10, lora) -> tuple[str, dict[str, Any], Any]:
    """Return (registered model, its settings for the tiny checkpoint, the known model)."""
    if case == "full-v1.5":
        return "llava-med", {"source": str(v15.folder), "vision_tower": "stored"}, v15.known
    if case == "full-v1.0":
        folders = {"source": str(v10.full), "vision_tower_source": str(v10.clip)}
        return "llava-med-v1.0-coloninst", folders, v10.known
    if case == "delta":
        folders = {"source": str(v10.delta), "base": str(v10.base), "vision_tower_source": str(v10.clip)}
        return "llava-med-v1.0", folders, v10.known
    folders = {"source": str(lora.folder), "base": str(lora.base), "vision_tower": "stored"}
    return "llava-med-v1.5-coloninst-lora", folders, lora.known


def never_emitted(known: Any) -> list[int]:
    """Ids of <image> and padding if they are after the published vocabulary (v1.5); none for v1.0."""
    image = known.config.image_token_id
    return [image, image + 1] if image + 2 == known.config.text_config.vocab_size else []


def hugging_face_form(known: Any, processor: Any, folder: Path) -> Path:
    """Save the known model with transformers; a single linear projector becomes two layers."""
    from transformers import GenerationConfig, LlavaForConditionalGeneration

    config = copy.deepcopy(known.config)
    state = dict(known.state_dict())
    projector = "model.multi_modal_projector."
    if f"{projector}weight" in state:
        config.projector_hidden_act = "linear"
        for part in ("weight", "bias"):
            state[f"{projector}linear_1.{part}"] = state.pop(f"{projector}{part}")
        state[f"{projector}linear_2.weight"] = torch.eye(config.text_config.hidden_size)
        state[f"{projector}linear_2.bias"] = torch.zeros(config.text_config.hidden_size)
    model = LlavaForConditionalGeneration(config)
    model.load_state_dict(state)
    tokenizer, never = processor.tokenizer, never_emitted(known)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, suppress_tokens=never or None
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    assert config.image_seq_length == tiny.PATCHES
    return folder
