"""Every model in conf/model: its YAML says what it must, its prompt renders, and a tiny one of its class answers.

LLaVA's layouts go through `load_configured`, the code that the real weights go through, processor and all.  For the
others a tiny random model of the same transformers class is saved, recognised, loaded and asked with hand-made
tensors: the processors of Qwen2.5-VL need torchvision, which the tests do without.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import yaml

from evalkit.errors import ConfigError, ModelError
from evalkit.fetch import select
from evalkit.models.forms import recognise
from evalkit.models.hub import model_repos
from evalkit.models.llava_original import load_configured
from evalkit.models.parts import locate
from evalkit.models.presets import choose
from evalkit.models.templates import chat, read_template, render
from evalkit.types import ImagePlace, Message
from tests.models import tiny
from tests.models.test_llava_forms_load import picture

MODELS = Path(__file__).parents[2] / "conf" / "model"
CONFIGS = {
    path.stem: config
    for path in sorted(MODELS.glob("*.yaml"))
    if (config := yaml.safe_load(path.read_text())).get("kind") == "checkpoint" and "form" in config
}
ASKED = [Message(role="user", content=(ImagePlace(), "is the lung normal?"))]
CLASSES = {
    "phantom-llava": "llava",
    "llava-1.5-7b": "llava",
    "qwen2.5-vl-7b": "qwen2_5_vl",
    "qwen2.5-vl-3b": "qwen2_5_vl",
    "lingshu-7b": "qwen2_5_vl",
    "medgemma-4b": "gemma3",
    "internvl3-8b": "internvl",
}


def test_all_models_that_are_promised_are_registered():
    assert set(CONFIGS) == {
        "llava-med", "llava-med-v1.0", "llava-med-v1.0-vqa-rad", "llava-med-v1.0-slake", "llava-med-v1.0-pathvqa",
        "llava-med-v1.0-coloninst", "llava-med-v1.0-coloninst-extra", "llava-med-v1.5-coloninst-lora",
        "llava-med-v1.5-coloninst-lora-extra", "llava-1.5-7b", "qwen2.5-vl-7b", "qwen2.5-vl-3b", "lingshu-7b",
        "medgemma-4b", "huatuogpt-vision-7b", "internvl3-8b", "phantom-llava",
    }  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_yaml_says_what_it_must(name):
    config = CONFIGS[name]
    assert next(iter(config)) == "about"
    for key in ("kind", "form", "source", "revision", "licence", "dtype", "memory_gb", "disk_gb", "image", "presets"):
        assert key in config, key
    revisions = [config["revision"], config.get("base_revision"), config.get("vision_tower_revision")]
    assert all(r is None or (len(r) == 40 and int(r, 16) >= 0) for r in revisions)
    text = (MODELS / f"{name}.yaml").read_text()
    assert "null" not in text or "#" in text, "an open value needs a comment that says why"
    assert choose(config["presets"], config["generation"]).temperature == 0.0
    if config["form"] in ("llava-delta", "llava-lora"):
        assert config["base"]


@pytest.mark.parametrize("name", [n for n, c in CONFIGS.items() if c["chat_template"]])
def test_its_prompt_renders(name):
    template = read_template(CONFIGS[name]["chat_template"])
    assert "is the lung normal?" in render(template, ASKED)


@pytest.mark.parametrize("name", CONFIGS)
def test_its_repositories_are_known_or_it_says_that_there_are_none(name):
    config = CONFIGS[name]
    if config["source"] is None:
        with pytest.raises(ConfigError, match="no public weights"):
            model_repos(config)
    else:
        assert next(repo.id for repo in model_repos(config)) == config["source"]


def test_the_papers_decoding_is_a_preset_of_its_own():
    v10 = choose(CONFIGS["llava-med-v1.0"]["presets"], "paper")
    assert (v10.temperature, v10.top_k, v10.max_new_tokens, v10.stop) == (0.7, 50, 1024, ("###",))
    assert choose(CONFIGS["llava-med"]["presets"], "paper").temperature == 0.2
    with pytest.raises(ConfigError, match="no generation preset 'papers'"):
        choose(CONFIGS["llava-med"]["presets"], "papers")
    with pytest.raises(ConfigError, match="'temprature' is no decoding setting"):
        choose({"greedy": {"temprature": 1}}, "greedy")


def test_v15_of_the_yaml_lists_the_digests_of_all_four_shards():
    digests = CONFIGS["llava-med"]["digests"]
    assert len(digests) == 4 and all(len(d) == 64 for d in digests.values())
    assert set(digests) == set(select(sorted(digests), model_repos(CONFIGS["llava-med"])[0]))


ORIGINAL = [n for n, c in CONFIGS.items() if c["form"].startswith("llava")]
FIRST = ("llava-med", "llava-med-v1.0", "llava-med-v1.5-coloninst-lora", "huatuogpt-vision-7b")


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in ORIGINAL])
def test_a_tiny_one_in_its_layout_answers_through_the_real_code(name, v15, v10, lora, huatuo):
    config = CONFIGS[name]
    if name == "huatuogpt-vision-7b":
        local = {"source": str(huatuo)}
    elif config["form"] == "llava-lora":
        local = {"source": str(lora.folder), "base": str(lora.base), "vision_tower_source": str(lora.clip)}
    elif config["form"] == "llava-delta":
        local = {"source": str(v10.delta), "base": str(v10.base), "vision_tower_source": str(v10.clip)}
    else:
        of = v15 if config["chat_template"] == "file:mistral-instruct" else v10
        local = {"source": str(of.folder if of is v15 else of.full), "vision_tower_source": str(of.clip)}
    here = {**config, **local, "name": name}
    loaded = load_configured(here, locate(here), dtype="float32", device="cpu")
    assert loaded.form == config["form"]
    prompt = loaded.processor.apply_chat_template(chat(ASKED), add_generation_prompt=True)
    inputs = loaded.processor(images=[picture()], text=[prompt], return_tensors="pt")
    asked = inputs["input_ids"].shape[1]
    torch.manual_seed(0)
    answer = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > asked
    blank = {**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}
    assert (loaded.model(**inputs).logits - loaded.model(**blank).logits).abs().max() > 1e-3


def test_a_model_that_is_not_here_is_refused_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = {**CONFIGS["llava-med"], "name": "llava-med"}
    with pytest.raises(ModelError, match=r"python -m evalkit fetch model=llava-med"):
        load_configured(config, locate(config), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def huatuo(tmp_path_factory, spm):
    """HuatuoGPT-Vision's layout: Qwen2, tower stored and a CLIP folder inside, byte-level BPE tokenizer."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    folder = tmp_path_factory.mktemp("huatuo")
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    Qwen2Tokenizer(vocab=vocab, merges=[], eos_token="<|endoftext|>").save_pretrained(folder)
    size = len(vocab) + 8  # rows that no token uses, as in the real one
    known = tiny.known_model(size, "qwen2", image_token=len(vocab))
    tensors = tiny.language_tensors(known, size) | tiny.projector_tensors(known)
    tensors |= tiny.tower_tensors(known, "model.vision_tower.vision_tower.")
    tiny.write_safetensors(folder, tensors, shards=2)
    (folder / "vit").mkdir()
    tiny.write_clip(folder / "vit" / "clip_vit_large_patch14_336", known)
    config = tiny.v15_config(size, **tiny.text_config(size, "qwen2"))
    config |= {"model_type": "llava_qwen2", "mm_vision_tower": "./vit/clip_vit_large_patch14_336"}
    del config["mm_use_im_patch_token"], config["mm_use_im_start_end"]
    tiny.write_json(folder / "config.json", config)
    return folder


