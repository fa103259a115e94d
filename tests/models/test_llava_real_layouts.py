"""Tensor names and shapes of the real 7B checkpoints on the meta device: every tensor has a place in the model.

Total sizes are checked against the published files, so that a wrong list of tensors is detected.
"""

from __future__ import annotations

import math

import pytest

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import DeltaWeights, LoraWeights
from evalkit.models.llava_config import llava_config, read_original
from evalkit.models.llava_tensors import check, empty_model, plan
from evalkit.models.llava_tower import ChosenTower, choose_tower, tower_config
from tests.support import tiny_checkpoints as tiny

MISTRAL = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 32768, "rope_theta": 1000000.0, "sliding_window": None,
    "rms_norm_eps": 1e-5, "vocab_size": 32000, "mm_vision_tower": "openai/clip-vit-large-patch14-336",
}  # fmt: skip
LLAMA = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "rms_norm_eps": 1e-6, "vocab_size": 32004,
    "mm_vision_tower": "openai/clip-vit-large-patch14",
}  # fmt: skip
QWEN2 = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "max_position_embeddings": 131072, "rope_theta": 1000000.0, "sliding_window": 131072,
    "use_sliding_window": False, "max_window_layers": 28, "rms_norm_eps": 1e-6, "vocab_size": 152064,
}  # fmt: skip


def language(size: dict, *, bias: bool = False, inv_freq: bool = False) -> dict[str, tuple[int, ...]]:
    h, inner, vocab = size["hidden_size"], size["intermediate_size"], size["vocab_size"]
    kv = h // size["num_attention_heads"] * size["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (vocab, h), "model.norm.weight": (h,), "lm_head.weight": (vocab, h)}
    for i in range(size["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        for part, shape in {"q": (h, h), "k": (kv, h), "v": (kv, h), "o": (h, h)}.items():
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = shape
            if bias and part != "o":
                shapes[f"{layer}.self_attn.{part}_proj.bias"] = shape[:1]
        for part, shape in {"gate": (inner, h), "up": (inner, h), "down": (h, inner)}.items():
            shapes[f"{layer}.mlp.{part}_proj.weight"] = shape
        shapes[f"{layer}.input_layernorm.weight"] = shapes[f"{layer}.post_attention_layernorm.weight"] = (h,)
        if inv_freq:
            shapes[f"{layer}.self_attn.rotary_emb.inv_freq"] = (64,)
    return shapes


def tower(places: int, prefix: str) -> dict[str, tuple[int, ...]]:
    shapes = {
        "embeddings.class_embedding": (1024,),
        "embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "embeddings.position_embedding.weight": (places + 1, 1024),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.weight": (1024,), f"{norm}.bias": (1024,)}
    for i in range(24):
        layer = f"encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{layer}.self_attn.{part}.weight": (1024, 1024), f"{layer}.self_attn.{part}.bias": (1024,)}
        shapes |= {f"{layer}.mlp.fc1.weight": (4096, 1024), f"{layer}.mlp.fc1.bias": (4096,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (1024, 4096), f"{layer}.mlp.fc2.bias": (1024,)}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{norm}.weight": (1024,), f"{layer}.{norm}.bias": (1024,)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def two_layers(h: int) -> dict[str, tuple[int, ...]]:
    part = "model.mm_projector"
    return {f"{part}.0.weight": (h, 1024), f"{part}.0.bias": (h,), f"{part}.2.weight": (h, h), f"{part}.2.bias": (h,)}


ONE_LAYER = {"model.mm_projector.weight": (4096, 1024), "model.mm_projector.bias": (4096,)}
STORED = "model.vision_tower.vision_tower.vision_model."


class Names:
    """A TensorSource with shapes only."""

    def __init__(self, shapes):
        self.shapes = shapes

    def where(self, name):
        return "meta"


def gigabytes(shapes) -> float:
    return 2 * sum(math.prod(shape) for name, shape in shapes.items() if "inv_freq" not in name) / 1e9


def assert_covered(tmp_path, config: dict, source, *, stock: dict | None, grows: int) -> None:
    tiny.write_json(tmp_path / "config.json", config)
    original = read_original(tmp_path)
    if stock is None:
        chosen = choose_tower(source, "stored", None, original)
    else:
        names = {name.removeprefix("vision_model."): name for name in stock}
        skipped = tuple(name for name in source.shapes if name.startswith(STORED))
        chosen = ChosenTower(Names(stock), names, skipped)
    shapes = {bare: chosen.source.shapes[name] for bare, name in chosen.names.items()}
    vision = tower_config(shapes, original, None)
    model = empty_model(llava_config(original, vision, vocab_size=original.vocab_size + grows, image_token=0))
    tensors = plan(model, original, source, chosen)
    check(model, tensors)
    assert set(tensors) == set(model.state_dict())
    removed = "model.layers.7.self_attn.k_proj.weight"
    short = Names({n: s for n, s in source.shapes.items() if n != removed})
    with pytest.raises(ModelError, match=r"no tensor for .*layers\.7\.self_attn\.k_proj\.weight"):
        check(model, plan(model, original, short, chosen._replace(source=short) if stock is None else chosen))


@pytest.mark.slow
def test_all_686_tensors_of_v15_have_a_place(tmp_path):
    shapes = language(MISTRAL) | two_layers(4096) | tower(576, STORED)
    assert len(shapes) == 686
    assert gigabytes(shapes) == pytest.approx(4.94 + 5.00 + 4.93 + 0.262, abs=0.01)
    config = tiny.v15_config(0, **MISTRAL)
    assert_covered(tmp_path, config, Names(shapes), stock=None, grows=2)
    assert_covered(tmp_path, config, Names(shapes), stock=tower(576, "vision_model."), grows=2)


def test_v15_keeps_rope_and_full_attention_of_its_config(tmp_path):
    tiny.write_json(tmp_path / "config.json", tiny.v15_config(0, **MISTRAL))
    original = read_original(tmp_path)
    vision = tower_config(tower(576, ""), original, None)
    config = llava_config(original, vision, vocab_size=32002, image_token=32000)
    assert config.text_config.rope_parameters["rope_theta"] == 1e6
    assert config.text_config.sliding_window is None
    assert (config.text_config.head_dim, config.text_config.num_key_value_heads) == (128, 8)
    assert (vision.image_size, vision.num_attention_heads, vision.num_hidden_layers) == (336, 16, 24)
    assert config.image_seq_length == 576


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, ("default", 1e6, None)),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}, ("linear", 5e5, 2.0)),
        ({"rope_theta": 1e6, "rope_scaling": None}, ("default", 1e6, None)),
    ],
)
def test_rope_settings_of_all_transformers_versions_are_read(tmp_path, rope, expected):
    config = {k: v for k, v in tiny.v15_config(0, **MISTRAL).items() if k != "rope_theta"}
    tiny.write_json(tmp_path / "config.json", {**config, **rope})
    original = read_original(tmp_path)
    made = llava_config(original, tower_config(tower(576, ""), original, None), vocab_size=32002, image_token=32000)
    found = made.text_config.rope_parameters
    assert (found["rope_type"], found["rope_theta"], found.get("factor")) == expected


