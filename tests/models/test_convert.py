"""Conversion to Hugging Face form: transformers loads the same model from the converted checkpoint."""

from __future__ import annotations

import json

import pytest
import torch

from evalkit.core.errors import ModelError
from evalkit.models import convert as module
from evalkit.models.components import CONVERSION_RECORD
from evalkit.models.convert import convert
from evalkit.models.formats import recognise
from evalkit.models.processors import load_processor
from evalkit.models.templates import read_template
from tests.models.test_llava_forms_load import assert_same_logits


class Reloaded:
    def __init__(self, folder):
        from transformers import AutoModelForImageTextToText

        self.model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
        self.processor = load_processor("converted", folder)


def test_a_converted_v15_checkpoint_gives_the_known_logits_through_transformers(v15, tmp_path):
    template = read_template("file:mistral-instruct")
    loaded = convert(v15.folder, tmp_path / "hf", vision_tower="stored", chat_template=template)
    again = Reloaded(tmp_path / "hf")
    assert recognise(tmp_path / "hf") == "hf"
    assert_same_logits(again, v15.known, v15.vocab)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert again.model.generation_config.suppress_tokens == [v15.vocab, v15.vocab + 1]
    assert again.processor.chat_template == template
    assert type(again.processor.image_processor).__name__ == "LlavaImageProcessorPil"
    assert again.processor.image_processor.do_pad is True
    record = json.loads((tmp_path / "hf" / CONVERSION_RECORD).read_text())
    assert (record["form"], record["vision_tower"]) == ("llava-full", "stored")


def test_the_tensors_have_the_names_of_published_conversions(v15, tmp_path):
    """vLLM reads no others, but recent versions of transformers write other names."""
    from safetensors import safe_open

    convert(v15.folder, tmp_path / "hf", vision_tower="stored", chat_template=read_template("file:mistral-instruct"))
    with safe_open(tmp_path / "hf" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"} <= names
    assert "vision_tower.vision_model.embeddings.class_embedding" in names
    assert {n.split(".")[0] for n in names} == {"language_model", "vision_tower", "multi_modal_projector"}
    assert all(n.startswith("vision_tower.vision_model.") for n in names if n.startswith("vision_tower."))


def test_a_converted_delta_keeps_its_tokens_and_its_linear_projector(v10, tmp_path):
    template = read_template("file:simple")
    convert(v10.delta, tmp_path / "hf", base=v10.base, vision_tower_path=v10.clip, chat_template=template)
    again = Reloaded(tmp_path / "hf")
    assert_same_logits(again, v10.known, v10.vocab)
    assert again.processor.image_token_id == v10.base_vocab + 1
    assert again.processor.tokenizer.padding_side == "left"


def test_a_folder_in_use_is_left_alone(v15, tmp_path):
    (tmp_path / "existing.txt").write_text("x")
    with pytest.raises(ModelError, match="not an empty folder"):
        convert(v15.folder, tmp_path, vision_tower="stored")
    assert [p.name for p in tmp_path.iterdir()] == ["existing.txt"]


def test_a_failed_save_leaves_no_files(v15, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save", full)
    with pytest.raises(ModelError, match="No space left"):
        convert(v15.folder, tmp_path / "hf", vision_tower="stored")
    assert list(tmp_path.iterdir()) == []
