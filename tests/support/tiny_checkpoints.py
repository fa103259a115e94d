"""Tiny checkpoints with the exact key layouts of the published ones, written from one known model.

The layouts are repeated here from the published checkpoints, independently of the loader.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

WORDS = (
    "the",
    "lung",
    "heart",
    "left",
    "right",
    "chest",
    "shows",
    "what",
    "is",
    "in",
    "image",
    "normal",
    "abnormal",
    "scan",
    "brain",
    "yes",
    "no",
    "where",
    "USER",
    "ASSISTANT",
    "Human",
    "Assistant",
    "Hi",
    "there",
    "How",
    "can",
    "I",
    "help",
    "you",
    "today",
    "INST",
    "patient",
    "question",
    "answer",
    "curious",
    "human",
    "polite",
)

VISION = {
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 14,
    "image_size": 42,
    "projection_dim": 16,
}
PATCHES = 9
# As in the published names: patch and image size at the end.
TOWER = "openai/clip-vit-tiny-patch14-42"


def write_sentencepiece(folder: Path, **changes) -> int:
    """Train a small SentencePiece BPE model with byte fallback, like LLaMA's; returns its vocabulary size."""
    import sentencepiece

    drawn = random.Random(0)
    lines = [" ".join(drawn.choices(WORDS, k=12)) + "." for _ in range(400)]
    lines += ["[INST] ### Human: Hi! Assistant: ?", "A chat between a curious human and an assistant's system."] * 5
    source = folder / "sentences.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    settings = {
        "vocab_size": 420, "model_type": "bpe", "byte_fallback": True, "character_coverage": 1.0,
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": True,
        "unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "split_digits": True, "hard_vocab_limit": False,
        "allow_whitespace_only_pieces": True, "minloglevel": 2,
    }  # fmt: skip
    sentencepiece.SentencePieceTrainer.Train(
        input=str(source), model_prefix=str(folder / "tokenizer"), **{**settings, **changes}
    )
    source.unlink()
    (folder / "tokenizer.vocab").unlink()
    return 420


def text_config(vocab: int, kind: str = "mistral") -> dict:
    shared = {
        "vocab_size": vocab,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
    }
    if kind == "mistral":
        return {**shared, "num_key_value_heads": 2, "rope_theta": 1e6, "sliding_window": None}
    if kind == "qwen2":
        return {**shared, "num_key_value_heads": 2, "rope_theta": 1e6, "use_sliding_window": False}
    return shared


def known_model(vocab: int, kind: str = "mistral", *, linear: bool = False, image_token: int, seed: int = 0):
    """Make a random LLaVA with no parameter at its initial value.  linear: its projector is ONE nn.Linear."""
    from transformers import CONFIG_MAPPING, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    config = LlavaConfig(
        text_config=CONFIG_MAPPING[kind](**text_config(vocab, kind)),
        vision_config=CLIPVisionConfig(**VISION),
        image_token_index=image_token,
        image_seq_length=PATCHES,
    )
    model = LlavaForConditionalGeneration(config).eval()
    if linear:
        model.model.multi_modal_projector = torch.nn.Linear(VISION["hidden_size"], 64)
    with torch.no_grad():
        for name, value in model.named_parameters():
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            value.copy_(around + 0.15 * torch.randn_like(value))
    return model


def tower_tensors(model, prefix: str) -> dict[str, torch.Tensor]:
    """Tensors of the tower under `prefix` + `vision_model.…`, with position_ids as in older checkpoints."""
    old = "model.vision_tower."
    found = {
        f"{prefix}vision_model.{name.removeprefix(old).removeprefix('vision_model.')}": value.clone()
        for name, value in model.state_dict().items()
        if name.startswith(old)
    }
    found[f"{prefix}vision_model.embeddings.position_ids"] = torch.arange(PATCHES + 1)[None]
    return found


