"""Sizes of registered models, and the models built without weights.

The sizes come from stored copies of configurations and from memory, not from the `config.json` beside the weights.
"""

from __future__ import annotations

from typing import Any

_TOWER_3 = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16}
_SMALL_TOWER_3 = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16}
_TOWER_25 = {
    "depth": 32,
    "hidden_size": 1280,
    "num_heads": 16,
    "patch_size": 14,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}


def _qwen25(
    hidden: int, inner: int, layers: int, heads: int, kv: int, vision: int, *, tied: bool = False
) -> dict[str, Any]:
    text = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    text |= {"vocab_size": 151936 if tied else 152064}
    text |= {"num_attention_heads": heads, "num_key_value_heads": kv, "tie_word_embeddings": tied}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}
    tower = _TOWER_25 | {"intermediate_size": vision, "out_hidden_size": hidden}
    return {"text_config": text, "vision_config": tower, "tie_word_embeddings": tied}


def _qwen3(text: dict[str, Any], tower: dict[str, Any], *, tied: bool = False) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    return {
        "text_config": _HEADS | text | {"rope_parameters": rope, "tie_word_embeddings": tied},
        "vision_config": tower | {"out_hidden_size": text["hidden_size"]},
        "tie_word_embeddings": tied,
    }


def _qwen35(hidden: int, inner: int, *, tied: bool, tower: dict[str, Any]) -> dict[str, Any]:
    text = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 32, "num_attention_heads": 16}
    text |= {"num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248320, "tie_word_embeddings": tied}
    rope = {"rope_type": "default", "rope_theta": 1e7, "mrope_section": [11, 11, 10], "mrope_interleaved": True}
    text |= {"rope_parameters": rope | {"partial_rotary_factor": 0.25}}
    return {
        "text_config": text,
        "vision_config": tower | {"out_hidden_size": hidden},
        "tie_word_embeddings": tied,
    }


_DENSE_4 = {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36}
_DENSE_8 = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
_MIXTURE = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
}  # fmt: skip
_LARGE = _TOWER_3 | {"deepstack_visual_indexes": [8, 16, 24]}
_SMALL = _SMALL_TOWER_3 | {"deepstack_visual_indexes": [5, 11, 17]}

# Of ColonGPT's released config.json and that of the tower which it names.
PHI_15 = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "num_key_value_heads": 32, "max_position_embeddings": 2048, "vocab_size": 50295,
}  # fmt: skip
SO400M = {
    "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304, "model_type": "siglip_vision_model",
    "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
}  # fmt: skip

# Registered model -> the one with the same sizes.
SAME_SIZES = {
    "medmo-4b": "qwen3-vl-4b",
    "medmo-8b": "qwen3-vl-8b",
    "medix-r1-8b": "qwen3-vl-8b",
    "medix-r1-30b": "qwen3-vl-30b-a3b",
    "qoq-med-7b": "octomed-7b",
    "medvlthinker-7b": "octomed-7b",
}
# Registered model -> model type and sizes.
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3-vl-4b": ("qwen3_vl", _qwen3(_DENSE_4, _SMALL, tied=True)),
    "qwen3-vl-8b": ("qwen3_vl", _qwen3(_DENSE_8, _LARGE)),
    "qwen3-vl-30b-a3b": ("qwen3_vl_moe", _qwen3(_MIXTURE, _LARGE)),
    "qwen3.5-4b": ("qwen3_5", _qwen35(2560, 9216, tied=True, tower=_SMALL_TOWER_3)),
    "qwen3.5-9b": ("qwen3_5", _qwen35(4096, 12288, tied=False, tower=_TOWER_3)),
    "lingshu-32b": ("qwen2_5_vl", _qwen25(5120, 27648, 64, 40, 8, 3456)),
    "octomed-7b": ("qwen2_5_vl", _qwen25(3584, 18944, 28, 28, 4, 3420)),
    "colonr1": ("qwen2_5_vl", _qwen25(2048, 11008, 36, 16, 2, 3420, tied=True)),
    "internvl3.5-8b": (
        "internvl",
        {
            "text_config": {"model_type": "qwen3", **_HEADS, **_DENSE_8, "tie_word_embeddings": False},
            "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                              "num_attention_heads": 16, "image_size": [448, 448], "patch_size": [14, 14],
                              "use_qk_norm": False, "attention_bias": True},
            "tie_word_embeddings": False,
        },
    ),
    "medgemma-1.5-4b": (
        "gemma3",
        {
            "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "head_dim": 256,
                            "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208},
            "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
                              "num_attention_heads": 16, "image_size": 896, "patch_size": 14,
                              "vision_use_head": False},
            "mm_tokens_per_image": 256,
        },
    ),
    "gemma-4-e4b": (
        "gemma4",
        {
            "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 42,
                            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
                            "global_head_dim": 512, "num_kv_shared_layers": 18, "hidden_size_per_layer_input": 256},
            "vision_config": {},
            "audio_config": {},
        },
    ),
}  # fmt: skip


def built(name: str) -> Any:
    """A registered model on the meta device, which holds no weights."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    if name == "colongpt":
        return _colongpt()
    kind, sizes = SIZES[SAME_SIZES.get(name, name)]
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[kind](**sizes))
    model.tie_weights()
    return model


def _colongpt() -> Any:
    from transformers import LlavaConfig, PhiConfig, SiglipVisionConfig

    from evalkit.models.llava_tensors import empty_model

    tower = SiglipVisionConfig(**SO400M, vision_use_head=False)
    return empty_model(LlavaConfig(text_config=PhiConfig(**PHI_15), vision_config=tower), (14, 7, 1))
