"""Every model in conf/model: required keys, rendered prompt, and answers of a tiny model of the same class.

The tiny models use the same code as the real weights, including the processors.
"""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import replace

import pytest
import torch
import yaml

from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.images import open_image
from evalkit.core.types import ImagePlace, Message
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.components import locate
from evalkit.models.fetch import select_files
from evalkit.models.formats import recognise
from evalkit.models.generation_presets import choose_preset
from evalkit.models.hub import model_repos
from evalkit.models.llava_original import load_configured
from evalkit.models.templates import chat, read_template, render
from evalkit.pipeline.inputs import request
from evalkit.tasks.image_check import check_images
from evalkit.tasks.phantom import Phantom
from tests.models.test_checkpoint_wiring import answers
from tests.models.test_llava_forms_load import picture
from tests.support import published_sizes, tiny_hf
from tests.support import tiny_checkpoints as tiny
from tests.support.paths import CONF
from tests.support.server_engine import echo, listing, make_requests, pictures, serving
from tests.support.server_engine import engine as server_engine

MODELS = CONF / "model"
CONFIGS = {
    path.stem: config
    for path in sorted(MODELS.glob("*.yaml"))
    if (config := yaml.safe_load(path.read_text())).get("kind") == "checkpoint" and "form" in config
}
MESSAGES = [Message(role="user", content=(ImagePlace(), "is the lung normal?"))]
CLASSES = {
    "phantom-llava": "llava",
    "llava-1.5-7b": "llava",
    "qwen2.5-vl-7b": "qwen2_5_vl",
    "qwen2.5-vl-3b": "qwen2_5_vl",
    "lingshu-7b": "qwen2_5_vl",
    "medgemma-4b": "gemma3",
    "internvl3-8b": "internvl",
    "internvl3.5-8b": "internvl_qwen3",
    "lingshu-32b": "qwen2_5_vl",
    "octomed-7b": "qwen2_5_vl",
    "qoq-med-7b": "qwen2_5_vl",
    "medvlthinker-7b": "qwen2_5_vl",
    "colonr1": "qwen2_5_vl",
    "qwen3-vl-4b": "qwen3_vl",
    "qwen3-vl-8b": "qwen3_vl",
    "medmo-4b": "qwen3_vl",
    "medmo-8b": "qwen3_vl",
    "medix-r1-8b": "qwen3_vl",
    "qwen3-vl-30b-a3b": "qwen3_vl_moe",
    "medix-r1-30b": "qwen3_vl_moe",
    "qwen3.5-4b": "qwen3_5",
    "qwen3.5-9b": "qwen3_5",
    "medgemma-1.5-4b": "gemma3",
    "gemma-4-e4b": "gemma4",
}
# Models whose code is in their repositories: recipes for a server.
SERVED = {"hulu-med-7b", "fleming-vl-8b"}


def test_all_documented_models_are_registered():
    assert set(CONFIGS) == {
        "llava-med", "llava-med-v1.0", "llava-med-v1.0-vqa-rad", "llava-med-v1.0-slake", "llava-med-v1.0-pathvqa",
        "llava-med-v1.0-coloninst", "llava-med-v1.0-coloninst-extra", "llava-med-v1.5-coloninst-lora",
        "llava-med-v1.5-coloninst-lora-extra", "llava-1.5-7b", "qwen2.5-vl-7b", "qwen2.5-vl-3b", "lingshu-7b",
        "medgemma-4b", "huatuogpt-vision-7b", "internvl3-8b", "phantom-llava", "qwen3-vl-4b", "qwen3-vl-8b",
        "qwen3-vl-30b-a3b", "qwen3.5-4b", "qwen3.5-9b", "internvl3.5-8b", "gemma-4-e4b", "medgemma-1.5-4b",
        "lingshu-32b", "medmo-4b", "medmo-8b", "medix-r1-8b", "medix-r1-30b", "octomed-7b", "qoq-med-7b",
        "medvlthinker-7b", "colonr1", "colongpt", "colongpt-lora", *SERVED,
    }  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_each_yaml_has_the_required_keys(name):
    config = CONFIGS[name]
    assert next(iter(config)) == "about"
    for key in ("kind", "form", "source", "revision", "licence", "dtype", "memory_gb", "disk_gb", "image", "presets"):
        assert key in config, key
    revisions = [config["revision"], config.get("base_revision"), config.get("vision_tower_revision")]
    assert all(r is None or (len(r) == 40 and int(r, 16) >= 0) for r in revisions)
    text = (MODELS / f"{name}.yaml").read_text()
    assert "null" not in text or "#" in text, "an open value needs a comment that says why"
    assert choose_preset(config["presets"], config["generation"]).temperature == 0.0
    if config["form"] in ("llava-delta", "llava-lora"):
        assert config["base"]