def language_tensors(model, vocab: int) -> dict[str, torch.Tensor]:
    """Embedding, layers, norm and head under LLaMA's names, truncated to the published vocabulary."""
    found = {}
    for name, value in model.state_dict().items():
        if name.startswith("model.language_model."):
            found["model." + name.removeprefix("model.language_model.")] = value.clone()
    found["lm_head.weight"] = model.state_dict()["lm_head.weight"].clone()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        found[name] = found[name][:vocab].clone()
    found["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    return found


def projector_tensors(model) -> dict[str, torch.Tensor]:
    """mlp2x_gelu's `0` and `2`, or the single linear's `weight` and `bias`."""
    places = {"linear_1.weight": "0.weight", "linear_1.bias": "0.bias",
              "linear_2.weight": "2.weight", "linear_2.bias": "2.bias"}  # fmt: skip
    own = model.model.multi_modal_projector.state_dict()
    return {f"model.mm_projector.{places.get(name, name)}": value.clone() for name, value in own.items()}


def v15_config(vocab: int, **changes) -> dict:
    """Make a tiny config with all keys of llava-med-v1.5's config.json, including unused ones."""
    return {
        "architectures": ["LlavaMistralForCausalLM"], "model_type": "llava_mistral", **text_config(vocab),
        "bos_token_id": 1, "eos_token_id": 2, "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 128,
        "mm_vision_tower": TOWER, "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad", "mm_patch_merge_type": "flat", "tie_word_embeddings": False,
        "feature_outs": "encoder+decoder", "img_size": 640, "segtok_posembed": "sincos",
        "torch_dtype": "float32", **changes,
    }  # fmt: skip


def v10_config(vocab: int, **changes) -> dict:
    """Make a tiny config with the keys of llava-med-7b-delta; its model_type is also used by transformers."""
    text = {k: v for k, v in text_config(vocab, "llama").items() if k != "max_position_embeddings"}
    return {
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava", **text, "max_sequence_length": 512,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1, "mm_hidden_size": 128,
        "mm_vision_tower": TOWER, "mm_vision_select_layer": -2,
        "mm_use_im_start_end": True, "use_mm_proj": True, "tune_mm_mlp_adapter": False,
        "torch_dtype": "float32", "transformers_version": "4.28.0.dev0", **changes,
    }  # fmt: skip


def write_json(path: Path, content) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_bin(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 2) -> None:
    """Write `pytorch_model-0000i-of-0000n.bin` with an index; one shard gives a single file."""
    _write(folder, tensors, shards, "pytorch_model", "bin", torch.save)


def write_safetensors(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 2) -> None:
    """Write `model-0000i-of-0000n.safetensors` with an index; one shard gives a single file."""
    from safetensors.torch import save_file

    _write(folder, tensors, shards, "model", "safetensors", lambda part, path: save_file(part, path))


def _write(folder, tensors, shards, stem, ending, save):
    names = list(tensors)
    weight_map = {}
    for i in range(shards):
        file = f"{stem}.{ending}" if shards == 1 else f"{stem}-{i + 1:05}-of-{shards:05}.{ending}"
        shard = names[i::shards]
        save({name: tensors[name].contiguous() for name in shard}, folder / file)
        weight_map.update(dict.fromkeys(shard, file))
    if shards > 1:
        write_json(folder / f"{stem}.{ending}.index.json", {"metadata": {}, "weight_map": weight_map})


def write_clip(folder: Path, model) -> None:
    """Write a stock CLIP checkpoint: the model's tower with a text half, projections and config."""
    folder.mkdir(exist_ok=True)
    tensors = tower_tensors(model, "")
    tensors |= {
        "text_model.embeddings.token_embedding.weight": torch.randn(8, 16),
        "text_projection.weight": torch.randn(16, 16),
        "visual_projection.weight": torch.randn(16, 128),
        "logit_scale": torch.tensor(2.66),
    }
    write_bin(folder, tensors, shards=1)
    write_json(folder / "config.json", {"model_type": "clip", "vision_config": VISION, "text_config": {}})