def tiny_of(kind: str):
    """(config, inputs) of a tiny model of that class: one image, some text."""
    from transformers import CONFIG_MAPPING

    text = {**tiny.text_config(300, "mistral"), "rope_theta": 10000.0}
    ids = torch.randint(10, 200, (1, 12))
    if kind == "llava":
        config = CONFIG_MAPPING[kind](text_config={"model_type": "llama", **tiny.text_config(300, "llama")},
                                      vision_config={"model_type": "clip_vision_model", **tiny.VISION},
                                      image_token_index=299)  # fmt: skip
        ids[0, 2:11] = 299
        return config, {"input_ids": ids, "pixel_values": torch.randn(1, 3, 42, 42)}
    if kind == "qwen2_5_vl":
        text.pop("sliding_window")
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
                  "patch_size": 14, "spatial_merge_size": 2, "window_size": 56,
                  "fullatt_block_indexes": [1]}  # fmt: skip
        config = CONFIG_MAPPING[kind](text_config=text, vision_config=vision, image_token_id=299,
                                      vision_start_token_id=298, video_token_id=297)  # fmt: skip
        ids[0, 1], ids[0, 2:6] = 298, 299
        types = (ids == 299).int()
        grid = torch.tensor([[1, 4, 4]])
        pixels = torch.randn(16, 3 * 2 * 14 * 14)
        return config, {
            "input_ids": ids, "pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": types
        }  # fmt: skip
    if kind == "gemma3":
        text |= {"head_dim": 16, "sliding_window": 64}
        vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                  "image_size": 56, "patch_size": 14}  # fmt: skip
        config = CONFIG_MAPPING[kind](text_config=text, vision_config=vision, mm_tokens_per_image=4,
                                      image_token_index=299, boi_token_index=298, eoi_token_index=297)  # fmt: skip
        ids[0, 1], ids[0, 2:6], ids[0, 6] = 298, 299, 297
        return config, {
            "input_ids": ids, "pixel_values": torch.randn(1, 3, 56, 56), "token_type_ids": (ids == 299).long()
        }  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": [56, 56], "patch_size": [14, 14]}  # fmt: skip
    text.pop("sliding_window")
    config = CONFIG_MAPPING[kind](text_config={"model_type": "qwen2", **text}, vision_config=vision,
                                  image_token_id=299, downsample_ratio=0.5)  # fmt: skip
    ids[0, 2:6] = 299
    return config, {"input_ids": ids, "pixel_values": torch.randn(1, 3, 56, 56)}


@pytest.mark.parametrize("kind", sorted(set(CLASSES.values())))
def test_a_tiny_one_of_its_class_is_recognised_loaded_and_answers(kind, tmp_path):
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    config, inputs = tiny_of(kind)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for value in model.parameters():  # zero-initialised layers would hide the image
            value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(tmp_path)
    tiny.write_json(tmp_path / "preprocessor_config.json", {})
    assert recognise(tmp_path) == "hf"
    loaded, info = AutoModelForImageTextToText.from_pretrained(
        tmp_path, local_files_only=True, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    answer = loaded.eval().generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > inputs["input_ids"].shape[1]
    blank = {**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}
    assert (loaded(**inputs).logits - loaded(**blank).logits).abs().max() > 1e-3


def test_every_registered_hugging_face_model_has_its_class_tried_above():
    assert set(CLASSES) == {name for name, config in CONFIGS.items() if config["form"] == "hf"}


def test_the_page_about_models_holds_the_table_that_the_yamls_make():
    docs = MODELS.parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("make_models", docs / "make_models.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = (docs / "models.md").read_text(encoding="utf-8")
    assert text == made.page(text), "run python docs/make_models.py"
    assert all(f"| `{name}` |" in text for name in CONFIGS)
