"""Tiny random models of the registered classes in Hugging Face form, with real processors and tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.support import tiny_checkpoints as tiny

# Template with the structure of the published ones, not their texts.
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SPECIAL = {
    "qwen2_5_vl": QWEN,
    "gemma3": ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    "internvl": ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
    "internvl_qwen3": ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
    "qwen3_vl": QWEN,
    "qwen3_vl_moe": QWEN,
    "qwen3_5": QWEN,
    "gemma4": ("<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>"),
}
IMAGE = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "internvl": "<IMG_CONTEXT>",
    "internvl_qwen3": "<IMG_CONTEXT>",
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_5"), "<|vision_start|><|image_pad|><|vision_end|>"),
    "gemma4": "<|image|>",
}


def tokenizer(kind: str, **names: str) -> Any:
    """Make a byte-level tokenizer without merges, with the family's special tokens."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    made = Qwen2Tokenizer(
        vocab=vocab, merges=[], eos_token="<|endoftext|>", pad_token="<|endoftext|>", extra_special_tokens=names
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *SPECIAL[kind]]})
    made.chat_template = _TEMPLATE.replace("IMAGE", IMAGE[kind])
    return made


def _qwen(folder: Path, text: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    words = tokenizer("qwen2_5_vl")
    words.save_pretrained(folder)
    pixels = {"min_pixels": 28 * 28 * 2, "max_pixels": 28 * 28 * 16, "patch_size": 14, "temporal_patch_size": 2}
    image = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2, **pixels}
    tiny.write_json(folder / "preprocessor_config.json", image | {"processor_class": "Qwen2_5_VLProcessor"})
    half = text["head_dim"] // 2
    sections = [half // 4, *[3 * half // 8] * 2]
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
              "patch_size": 14, "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [1]}  # fmt: skip
    start, _, image_pad, video_pad = words.convert_tokens_to_ids(list(SPECIAL["qwen2_5_vl"]))
    return CONFIG_MAPPING["qwen2_5_vl"](
        text_config=text, vision_config=vision, image_token_id=image_pad, vision_start_token_id=start,
        video_token_id=video_pad,
    )  # fmt: skip


def _gemma(folder: Path, text: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    boi, eoi, soft = SPECIAL["gemma3"]
    words = tokenizer("gemma3", boi_token=boi, eoi_token=eoi, image_token=soft)
    words.save_pretrained(folder)
    image = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}}
    tiny.write_json(folder / "preprocessor_config.json", image | {"processor_class": "Gemma3Processor"})
    tiny.write_json(folder / "processor_config.json", {"processor_class": "Gemma3Processor", "image_seq_length": 4})
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 56, "patch_size": 14}  # fmt: skip
    ids = words.convert_tokens_to_ids([boi, eoi, soft])
    return CONFIG_MAPPING["gemma3"](
        text_config=text | {"sliding_window": 1024}, vision_config=vision, mm_tokens_per_image=4,
        boi_token_index=ids[0], eoi_token_index=ids[1], image_token_index=ids[2],
    )  # fmt: skip


