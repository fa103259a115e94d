"""Tiny ColonGPT checkpoints in the published layouts: merged, and a LoRA over a Phi-1.5, beside a stock SigLIP.

The layouts are repeated here from the authors' code and the published config.json, independently of the loader.  All
values come from numpy's RandomState, whose numbers are the same in every version: the authors' own logits on these
checkpoints are stored (`colongpt_logits.json`, made by `colongpt_oracle.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, INNER, LAYERS, HEADS = 64, 96, 2, 4
VISION = {
    "hidden_size": 48, "image_size": 70, "intermediate_size": 80, "model_type": "siglip_vision_model",
    "num_attention_heads": 4, "num_hidden_layers": 3, "patch_size": 14,
}  # fmt: skip
PATCHES = 25
# 5 x 5 patches, averaged to 3 x 3 and 2 x 2 places over windows that overlap.
PROJECTOR, PLACES = "ppc_3_2_1", 14
TOWER = "google/siglip-tiny-patch14-70"
UNUSED_ROWS = 9
RANK, ALPHA = 4, 8
END = "<|endoftext|>"
# Runs of spaces are tokens of their own after the vocabulary, as in Phi's tokenizer.
RUNS = ["    ", "   ", "  "]
WORDS = "a the What is this image of polyp Categorize object USER ASSISTANT chat between user and helpful questions"
QUESTIONS = (
    "Categorize the object.",
    "What is shown  in {<12><9><88><79>} of this image?\nAnswer briefly, é",
    "polyp?",
)


def drawn(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def picture(number: int) -> Any:
    """Image `number`: a landscape, a portrait or a square of blocks of colour with noise."""
    from PIL import Image

    width, height = ((96, 61), (50, 83), (70, 70))[number]
    draw = drawn(100 + number)
    blocks = draw.randint(0, 200, (8, 8, 3)).repeat(12, axis=0).repeat(12, axis=1)[:height, :width]
    return Image.fromarray((blocks + draw.randint(0, 56, blocks.shape)).astype(np.uint8))


def linear(draw: Any, name: str, outer: int, inner: int) -> dict[str, np.ndarray]:
    weight = draw.randn(outer, inner) * 1.2 / inner**0.5
    return {f"{name}.weight": weight, f"{name}.bias": 0.3 * draw.randn(outer)}


def norm(draw: Any, name: str, size: int) -> dict[str, np.ndarray]:
    return {f"{name}.weight": 1 + 0.2 * draw.randn(size), f"{name}.bias": 0.2 * draw.randn(size)}


def language(seed: int, rows: int) -> dict[str, np.ndarray]:
    """Tensors of a Phi with a head without bias."""
    draw = drawn(seed)
    found = {"model.embed_tokens.weight": 0.6 * draw.randn(rows, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "dense"):
            found |= linear(draw, f"{layer}.self_attn.{part}", HIDDEN, HIDDEN)
        found |= linear(draw, f"{layer}.mlp.fc1", INNER, HIDDEN) | linear(draw, f"{layer}.mlp.fc2", HIDDEN, INNER)
        found |= norm(draw, f"{layer}.input_layernorm", HIDDEN)
    found |= norm(draw, "model.final_layernorm", HIDDEN)
    found["lm_head.weight"] = draw.randn(rows, HIDDEN) * 2.5 / HIDDEN**0.5
    return found


def adapter(seed: int) -> dict[str, np.ndarray]:
    draw, part = drawn(seed), "model.mm_projector.model"
    found = linear(draw, f"{part}.token_trans_layer.0", HIDDEN, VISION["hidden_size"])
    found[f"{part}.conv.weight"] = draw.randn(HIDDEN, HIDDEN, 3, 3) * 1.2 / (9 * HIDDEN) ** 0.5
    found[f"{part}.conv.bias"] = 0.3 * draw.randn(HIDDEN)
    return found | linear(draw, f"{part}.linear_layer", HIDDEN, HIDDEN)


def tower(seed: int, prefix: str) -> dict[str, np.ndarray]:
    draw, size, inner = drawn(seed), VISION["hidden_size"], VISION["intermediate_size"]
    found = {
        "embeddings.patch_embedding.weight": draw.randn(size, 3, 14, 14) / (3 * 14 * 14) ** 0.5,
        "embeddings.patch_embedding.bias": 0.3 * draw.randn(size),
        "embeddings.position_embedding.weight": 0.5 * draw.randn(PATCHES, size),
    }
    for i in range(VISION["num_hidden_layers"]):
        layer = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(draw, f"{layer}.self_attn.{part}", size, size)
        found |= linear(draw, f"{layer}.mlp.fc1", inner, size) | linear(draw, f"{layer}.mlp.fc2", size, inner)
        found |= norm(draw, f"{layer}.layer_norm1", size) | norm(draw, f"{layer}.layer_norm2", size)
    found |= norm(draw, "post_layernorm", size)
    found |= {"head.probe": draw.randn(1, 1, size), "head.attention.in_proj_weight": draw.randn(3 * size, size)}
    found["head.attention.in_proj_bias"] = draw.randn(3 * size)
    found |= linear(draw, "head.attention.out_proj", size, size) | norm(draw, "head.layernorm", size)
    found |= linear(draw, "head.mlp.fc1", inner, size) | linear(draw, "head.mlp.fc2", size, inner)
    return {f"{prefix}vision_model.{name}": value for name, value in found.items()}


def tensors(found: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in found.items()}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_safetensors(folder: Path, found: dict[str, np.ndarray]) -> None:
    from safetensors.torch import save_file

    save_file(tensors(found), folder / "model.safetensors", metadata={"format": "pt"})


def text_config(rows: int) -> dict[str, Any]:
    return {
        "attention_dropout": 0.0, "bos_token_id": 0, "embd_pdrop": 0.0, "eos_token_id": tokens() - len(RUNS) - 1,
        "hidden_act": "gelu_new", "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": INNER,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 512, "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "num_key_value_heads": HEADS, "partial_rotary_factor": 0.5, "qk_layernorm": False,
        "resid_pdrop": 0.0, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "torch_dtype": "float32", "use_cache": True, "vocab_size": rows,
    }  # fmt: skip


def config(rows: int, mm_vision_tower: str = TOWER, **changes: Any) -> dict[str, Any]:
    """Make a tiny config with all keys of the published config.json."""
    return {
        **text_config(rows), "_name_or_path": "ai4colonoscopy/ColonGPT", "architectures": ["ColongptPhiForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_colongpt_phi.ColongptPhiConfig"}, "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad", "mm_hidden_size": VISION["hidden_size"], "mm_projector_lr": 0.002,
        "mm_projector_type": PROJECTOR, "mm_vision_tower": mm_vision_tower, "model_type": "colongpt-phi",
        "tokenizer_model_max_length": 2048, "tokenizer_padding_side": "right", "transformers_version": "4.46.2",
        "tune_mm_mlp_adapter": False, "unfreeze_vision_tower": False, "use_mm_proj": True, "use_s2": False, **changes,
    }  # fmt: skip


def merges() -> list[tuple[str, str]]:
    """Merge rules that build each word from its left, with a space before it; words share their beginnings."""
    found: dict[tuple[str, str], None] = {}
    for word in (f"Ġ{word}" for word in WORDS.split()):
        for cut in range(1, len(word)):
            found[word[:cut], word[cut]] = None
    return list(found)


def vocabulary() -> dict[str, int]:
    from tokenizers import pre_tokenizers

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges()), END]
    return {word: i for i, word in enumerate(words)}


def tokens() -> int:
    """Number of tokens in the published vocabulary, runs of spaces included."""
    return len(vocabulary()) + len(RUNS)


def write_tokenizer(folder: Path) -> None:
    """Write GPT-2's byte-level BPE as CodeGen's tokenizer has it, in the files of the published repository."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    core = Tokenizer(models.BPE(vocab=vocabulary(), merges=merges()))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    core.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    core.add_tokens([AddedToken(run, normalized=True) for run in RUNS])
    core.save(str(folder / "tokenizer.json"))
    named = {f"{kind}_token": END for kind in ("bos", "eos", "unk")}
    write_json(folder / "tokenizer_config.json", named | {
        "add_prefix_space": False, "clean_up_tokenization_spaces": True, "model_max_length": 2048,
        "tokenizer_class": "CodeGenTokenizer",
    })  # fmt: skip
    write_json(folder / "special_tokens_map.json", named)
    own = [word for word in vocabulary() if word != END]
    write_json(folder / "vocab.json", {word: i for i, word in enumerate([*own, END])})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges()), "utf-8")