@pytest.mark.parametrize("name", [n for n, c in CONFIGS.items() if c["chat_template"]])
def test_each_prompt_renders(name):
    template = read_template(CONFIGS[name]["chat_template"])
    assert "is the lung normal?" in render(template, MESSAGES)


def test_llava_15_gets_the_system_text_of_its_training():
    template = read_template(CONFIGS["llava-1.5-7b"]["chat_template"])
    assert template is not None, "the conversion's own template has no system text"
    assert render(template, MESSAGES) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: <image>\nis the lung normal? ASSISTANT:"
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_each_model_has_repositories_or_an_error_that_says_there_are_none(name):
    config = CONFIGS[name]
    if config["source"] is None:
        with pytest.raises(ConfigError, match="no public weights"):
            model_repos(config)
    else:
        assert next(repo.id for repo in model_repos(config)) == config["source"]


def test_the_papers_decoding_is_a_separate_preset():
    v10 = choose_preset(CONFIGS["llava-med-v1.0"]["presets"], "paper")
    assert (v10.temperature, v10.top_k, v10.max_new_tokens, v10.stop) == (0.7, 50, 1024, ("###",))
    v15 = choose_preset(CONFIGS["llava-med"]["presets"], "paper")
    assert (v15.temperature, v15.top_k, v15.top_p, v15.max_new_tokens, v15.stop) == (0.2, 50, 1.0, 1024, ())
    with pytest.raises(ConfigError, match="no generation preset 'papers'"):
        choose_preset(CONFIGS["llava-med"]["presets"], "papers")
    with pytest.raises(ConfigError, match="'temprature' is not a decoding setting"):
        choose_preset({"greedy": {"temprature": 1}}, "greedy")


def test_the_yaml_of_v15_lists_the_digests_of_all_four_shards():
    digests = CONFIGS["llava-med"]["digests"]
    assert len(digests) == 4 and all(len(d) == 64 for d in digests.values())
    assert set(digests) == set(select_files(sorted(digests), model_repos(CONFIGS["llava-med"])[0]))


ORIGINAL = [n for n, c in CONFIGS.items() if c["form"].startswith("llava")]
FIRST = ("llava-med", "llava-med-v1.0", "llava-med-v1.5-coloninst-lora", "huatuogpt-vision-7b", "colongpt")


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in ORIGINAL])
def test_a_tiny_model_in_each_layout_answers(name, v15, v10, lora, huatuo, colongpt):
    config = CONFIGS[name]
    if name == "huatuogpt-vision-7b":
        local = {"source": str(huatuo)}
    elif name == "colongpt":
        local = {"source": str(colongpt.merged), "vision_tower_source": str(colongpt.siglip)}
    elif name == "colongpt-lora":
        local = {"source": str(colongpt.lora), "base": str(colongpt.phi), "vision_tower_source": str(colongpt.siglip)}
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
    prompt = loaded.processor.apply_chat_template(chat(MESSAGES), add_generation_prompt=True)
    inputs = loaded.processor(images=[picture()], text=[prompt], return_tensors="pt")
    prompt_length = inputs["input_ids"].shape[1]
    torch.manual_seed(0)
    answer = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > prompt_length
    blank = {**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}
    assert (loaded.model(**inputs).logits - loaded.model(**blank).logits).abs().max() > 1e-3


