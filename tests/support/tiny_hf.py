"""Tiny random models of the registered classes in Hugging Face form, with real processors and tokenizers."""

from __future__ import annotations

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
SPECIAL = {
    "qwen2_5_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "gemma3": ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    "internvl": ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
}
IMAGE = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "internvl": "<IMG_CONTEXT>",
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


def _internvl(folder: Path, text: dict[str, Any]) -> Any:
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
        text_config={"model_type": "qwen2", **text}, vision_config=vision, downsample_ratio=0.5,
        image_token_id=words.convert_tokens_to_ids(context),
    )  # fmt: skip


def save(kind: str, folder: Path, **sizes: int) -> Path:
    """Save a random model of the class with all files of a published checkpoint.  sizes: of its language model."""
    from transformers import AutoModelForImageTextToText

    folder.mkdir(parents=True, exist_ok=True)
    text = {**tiny.text_config(300, "mistral"), "rope_theta": 10000.0, "head_dim": 16, **sizes}
    text.pop("sliding_window")
    config = {"qwen2_5_vl": _qwen, "gemma3": _gemma, "internvl": _internvl}[kind](folder, text)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for value in model.parameters():  # layers initialised to zero would hide the image
            value.add_(0.1 * torch.randn_like(value))
    # Bytes only: an answer of special tokens is an empty text, and empty texts are all equal.
    model.generation_config.suppress_tokens = list(range(256, text["vocab_size"]))
    model.save_pretrained(folder)
    return folder
