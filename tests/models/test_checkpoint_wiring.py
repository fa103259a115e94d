"""Checkpoints in their authors' forms through the engine: the same answers as from the Hugging Face form."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import load_option
from evalkit.engines.hf import HfEngine
from evalkit.errors import ConfigError, ModelError
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.convert import convert
from evalkit.types import Generation, ImagePlace, ImageRef, Message, Prediction, Request

SHORT = Generation(max_new_tokens=6)


def spec(name: str, **settings: Any) -> CheckpointSpec:
    config = load_option("model", name) | {"name": name, "dtype": "float32"} | settings
    return replace(CheckpointSpec.from_config(config), generation=SHORT)


def requests(engine: HfEngine) -> list[Request]:
    made = []
    for k in range(3):
        image = ImageRef(kind="draw", path="evalkit.tasks.phantom:draw", member=f"0/test/{k}")
        for q in ("is it a lung", "what is it"):
            made.append(
                Request(
                    sample_id=f"{k}{q}", image_id=str(k), question=q, answer_type=None,
                    messages=(Message(role="user", content=(ImagePlace(0), q)),), images=(image,),
                    image_digests=(str(k),), generation=engine.generation, checkpoint=engine.identity,
                )
            )  # fmt: skip
    return made


def answers(made: CheckpointSpec) -> dict[str, str | None]:
    engine = HfEngine(spec=made, device="cpu")
    found: list[Prediction] = [p for batch in engine.generate(requests(engine)) for p in batch]
    assert not [p.error for p in found if p.error]
    return {p.sample_id: p.text for p in found}


def test_the_original_form_answers_like_its_conversion(v15: Any, tmp_path: Path) -> None:
    own = {"source": str(v15.folder), "vision_tower": "stored", "vision_tower_source": None}
    original = spec("llava-med", **own)
    to = tmp_path / "hf"
    convert(v15.folder, to, vision_tower="stored", chat_template=original.chat_template, dtype="float32")
    converted = spec("llava-med", source=str(to), vision_tower=None, vision_tower_source=None)
    assert answers(original) == answers(converted)


def test_which_vision_tower_is_used_is_part_of_the_identity(v15: Any) -> None:
    stored = spec("llava-med", source=str(v15.folder), vision_tower="stored", vision_tower_source=None)
    stock = spec("llava-med", source=str(v15.folder), vision_tower="stock", vision_tower_source=str(v15.clip))
    beside = spec("llava-med", source=str(v15.folder), vision_tower="stored", vision_tower_source=str(v15.clip))
    one, two, three = (HfEngine(spec=s, device="cpu").identity for s in (stored, stock, beside))
    assert one != two
    assert one == three, "a tower that only lies there is no part of the model"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model"])
def test_a_changed_file_changes_the_identity(v15: Any, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(v15.folder, folder)
    made = spec("llava-med", source=str(folder), vision_tower="stored", vision_tower_source=None)
    before = HfEngine(spec=made, device="cpu").identity
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert HfEngine(spec=made, device="cpu").identity != before


def test_presets_are_named_and_an_unknown_one_is_refused() -> None:
    config = load_option("model", "llava-med") | {"name": "llava-med"}
    greedy = CheckpointSpec.from_config(config).generation
    paper = CheckpointSpec.from_config(config | {"generation": "paper"}).generation
    assert (greedy.temperature, paper.temperature) == (0.0, 0.2)
    assert CheckpointSpec.from_config(config, {"max_new_tokens": 7}).generation.max_new_tokens == 7
    with pytest.raises(ConfigError, match="greedy"):
        CheckpointSpec.from_config(config | {"generation": "gredy"})


def test_a_model_that_is_not_here_says_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="python -m evalkit fetch model=llava-med"):
        HfEngine(spec=spec("llava-med"), device="cpu")


def test_a_model_without_public_weights_says_so() -> None:
    with pytest.raises(ModelError, match=r"model\.source=DIR"):
        HfEngine(spec=spec("llava-med-v1.5-coloninst-lora"), device="cpu")