def test_all_tensors_of_the_v10_delta_and_its_base_have_a_place(tmp_path):
    delta = language(LLAMA, inv_freq=True) | ONE_LAYER
    base = language({**LLAMA, "vocab_size": 32000}, inv_freq=True)
    assert gigabytes(delta) == pytest.approx(9.98 + 3.51, abs=0.02)
    config = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    source = DeltaWeights(Names(base), Names(delta))
    assert_covered(tmp_path, tiny.v10_config(0, **config), source, stock=tower(256, "vision_model."), grows=0)


def test_v10_keeps_length_and_rope_of_its_llama(tmp_path):
    config = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    tiny.write_json(tmp_path / "config.json", {**tiny.v10_config(0, **config), "max_sequence_length": 2048})
    original = read_original(tmp_path)
    text = llava_config(original, tower_config(tower(256, ""), original, None), vocab_size=32004, image_token=1)
    assert text.text_config.max_position_embeddings == 2048
    assert text.text_config.rope_parameters["rope_theta"] == 10000.0
    assert text.text_config.num_key_value_heads == 32


def test_all_tensors_of_a_lora_on_every_linear_layer_of_v15_have_a_place(tmp_path):
    base = language(MISTRAL) | two_layers(4096) | tower(576, STORED)
    adapter, rank = {}, 128
    for name, shape in language(MISTRAL).items():
        if "_proj.weight" in name:
            inner = f"base_model.model.{name.removesuffix('.weight')}"
            adapter |= {f"{inner}.lora_A.weight": (rank, shape[1]), f"{inner}.lora_B.weight": (shape[0], rank)}
    extra = {f"base_model.model.{name}": shape for name, shape in two_layers(4096).items()}
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 256, "bias": "none"}
    source = LoraWeights(Names(base), Names(adapter), Names(extra), config)
    assert len(source._pairs) == 7 * 32
    assert_covered(tmp_path, tiny.v15_config(0, **MISTRAL), source, stock=None, grows=2)


def test_missing_settings_have_the_defaults_of_the_models_own_code(tmp_path):
    def read(kind: str, **size):
        silent = {k: v for k, v in tiny.v15_config(0, **size).items() if k not in ("image_aspect_ratio", "torch_dtype")}
        tiny.write_json(tmp_path / "config.json", {**silent, "model_type": kind})
        return read_original(tmp_path)

    assert read("llava_mistral", **MISTRAL).aspect == "square"
    assert read("llava_qwen2", **QWEN2).aspect == "pad"  # HuatuoGPT-Vision pads whatever its config says
    raw = {k: v for k, v in tiny.v15_config(0, **QWEN2).items() if k != "mm_vision_select_layer"}
    tiny.write_json(tmp_path / "config.json", {**raw, "model_type": "llava_qwen2", "image_aspect_ratio": None})
    original = read_original(tmp_path)
    assert (original.feature_layer, original.aspect) == (-2, "pad")


def test_all_tensors_of_huatuogpt_vision_with_its_stored_tower_have_a_place(tmp_path):
    shapes = language(QWEN2, bias=True) | two_layers(3584) | tower(576, STORED)
    assert gigabytes(shapes) == pytest.approx(4.88 + 4.93 + 4.97 + 1.09, abs=0.02)
    raw = tiny.v15_config(0, **QWEN2)
    config = {**raw, "model_type": "llava_qwen2", "mm_vision_tower": "./vit/openai-clip-vit-large-patch14-336"}
    assert_covered(tmp_path, config, Names(shapes), stock=None, grows=0)
