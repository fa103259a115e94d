"""Damaged, unsuitable and malicious files: each has its own error that names file and tensor, and no code is run."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from evalkit.core.errors import ModelError
from evalkit.core.types import Generation
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.components import Part
from evalkit.models.formats import recognise
from evalkit.models.llava_original import load_llava
from evalkit.models.templates import read_template
from evalkit.models.tensor_files import open_folder
from tests.support import tiny_checkpoints as tiny
from tests.support.paths import PACKAGE


@pytest.fixture
def copy15(v15, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(v15.folder, folder)
    return folder


def rewrite(v15, folder: Path, change) -> None:
    """Rewrite the checkpoint with `change` applied to its table of tensors."""
    for file in folder.glob("model*"):
        file.unlink()
    tensors = dict(v15.tensors)
    change(tensors)
    tiny.write_safetensors(folder, tensors, shards=2)


def load(folder: Path, **options):
    return load_llava(folder, vision_tower="stored", **options)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.mlp.down_proj.weight",
        "model.mm_projector.2.bias",
        "lm_head.weight",
        "model.vision_tower.vision_tower.vision_model.encoder.layers.2.layer_norm2.bias",
    ],
)
def test_a_missing_tensor_is_named(v15, copy15, name):
    rewrite(v15, copy15, lambda tensors: tensors.pop(name))
    part = {"model.mm_projector.2.bias": "linear_2.bias"}.get(name, ".".join(name.split(".")[-3:]))
    with pytest.raises(ModelError, match=f"no tensor for .*{part} ") as caught:
        load(copy15)
    assert "1 of " in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["model.layers.2.mlp.down_proj.weight", "model.mm_projector.4.weight", "model.image_newline", "model.extra", "x"],
)
def test_an_unexpected_tensor_is_named(v15, copy15, name):
    rewrite(v15, copy15, lambda tensors: tensors.update({name: torch.zeros(3)}))
    with pytest.raises(ModelError, match=rf"the tensor {name} .*has no place in the model"):
        load(copy15)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.k_proj.weight", (64, 64)),
        ("model.mm_projector.0.weight", (64, 64)),
        ("model.embed_tokens.weight", (419, 64)),
        ("lm_head.weight", (430, 64)),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(v15, copy15, name, shape):
    rewrite(v15, copy15, lambda tensors: tensors.update({name: torch.zeros(shape)}))
    with pytest.raises(ModelError, match=rf"the tensor {name} .*has shape \({shape[0]}, {shape[1]}\), but the model"):
        load(copy15)


def test_a_tower_whose_tensors_do_not_match_its_config_is_refused(v15, copy15, tmp_path):
    other = tmp_path / "clip"
    shutil.copytree(v15.clip, other)
    config = json.loads((other / "config.json").read_text())
    config["vision_config"]["image_size"] = 28
    tiny.write_json(other / "config.json", config)
    own = json.loads((copy15 / "config.json").read_text())
    tiny.write_json(copy15 / "config.json", {**own, "mm_vision_tower": "openai/clip-vit-without-a-size"})
    with pytest.raises(ModelError, match=r"position_embedding.* has shape \(10, 128\), but the model .* \(5, 128\)"):
        load_llava(copy15, vision_tower="stock", vision_tower_path=other)


@pytest.mark.parametrize(
    "named",
    ["openai/clip-vit-large-patch14-336", "openai/clip-vit-large-patch14", "/here/openai/clip-vit-tiny-patch16-42"],
)
def test_a_tower_of_another_size_than_the_checkpoint_was_trained_with_is_refused(v15, copy15, named):
    config = json.loads((copy15 / "config.json").read_text())
    tiny.write_json(copy15 / "config.json", {**config, "mm_vision_tower": named})
    for tower in ({"vision_tower": "stock", "vision_tower_path": v15.clip}, {"vision_tower": "stored"}):
        with pytest.raises(ModelError, match=rf"tower {named}, .* patches of 14 pixels and images of 42"):
            load_llava(copy15, **tower)


def test_a_quantised_tensor_is_refused(v15, copy15):
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(v15, copy15, lambda tensors: tensors.update({name: tensors[name].to(torch.int8)}))
    with pytest.raises(ModelError, match=r"stored as torch.int8: a quantised checkpoint"):
        load(copy15)


def test_tables_that_are_not_weights_are_ignored_by_exact_name(v15, copy15):
    rewrite(
        v15, copy15, lambda tensors: tensors.update({"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    )
    load(copy15)
    rewrite(v15, copy15, lambda tensors: tensors.update({"model.layers.1.self_attn.rotary_emb.freq": torch.ones(8)}))
    with pytest.raises(ModelError, match=r"rotary_emb.freq"):
        load(copy15)


@pytest.mark.parametrize("keep", [0, 5, 1000, -7])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_truncated_file_is_reported(v15, v10, tmp_path, keep, ending):
    source = v15.folder if ending == "safetensors" else v10.full
    folder = tmp_path / "cut"
    shutil.copytree(source, folder)
    damaged = sorted(folder.glob(f"*.{ending}"))[-1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:keep])
    with pytest.raises(ModelError, match=rf"{damaged.name} \(\d+ bytes\) .*(truncated|damaged)"):
        load_llava(folder, vision_tower_path=v15.clip)


def test_a_git_lfs_pointer_instead_of_weights_is_reported_as_damaged(copy15):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"
    sorted(copy15.glob("*.safetensors"))[0].write_text(pointer)
    with pytest.raises(ModelError, match="truncated or damaged"):
        load(copy15)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_pickled_code_is_refused_and_not_run(v10, tmp_path, how):
    folder, sprung = tmp_path / "trap", tmp_path / "sprung"
    shutil.copytree(v10.full, folder)
    damaged = sorted(folder.glob("*.bin"))[0]
    if how == "plain":
        damaged.write_bytes(pickle.dumps({"model.norm.weight": Trap(sprung)}))
    else:
        torch.save({"model.norm.weight": Trap(sprung)}, damaged, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(ModelError, match=r"pickled Python objects|truncated or damaged") as caught:
        load_llava(folder, vision_tower_path=v10.clip)
    assert not sprung.exists()
    assert damaged.name in str(caught.value)
    if how == "zip":
        assert "nothing in it was run" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", r"model.safetensors \(.* bytes\) is not a complete safetensors file"),
        ("missing", r"contains no model weights"),
        ("zip", r"pytorch_model.bin contains pickled Python objects other than tensors \((_io|io|builtins).open\)"),
        ("shape", r"1 tensors of .* are mismatched, first .*model.norm.weight.*\[3\]"),
        ("legacy", r"pytorch_model.bin .*(pickled Python objects|truncated or damaged)"),
    ],
)
def test_damaged_weights_in_hugging_face_form_are_refused(tmp_path, damage, message):
    folder, sprung = tmp_path / "hf", tmp_path / "sprung"
    shutil.copytree(PACKAGE / "models" / "phantom-llava", folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    if damage == "shape":
        tensors = safetensors.torch.load(content)
        name = next(n for n in tensors if n.endswith("model.norm.weight"))
        safetensors.torch.save_file({**tensors, name: torch.ones(3)}, weights, metadata={"format": "pt"})
    elif damage == "cut":
        weights.write_bytes(content[: len(content) // 2])
    elif damage != "missing":
        trap = {"model.norm.weight": Trap(sprung)}
        torch.save(trap, folder / "pytorch_model.bin", _use_new_zipfile_serialization=damage == "zip")
    found = (Part(role="weights", source=str(folder), revision=None, folder=folder, size=0),)
    spec = CheckpointSpec(name="phantom", config={"source": str(folder)}, generation=Generation())
    with pytest.raises(ModelError, match=message):
        checkpoint.load(spec, found, device="cpu", dtype="float32")
    assert not sprung.exists()


def test_a_missing_shard_is_named(copy15):
    damaged = sorted(copy15.glob("*.safetensors"))[1]
    damaged.unlink()
    with pytest.raises(ModelError, match=rf"lacks {damaged.name} \(1 of 3 weight files"):
        load(copy15)


def test_an_index_that_does_not_match_its_files_is_refused(copy15):
    index = copy15 / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    files = sorted(set(content["weight_map"].values()))
    name = next(n for n, f in content["weight_map"].items() if f == files[0])
    content["weight_map"][name] = files[1]
    index.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="index and weight files are from different saves"):
        load(copy15)


def test_an_index_may_not_point_outside_its_folder(copy15):
    index = copy15 / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="not a file name in that folder"):
        load(copy15)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mm_projector_type", "mlp3x_gelu"),
        ("image_aspect_ratio", "anyres"),
        ("mm_patch_merge_type", "spatial_unpad"),
        ("mm_vision_select_feature", "cls"),
        ("tie_word_embeddings", True),
        ("hidden_size", None),
        ("mm_vision_select_layer", None),
        ("mm_vision_select_layer", [-2, -1]),
    ],
)
def test_settings_without_an_equivalent_are_refused_by_name(copy15, key, value):
    config = json.loads((copy15 / "config.json").read_text())
    tiny.write_json(copy15 / "config.json", {**config, key: value})
    with pytest.raises(ModelError, match=key):
        load(copy15)


def test_a_projector_that_does_not_match_the_config_is_named(copy15):
    config = json.loads((copy15 / "config.json").read_text())
    tiny.write_json(copy15 / "config.json", {**config, "mm_projector_type": "linear"})
    with pytest.raises(ModelError, match=r"model.mm_projector.\d"):
        load(copy15)


def test_the_error_about_a_missing_tower_says_what_to_fetch(v10):
    with pytest.raises(ModelError, match=tiny.TOWER):
        load_llava(v10.full)
    with pytest.raises(ModelError, match=r"contains no tensors under model.vision_tower"):
        load_llava(v10.full, vision_tower="stored")


def test_an_unknown_tower_without_a_folder_is_refused(copy15):
    config = json.loads((copy15 / "config.json").read_text())
    tiny.write_json(copy15 / "config.json", {**config, "mm_vision_tower": "microsoft/BiomedCLIP"})
    with pytest.raises(ModelError, match=r"BiomedCLIP.*vision_tower_path"):
        load(copy15)


def test_parts_without_a_base_and_complete_weights_with_one_are_refused(v10, lora):
    for folder in (v10.delta, lora.folder):
        with pytest.raises(ModelError, match=r"give the folder of the base weights"):
            load_llava(folder, vision_tower_path=v10.clip)
    with pytest.raises(ModelError, match="remove the base"):
        load_llava(v10.full, base=v10.base, vision_tower_path=v10.clip)


def test_a_delta_against_another_base_is_refused(v10, v15):
    with pytest.raises(ModelError, match=r"not the base that the delta was made against|made against another base"):
        load_llava(v10.delta, base=v15.folder, vision_tower_path=v10.clip)


def test_a_delta_over_a_llava_is_refused(v10, tmp_path):
    """Its tensors have the shapes of a LLaMA's, but the sum would be meaningless."""
    other = tmp_path / "other"
    shutil.copytree(v10.full, other)
    with pytest.raises(ModelError, match=r"mm_projector.* is also in the base .* itself a LLaVA"):
        load_llava(v10.delta, base=other, vision_tower_path=v10.clip)