def test_a_missing_model_is_refused_with_the_fetch_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = {**CONFIGS["llava-med"], "name": "llava-med"}
    with pytest.raises(ModelError, match=r"python -m evalkit fetch model=llava-med"):
        load_configured(config, locate(config), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def huatuo(tmp_path_factory, spm):
    """A checkpoint in HuatuoGPT-Vision's layout: Qwen2, stored tower, bundled CLIP folder, byte-level BPE tokenizer."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    folder = tmp_path_factory.mktemp("huatuo")
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    Qwen2Tokenizer(vocab=vocab, merges=[], eos_token="<|endoftext|>").save_pretrained(folder)
    size = len(vocab) + 8  # unused rows, as in the real checkpoint
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


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """Tiny random models of the registered classes with real processors, saved in the published form."""
    folder = tmp_path_factory.mktemp("classes")
    return {kind: tiny_hf.save(kind, folder / kind) for kind in tiny_hf.SPECIAL}


FIRST_OF_ITS_CLASS = {kind: next(n for n, k in CLASSES.items() if k == kind) for kind in tiny_hf.SPECIAL}
BY_CLASS = [n for n, kind in CLASSES.items() if kind in tiny_hf.SPECIAL]


@pytest.mark.parametrize(
    "name", [n if n in FIRST_OF_ITS_CLASS.values() else pytest.param(n, marks=pytest.mark.slow) for n in BY_CLASS]
)
@pytest.mark.slow
def test_a_tiny_model_of_each_class_answers_without_torchvision(name, classes):
    def engine(**settings) -> HfEngine:
        config = CONFIGS[name] | {"name": name, "dtype": "float32", "source": str(classes[CLASSES[name]])}
        spec = CheckpointSpec.from_config(config | {"presets": {"greedy": {"max_new_tokens": 6}}})
        return HfEngine(spec=spec, device="cpu", workers=0, **settings)

    assert recognise(classes[CLASSES[name]]) == "hf"
    prefix = CONFIGS[name].get("prefix", "shared")
    usual, alone = (
        engine(share_prefix="require" if prefix == "shared" else "auto"),
        engine(share_prefix="off", batch_size=1),
    )
    found, blank = answers(usual), answers(alone, image="blank")
    assert found == answers(alone)
    assert found != blank, "the image must affect the answers"
    facts = usual.metadata()
    if prefix == "shared":
        assert facts["counters"]["vision_encodes"] == 2
    else:
        assert not facts["prefix_shared"] and list(facts["prefix_not_shared"]) == [prefix]
    assert facts["image_processor"].endswith("Pil")
    if "class" in CONFIGS[name]:
        assert facts["model_class"] == CONFIGS[name]["class"]


@pytest.mark.parametrize(
    "kind", [k if k in ("qwen3_vl", "gemma4") else pytest.param(k, marks=pytest.mark.slow) for k in tiny_hf.SPECIAL]
)
@pytest.mark.slow
def test_batch_size_and_order_change_no_answer_of_a_class(kind, classes):
    name = FIRST_OF_ITS_CLASS[kind]
    config = CONFIGS[name] | {"name": name, "dtype": "float32", "source": str(classes[kind])}
    spec = CheckpointSpec.from_config(config | {"presets": {"greedy": {"max_new_tokens": 6}}})
    task = Phantom(n_test=2)
    loaded, digests = check_images(task.load(), on_missing="error")

    def given(order: int, **settings) -> tuple[dict[str, str | None], dict[str, float | None]]:
        """The texts and their log-probabilities, which show differences that leave a text as it is."""
        engine = HfEngine(spec=spec, device="cpu", workers=0, **settings)
        requests = [
            replace(request(s, task.messages(s), engine, digests), with_probability=True)
            for s in loaded.samples[::order]
        ]
        found = {p.sample_id: p for batch in engine.generate(requests) for p in batch}
        return {i: p.text for i, p in found.items()}, {i: p.logprob for i, p in found.items()}

    texts, logprobs = given(1, share_prefix="off", batch_size=1)
    assert len({round(value, 3) for value in logprobs.values()}) > 10, "answers must vary for equality to be meaningful"
    for settings in ({"share_prefix": "off", "batch_size": 3}, {}):
        other_texts, other_logprobs = given(-1, **settings)
        assert other_texts == texts
        assert other_logprobs == pytest.approx(logprobs, abs=1e-3)


@pytest.mark.parametrize("kind", tiny_hf.SPECIAL)
def test_a_prompt_is_the_processors_own_to_the_token(kind, classes):
    """The tokens that engine=hf makes of text and image, against the processor's `apply_chat_template` with both."""
    name = FIRST_OF_ITS_CLASS[kind]
    config = CONFIGS[name] | {"name": name, "dtype": "float32", "source": str(classes[kind])}
    engine = HfEngine(spec=CheckpointSpec.from_config(config), device="cpu", workers=0)
    task = Phantom(n_test=1)
    loaded, digests = check_images(task.load(), on_missing="error")
    asked = request(loaded.samples[0], task.messages(loaded.samples[0]), engine, digests)
    (row,) = Preprocessor(engine.load(), workers=0).process([asked]).rows
    processor = engine.load().processor
    turns = [
        {
            "role": m.role,
            "content": [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": open_image(ref)}
                for part in m.content
                for ref in asked.images
            ],
        }
        for m in asked.messages
    ]
    expected = processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert list(row.ids) == expected["input_ids"][0].tolist()
    places = engine.load().image_token_id
    assert row.ids.count(places) > 1, "the image has several places"


COUNTED = [n for n, c in CONFIGS.items() if "parameters" in c]


@pytest.mark.parametrize(
    "name", [n if n in ("qwen3-vl-8b", "colongpt") else pytest.param(n, marks=pytest.mark.slow) for n in COUNTED]
)
def test_the_parameters_of_a_yaml_are_those_of_its_class(name):
    model = published_sizes.built(name)
    assert type(model).__name__ == CONFIGS[name]["class"]
    n = sum(p.numel() for p in model.parameters())
    assert n == CONFIGS[name]["parameters"]
    assert CONFIGS[name]["memory_gb"] == math.ceil(n * 2 * 1.1 / 1e9)


@pytest.mark.parametrize("name", sorted(SERVED))
def test_a_recipe_for_a_server_is_asked_under_its_source(name, tmp_path):
    source = CONFIGS[name]["source"]
    entries = {"object": "list", "data": [{"id": source, "object": "model", "owned_by": "vllm"}]}
    seen = []

    def behave(n, body):
        seen.append(body)
        return echo(n, body)

    with serving(behave, model=source, models=listing(**{"/v1/models": entries})) as server:
        engine = server_engine(server, spec=CheckpointSpec.from_config({**CONFIGS[name], "name": name}))
        (predictions,) = engine.generate(make_requests(tmp_path, [1]))
    assert predictions[0].text.startswith("seen:")
    limit = CONFIGS[name]["presets"]["greedy"]["max_new_tokens"]
    assert (seen[0]["model"], seen[0]["max_tokens"], seen[0]["temperature"]) == (source, limit, 0.0)
    assert len(pictures(seen[0])) == 1


def test_every_registered_hugging_face_model_is_tested_above():
    assert set(CLASSES) == {name for name, config in CONFIGS.items() if config["form"] == "hf"}


def test_the_table_in_the_docs_is_up_to_date():
    docs = MODELS.parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("make_models", docs / "make_models.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = (docs / "models.md").read_text(encoding="utf-8")
    assert text == made.page(text), "run python docs/make_models.py"
    assert all(f"| `{name}` |" in text for name in CONFIGS)


def test_every_data_set_of_the_hub_is_pinned_to_a_commit():
    tasks = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / "task").glob("*.yaml")]
    pinned = {t["name"]: str(t["revision"]) for t in tasks if t.get("repo")}
    assert {"slake", "vqa-rad", "pathvqa"} <= pinned.keys()
    assert all(re.fullmatch(r"[0-9a-f]{40}", revision) for revision in pinned.values())