def write_siglip(folder: Path) -> Path:
    """Write a stock SigLIP: tower with its pooling, a text half, and the files of its repository."""
    folder.mkdir(parents=True)
    found = tower(3, "") | {"text_model.embeddings.token_embedding.weight": drawn(4).randn(8, 48)}
    write_safetensors(folder, found | {"logit_scale": np.ones(1), "logit_bias": np.ones(1)})
    text = {"hidden_size": 48, "model_type": "siglip_text_model", "num_attention_heads": 4, "num_hidden_layers": 3}
    write_json(folder / "config.json", {"model_type": "siglip", "text_config": text, "vision_config": VISION})
    side = VISION["image_size"]
    write_json(folder / "preprocessor_config.json", {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor", "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"height": side, "width": side},
    })  # fmt: skip
    return folder


def write_merged(folder: Path, mm_vision_tower: str = TOWER) -> Path:
    """Write the merged release: language model, adapter, and a tower that differs from the stock one."""
    folder.mkdir(parents=True)
    stored = tower(7, "model.vision_tower.vision_tower.")
    write_safetensors(folder, language(1, tokens()) | adapter(2) | stored)
    write_json(folder / "config.json", config(tokens(), mm_vision_tower))
    end = text_config(0)["eos_token_id"]
    write_json(folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end})
    write_tokenizer(folder)
    return folder