def test_a_tokenizer_of_another_size_is_refused(v10, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(v10.full, folder)
    (folder / "added_tokens.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    tiny.write_json(folder / "config.json", {**config, "vocab_size": 430})
    with pytest.raises(ModelError, match="this is not its tokenizer"):
        load_llava(folder, vision_tower_path=v10.clip)


def test_a_damaged_tokenizer_is_named(copy15):
    (copy15 / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"tokenizer.model is not a SentencePiece model"):
        load(copy15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": 8}, "at rank 8"),
        ({"kasa_config": {"beta": 1}}, "kasa_config"),
        ({"r": 0}, "r 0"),
    ],
)
def test_an_adapter_that_is_not_plain_lora_is_refused(lora, tmp_path, change, message):
    folder = tmp_path / "adapter"
    shutil.copytree(lora.folder, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    tiny.write_json(folder / "adapter_config.json", {**config, **change})
    with pytest.raises(ModelError, match=message):
        load(folder, base=lora.base)


STORED_TOWER = "base_model.model.model.vision_tower.vision_tower.vision_model."


@pytest.mark.parametrize("how", ["adapter", "full"])
def test_a_tower_trained_by_a_lora_is_not_replaced_by_the_stock_one(lora, tmp_path, how):
    folder = tmp_path / "lora"
    shutil.copytree(lora.folder, folder)
    if how == "adapter":
        file, layer = folder / "adapter_model.bin", f"{STORED_TOWER}encoder.layers.0.self_attn.q_proj"
        more = {f"{layer}.lora_A.weight": torch.ones(4, 128), f"{layer}.lora_B.weight": torch.ones(128, 4)}
    else:
        file = folder / "non_lora_trainables.bin"
        more = {f"{STORED_TOWER}post_layernorm.bias": torch.ones(128)}
    torch.save({**torch.load(file, weights_only=True), **more}, file)
    with pytest.raises(ModelError, match=r"changes 1 tensors of the vision tower.*vision_tower=stored"):
        load_llava(folder, base=lora.base, vision_tower="stock", vision_tower_path=lora.clip)
    load_llava(folder, base=lora.base, vision_tower="stored")


def test_incomplete_adapters_and_unknown_adapter_tensors_are_refused(lora, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(lora.folder, folder)
    whole = torch.load(folder / "adapter_model.bin")
    name = next(n for n in whole if "lora_A" in n)
    torch.save({n: t for n, t in whole.items() if n != name}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="the other half is missing"):
        load(folder, base=lora.base)
    torch.save({**whole, "base_model.model.model.norm.weight": torch.ones(64)}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="neither a lora_A nor a lora_B"):
        load(folder, base=lora.base)


def test_folders_that_are_not_checkpoints_are_reported(tmp_path):
    with pytest.raises(ModelError, match="is not a folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"neither a config.json nor an adapter_config.json"):
        recognise(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ModelError, match="is not valid JSON"):
        recognise(tmp_path)
    for kind in ("minigpt", None, ["llava"], {"llava": 1}, 3):
        tiny.write_json(tmp_path / "config.json", {"model_type": kind})
        with pytest.raises(ModelError, match=re.escape(f"model_type {kind!r}, which is neither")):
            recognise(tmp_path)
    tiny.write_json(tmp_path / "config.json", {"model_type": "qwen2_5_vl"})
    with pytest.raises(ModelError, match=r"has none of processor_config.json"):
        recognise(tmp_path)
    with pytest.raises(ModelError, match="contains no model weights"):
        open_folder(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(ModelError, match="no index file for them"):
        open_folder(tmp_path)


def test_an_adapter_of_another_kind_is_refused(tmp_path):
    tiny.write_json(tmp_path / "adapter_config.json", {})
    with pytest.raises(ModelError, match=r"non_lora_trainables.bin"):
        recognise(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float31", "nn"])
def test_an_unknown_dtype_is_refused(v15, dtype):
    with pytest.raises(ModelError, match="not a floating-point dtype"):
        load(v15.folder, dtype=dtype)


def test_another_models_template_is_refused(v10, v15):
    with pytest.raises(ModelError, match=r"this checkpoint's image token is <image>"):
        load(v15.folder, chat_template=read_template("file:simple"))
    with pytest.raises(ModelError, match=r"this checkpoint's image token is <im_patch>"):
        load_llava(v10.full, vision_tower_path=v10.clip, chat_template=read_template("file:mistral-instruct"))
