"""The doctor's report before a run: files present, resources needed, rendered prompt, problems."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from evalkit.models import doctor
from evalkit.models.components import missing_message
from evalkit.models.doctor import describe, diagnose, free_memory
from evalkit.models.llava_original import load_llava
from evalkit.models.llava_tower import compare_towers
from evalkit.models.templates import read_template
from tests.models.test_templates import GOLDEN
from tests.support.paths import CONF

MODELS = CONF / "model"


def conf(name: str, **changes):
    return {**yaml.safe_load((MODELS / f"{name}.yaml").read_text()), **changes}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))


@pytest.fixture
def no_weights(monkeypatch):
    def never(*_, **__):
        raise AssertionError("the doctor read weights")

    monkeypatch.setattr("evalkit.models.llava_original.fill", never)


def test_without_a_cache_the_report_says_what_is_missing_and_how_to_fetch_it(no_weights):
    report = diagnose("llava-med", conf("llava-med"), device="cpu", task="slake")
    assert not report.ready
    text = report.problems[0]
    assert "microsoft/llava-med-v1.5-mistral-7b (weights, 91bb16c1)" in text
    assert "openai/clip-vit-large-patch14-336 (vision tower, ce19dc91)" in text
    assert "`python -m evalkit fetch model=llava-med task=slake`" in text
    assert "\n" not in text
    assert (report.form, report.form_seen) == ("llava-full", False)
    assert report.prompt == GOLDEN["mistral-instruct"]
    assert (report.disk, report.memory) == (17_000_000_000, 17_000_000_000)


def test_a_model_without_public_weights_asks_for_a_folder():
    text = missing_message("llava-med-v1.0-coloninst", conf("llava-med-v1.0-coloninst"))
    assert "no public weights" in text
    assert "model.source=DIR" in text


def test_the_message_about_a_missing_gated_model_names_its_licence():
    assert "gated" in missing_message("medgemma-4b", conf("medgemma-4b"))


def test_with_the_files_the_report_has_form_sizes_and_prompt(v15, no_weights):
    config = conf("llava-med", source=str(v15.folder), vision_tower_source=str(v15.clip), dtype="float32")
    report = diagnose("llava-med", config, device="cpu")
    assert report.ready, report.problems
    assert (report.form, report.form_seen) == ("llava-full", True)
    on_disk = sum(p.stat().st_size for p in v15.folder.glob("*.safetensors"))
    assert report.disk == on_disk + (v15.clip / "pytorch_model.bin").stat().st_size
    assert report.memory_free > report.memory > 0.9 * on_disk
    assert "pad" in report.processor
    assert report.towers is not None and report.towers.different > 0.9 * report.towers.tensors
    assert GOLDEN["mistral-instruct"] in eval(describe(report).rsplit("prompt      ", 1)[1])


def test_a_tower_is_equal_to_itself_in_half_precision_too(v15, tmp_path):
    import torch

    from tests.support import tiny_checkpoints as tiny

    stored = tiny.tower_tensors(v15.known, "model.vision_tower.vision_tower.")
    half = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in stored.items()}
    for folder in ("half", "clip"):
        (tmp_path / folder).mkdir()
    tiny.write_safetensors(tmp_path / "half", half, shards=1)
    tiny.write_clip(tmp_path / "clip", v15.known)
    result = compare_towers(tmp_path / "half", tmp_path / "clip")
    assert (result.different, result.largest, result.tensors) == (0, 0.0, len(stored) - 1)
    assert compare_towers(v15.folder, v15.clip).largest > 0.1


def test_a_delta_counts_its_base_and_its_tower(v10):
    folders = {"source": str(v10.delta), "base": str(v10.base), "vision_tower_source": str(v10.clip)}
    report = diagnose("llava-med-v1.0", conf("llava-med-v1.0", **folders), device="cpu")
    assert report.ready, report.problems
    assert report.form == "llava-delta"
    assert [part.role for part in report.parts] == ["weights", "base", "vision tower"]
    assert report.prompt == GOLDEN["simple"]
    assert report.generation.stop == ("###",)


def test_a_folder_of_another_form_than_declared_is_a_problem(v10):
    report = diagnose("x", conf("llava-med", source=str(v10.delta), vision_tower_source=str(v10.clip)), device="cpu")
    assert any("has form llava-delta, but the YAML says llava-full" in p for p in report.problems)


def test_a_tower_of_another_size_than_the_folder_names_is_a_problem_before_anything_is_loaded(lora, tmp_path):
    folder = tmp_path / "lora"
    shutil.copytree(lora.folder, folder)
    own = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**own, "mm_vision_tower": "openai/clip-vit-large-patch14-336"}))
    local = {"source": str(folder), "base": str(lora.base), "vision_tower_source": str(lora.clip)}
    report = diagnose("x", conf("llava-med-v1.5-coloninst-lora", **local), device="cpu")
    assert any("names the vision tower openai/clip-vit-large-patch14-336" in p for p in report.problems)


def test_a_damaged_folder_is_a_problem_and_not_a_crash(tmp_path, v15):
    (tmp_path / "config.json").write_text("{")
    report = diagnose("x", conf("llava-med", source=str(tmp_path), vision_tower_source=str(v15.clip)), device="cpu")
    assert any("is not valid JSON" in p for p in report.problems)


@pytest.mark.parametrize(
    ("named", "wrong"),
    [
        ("laion/CLIP-ViT-L-14-336", True),
        ("openai/clip-vit-large-patch14", True),
        ("openai/clip-vit-large-patch14-336", False),
        ("/data/some/clip", False),
        ("./clip", False),
    ],
)
def test_another_tower_in_the_yaml_than_the_folder_names_is_a_problem(v15, tmp_path, named, wrong):
    folder = tmp_path / "v15"
    shutil.copytree(v15.folder, folder)
    own = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**own, "mm_vision_tower": named}))
    report = diagnose("llava-med", conf("llava-med", source=str(folder)), device="cpu")
    assert any(f"names the vision tower {named}, but" in p for p in report.problems) == wrong
    stored = diagnose("llava-med", conf("llava-med", source=str(folder), vision_tower="stored"), device="cpu")
    assert not any("but vision_tower_source is" in p for p in stored.problems)


def test_weights_that_cannot_be_read_are_a_problem_in_every_form(tmp_path, v10, v15):
    folder = tmp_path / "hf"
    shutil.copytree(Path(doctor.__file__).parent / "phantom-llava", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    report = diagnose("x", conf("phantom-llava", source=str(folder)), device="cpu")
    assert any("is not a complete safetensors file" in p for p in report.problems)
    foreign = {"source": str(v10.delta), "base": str(v15.folder), "vision_tower_source": str(v10.clip)}
    report = diagnose("x", conf("llava-med-v1.0", **foreign), device="cpu")
    assert any("is not the base that" in p for p in report.problems)


def test_a_machine_with_too_little_memory_is_reported(v15, monkeypatch):
    monkeypatch.setattr(doctor, "free_memory", lambda _: 1000)
    config = conf("llava-med", source=str(v15.folder), vision_tower_source=str(v15.clip))
    report = diagnose("llava-med", config, device="cpu")
    assert any("are free on cpu" in p for p in report.problems)


def test_free_memory_is_positive_and_no_more_than_the_machine_has():
    import os

    assert 0 < free_memory("cpu") <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_hugging_face_folder_shows_its_own_template(v15, tmp_path):
    from evalkit.models.convert import convert

    template = read_template("file:vicuna-v1")
    convert(v15.folder, tmp_path / "hf", vision_tower="stored", chat_template=template)
    config = conf("llava-1.5-7b", source=str(tmp_path / "hf"), chat_template=None)
    report = diagnose("llava-1.5-7b", config, device="cpu")
    assert report.ready, report.problems
    assert (report.form, report.prompt) == ("hf", GOLDEN["vicuna-v1"])


def test_the_doctors_prompt_equals_the_processors(v15):
    config = conf("llava-med", source=str(v15.folder), vision_tower_source=str(v15.clip))
    loaded = load_llava(v15.folder, vision_tower_path=v15.clip, chat_template=read_template(config["chat_template"]))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": doctor.QUESTION}]}]
    rendered = loaded.processor.apply_chat_template(chat, add_generation_prompt=True)
    assert diagnose("llava-med", config, device="cpu").prompt == rendered