def _qwen3(kind: str, folder: Path, text: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    words = tokenizer(kind)
    words.save_pretrained(folder)
    pixels = {"min_pixels": 32 * 32 * 2, "max_pixels": 32 * 32 * 12, "patch_size": 16, "temporal_patch_size": 2}
    image = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2, **pixels}
    tiny.write_json(folder / "preprocessor_config.json", image | {"processor_class": "Qwen3VLProcessor"})
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text |= {"rope_parameters": rope}
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                              "out_hidden_size": 64, "patch_size": 16, "spatial_merge_size": 2,
                              "num_position_embeddings": 64}  # fmt: skip
    if kind == "qwen3_5":  # a quarter of the rotary places, as published, with the layers in the published ratio
        text |= {"num_hidden_layers": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16}
        text |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "head_dim": 32}
        text |= {"rope_parameters": rope | {"partial_rotary_factor": 0.5}}
    else:
        vision["deepstack_visual_indexes"] = [0, 1]
    if kind == "qwen3_vl_moe":
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    start, end, image_pad, video_pad = words.convert_tokens_to_ids(list(QWEN))
    return CONFIG_MAPPING[kind](
        text_config=text, vision_config=vision, image_token_id=image_pad, video_token_id=video_pad,
        vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip


def _gemma4(folder: Path, text: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    boi, eoi, soft, boa, eoa, audio, video = SPECIAL["gemma4"]
    names = {"boi_token": boi, "eoi_token": eoi, "image_token": soft, "boa_token": boa, "eoa_token": eoa}
    words = tokenizer("gemma4", **names, audio_token=audio)
    words.save_pretrained(folder)
    image = {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 70, "patch_size": 4}
    tiny.write_json(folder / "preprocessor_config.json", image | {"processor_class": "Gemma4Processor"})
    tiny.write_json(
        folder / "processor_config.json",
        {"processor_class": "Gemma4Processor", "image_seq_length": 70, "image_processor": image,
         "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"}},
    )  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "position_embedding_size": 64}  # fmt: skip
    ids = words.convert_tokens_to_ids([boi, eoi, soft, video, boa, eoa, audio])
    text |= {"sliding_window": 1024, "num_hidden_layers": 4, "num_kv_shared_layers": 2, "global_head_dim": 16}
    text |= {"layer_types": ["sliding_attention", "full_attention"] * 2, "hidden_size_per_layer_input": 16}
    text |= {"vocab_size_per_layer_input": text["vocab_size"]}
    text.pop("rope_theta")
    return CONFIG_MAPPING["gemma4"](
        text_config=text, vision_config=vision, audio_config=None, boi_token_id=ids[0], eoi_token_id=ids[1],
        image_token_id=ids[2], video_token_id=ids[3], boa_token_id=ids[4], eoa_token_index=ids[5],
        audio_token_id=ids[6],
    )  # fmt: skip


def _internvl(folder: Path, text: dict[str, Any], language: str = "qwen2") -> Any:
    from transformers import CONFIG_MAPPING

    start, end, context, video = SPECIAL["internvl"]
    words = tokenizer(
        "internvl", start_image_token=start, end_image_token=end, context_image_token=context, video_token=video
    )
    words.save_pretrained(folder)
    image = {"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 56, "width": 56}}
    image |= {"crop_to_patches": True, "min_patches": 1, "max_patches": 4}
    tiny.write_json(folder / "preprocessor_config.json", image | {"processor_class": "InternVLProcessor"})
    tiny.write_json(folder / "processor_config.json", {"processor_class": "InternVLProcessor", "image_seq_length": 4})
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": [56, 56], "patch_size": [14, 14]}  # fmt: skip
    return CONFIG_MAPPING["internvl"](
        text_config={"model_type": language, **text}, vision_config=vision, downsample_ratio=0.5,
        image_token_id=words.convert_tokens_to_ids(context),
    )  # fmt: skip


MAKERS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "qwen2_5_vl": _qwen,
    "gemma3": _gemma,
    "gemma4": _gemma4,
    "internvl": _internvl,
    "internvl_qwen3": partial(_internvl, language="qwen3"),
    **{kind: partial(_qwen3, kind) for kind in ("qwen3_vl", "qwen3_vl_moe", "qwen3_5")},
}


def save(kind: str, folder: Path, **sizes: int) -> Path:
    """Save a random model of the class with all files of a published checkpoint.  sizes: of its language model."""
    from transformers import AutoModelForImageTextToText

    folder.mkdir(parents=True, exist_ok=True)
    text = {**tiny.text_config(300, "mistral"), "rope_theta": 10000.0, "head_dim": 16, **sizes}
    text.pop("sliding_window")
    config = MAKERS[kind](folder, text)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for value in model.parameters():  # layers initialised to zero would hide the image
            value.add_(0.1 * torch.randn_like(value))
    # Bytes only: an answer of special tokens is an empty text, and empty texts are all equal.
    model.generation_config.suppress_tokens = list(range(256, text["vocab_size"]))
    model.save_pretrained(folder)
    return folder