def write_phi(folder: Path) -> Path:
    """Write a Phi-1.5: more rows than tokens, and a head with a bias."""
    folder.mkdir(parents=True)
    rows = tokens() + UNUSED_ROWS
    write_safetensors(folder, language(1, rows) | {"lm_head.bias": drawn(5).randn(rows)})
    write_json(folder / "config.json", text_config(rows) | {"model_type": "phi", "architectures": ["PhiForCausalLM"]})
    write_tokenizer(folder)
    return folder


def write_lora(folder: Path, base: Path, mm_vision_tower: str = TOWER) -> Path:
    """Write the LoRA release: an adapter on the language model's linear layers, and the trained projector."""
    import torch

    folder.mkdir(parents=True)
    draw, found = drawn(6), {}
    for name, value in language(1, 1).items():
        if name.startswith("model.layers.") and value.ndim == 2:
            inner = f"base_model.model.{name.removesuffix('.weight')}"
            found[f"{inner}.lora_A.weight"] = 0.15 * draw.randn(RANK, value.shape[1])
            found[f"{inner}.lora_B.weight"] = 0.15 * draw.randn(value.shape[0], RANK)
    write_safetensors(folder, found)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    write_json(folder / "adapter_config.json", {
        "auto_mapping": None, "base_model_name_or_path": str(base), "bias": "none", "fan_in_fan_out": False,
        "inference_mode": True, "init_lora_weights": True, "lora_alpha": ALPHA, "lora_dropout": 0.05,
        "modules_to_save": None, "peft_type": "LORA", "r": RANK, "rank_pattern": {}, "alpha_pattern": {},
        "target_modules": ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"], "task_type": "CAUSAL_LM",
    })  # fmt: skip
    extra = {f"base_model.model.{name}": value for name, value in tensors(adapter(8)).items()}
    torch.save(extra, folder / "non_lora_trainables.bin")
    write_json(folder / "config.json", config(tokens() + UNUSED_ROWS, mm_vision_tower))
    return folder
