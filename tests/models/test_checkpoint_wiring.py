"""Checkpoints of all forms in engine=hf: answers equal the known model's, and every part affects the identity."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evalkit.core.errors import ConfigError, ModelError
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.pipeline.image_modes import with_images
from evalkit.pipeline.inputs import request
from evalkit.pipeline.manifest import describe_generation
from evalkit.tasks.image_check import check_images
from evalkit.tasks.phantom import Phantom
from tests.support import tiny_checkpoints as tiny
from tests.support.model_formats import CASES, conf, hugging_face_form, settings_of


def engine(name: str, **changes) -> HfEngine:
    spec = CheckpointSpec.from_config({**conf(name), "name": name, "dtype": "float32", **changes})
    return HfEngine(spec=spec, device="cpu", max_batch_tokens=4000, workers=0)


def answers(of: HfEngine, n: int = 12, image: str = "original") -> list[tuple[str | None, str]]:
    """Return (text, finish reason) of the first questions of phantom, in order."""
    task = Phantom(n_test=2)
    loaded, digests = check_images(task.load(), on_missing="error")
    requests = [request(s, task.messages(s), of, digests) for s in with_images(loaded.samples, image)[:n]]
    found = {p.sample_id: p for batch in of.generate(requests) for p in batch}
    assert all(p.error is None for p in found.values()), [p.error for p in found.values()]
    return [(found[r.sample_id].text, found[r.sample_id].finish_reason) for r in requests]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.few(2)
def test_every_form_gives_the_answers_of_the_hugging_face_form(case, v15, v10, lora, tmp_path):
    name, settings, known = settings_of(case, v15, v10, lora)
    actual = engine(name, **settings, presets={"greedy": {"max_new_tokens": 8}})
    plain = hugging_face_form(known, actual.load().processor, tmp_path / "hf")
    expected = engine(name, source=str(plain), vision_tower=None, presets={"greedy": {"max_new_tokens": 8}})
    assert answers(actual) == answers(expected)
    assert len({text for text, _ in answers(actual)}) > 1, "answers must vary for equality to be meaningful"


def test_the_two_towers_give_different_answers(v15):
    short = {"presets": {"greedy": {"max_new_tokens": 8}}}
    stored, stock = (
        engine("llava-med", source=str(v15.folder), vision_tower=t, vision_tower_source=str(v15.clip), **short)
        for t in ("stored", "stock")
    )
    assert stored.identity != stock.identity
    assert answers(stored) != answers(stock)


@pytest.fixture
def copy(v10, tmp_path):
    """The delta with its base and its stock tower, in folders that may be changed."""
    folders = SimpleNamespace(**{n: tmp_path / n for n in ("delta", "base", "clip")})
    for name, folder in vars(folders).items():
        shutil.copytree(getattr(v10, name), folder)
    return folders


def delta(folders, **changes) -> HfEngine:
    parts = {"source": str(folders.delta), "base": str(folders.base), "vision_tower_source": str(folders.clip)}
    return engine("llava-med-v1.0", **{**parts, **changes})


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("delta", "pytorch_model-00001-of-00002.bin"), ("delta", "pytorch_model-00002-of-00002.bin"),
        ("delta", "config.json"), ("delta", "tokenizer.model"), ("delta", "added_tokens.json"),
        ("base", "pytorch_model-00003-of-00003.bin"), ("base", "config.json"), ("clip", "pytorch_model.bin"),
        ("clip", "config.json"),
    ],
)  # fmt: skip
def test_a_changed_byte_in_any_file_changes_the_identity(copy, part, file):
    before = delta(copy).identity
    assert delta(copy).identity == before
    path = getattr(copy, part) / file
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert delta(copy).identity != before
    path.write_bytes(content)
    assert delta(copy).identity == before


def test_a_model_card_and_another_location_do_not_change_the_identity(copy, tmp_path):
    before = delta(copy).identity
    (copy.delta / "README.md").write_text("a card")
    moved = tmp_path / "elsewhere"
    copy.delta.rename(moved)
    assert delta(copy, source=str(moved)).identity == before


def test_template_dtype_and_tower_setting_are_part_of_the_identity(copy, v15):
    found = {
        delta(copy).identity,
        delta(copy, chat_template="file:simple-no-start-end").identity,
        delta(copy, chat_template="{{ messages }}").identity,
        delta(copy, dtype="bfloat16").identity,
    }
    assert len(found) == 4


def test_a_stock_tower_changes_the_identity_only_if_it_is_used(v15, tmp_path):
    clip = tmp_path / "clip"
    absent, stored, stock = {"vision_tower": "stored"}, {"vision_tower": "stored"}, {"vision_tower": "stock"}
    absent["vision_tower_source"] = "nobody/nothing"
    stored["vision_tower_source"] = stock["vision_tower_source"] = str(clip)
    shutil.copytree(v15.clip, clip)
    before = {str(s): engine("llava-med", source=str(v15.folder), **s).identity for s in (absent, stored, stock)}
    assert before[str(absent)] == before[str(stored)] != before[str(stock)]
    config = (clip / "config.json").read_text()
    (clip / "config.json").write_text(config.replace('"num_attention_heads": 2', '"num_attention_heads": 4'))
    after = {str(s): engine("llava-med", source=str(v15.folder), **s) for s in (stored, stock)}
    assert after[str(stored)].identity == before[str(stored)]
    assert after[str(stock)].identity != before[str(stock)]
    heads = [e.load().model.config.vision_config.num_attention_heads for e in after.values()]
    assert heads == [2, 4]


def test_a_bundled_tower_is_part_of_the_identity(v15, tmp_path):
    folder = tmp_path / "inside"
    shutil.copytree(v15.folder, folder)
    shutil.copytree(v15.clip, folder / "vit")
    tiny.write_json(folder / "config.json", tiny.v15_config(v15.vocab, mm_vision_tower="./vit"))
    settings = {"source": str(folder), "vision_tower": "stock", "vision_tower_source": None}
    before = engine("huatuogpt-vision-7b", **settings).identity
    with (folder / "vit/pytorch_model.bin").open("ab") as file:
        file.write(b" ")
    assert engine("huatuogpt-vision-7b", **settings).identity != before


def test_a_preset_changes_the_decoding_and_an_unknown_name_gets_a_suggestion():
    greedy, paper = (
        CheckpointSpec.from_config({**conf("llava-med"), "name": "m", "generation": g}).generation
        for g in ("greedy", "paper")
    )
    assert (greedy.temperature, paper.temperature) == (0.0, 0.2)
    assert describe_generation(greedy) != describe_generation(paper)
    with pytest.raises(ConfigError, match=r"no generation preset 'papr'.*'paper'"):
        CheckpointSpec.from_config({**conf("llava-med"), "name": "m", "generation": "papr"})
    with pytest.raises(ConfigError, match=r"no chat template 'mistral-instuct'.*'mistral-instruct'"):
        CheckpointSpec.from_config({**conf("llava-med"), "name": "m", "chat_template": "file:mistral-instuct"})


def test_a_task_may_set_the_answer_length_under_any_preset():
    config = {**conf("llava-med-v1.0"), "name": "m", "generation": "paper"}
    found = CheckpointSpec.from_config(config, {"max_new_tokens": 7}).generation
    assert (found.max_new_tokens, found.temperature, found.stop) == (7, 0.7, ("###",))


def write_endless_answerer(v10, folder: Path) -> Path:
    """Write weights in v1.0's layout that answer "yes" and then "#" without end to every question.

    The blocks contribute nothing, so the next token depends on the last one only.
    """
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(v10.full / "tokenizer.model"))
    yes, mark = pieces.piece_to_id("\u2581yes"), pieces.piece_to_id("<0x23>")
    assert yes != pieces.unk_id() != mark
    tensors = tiny.language_tensors(v10.known, v10.vocab) | tiny.projector_tensors(v10.known)
    start, then = torch.eye(2).repeat_interleave(32, dim=1)
    for name, value in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) or name == "lm_head.weight":
            value.zero_()
    tensors["model.norm.weight"].fill_(1.0)
    tensors["model.embed_tokens.weight"][:] = start
    tensors["model.embed_tokens.weight"][[yes, mark]] = then
    tensors["lm_head.weight"][yes] = start
    tensors["lm_head.weight"][mark] = then
    shutil.copytree(v10.full, folder)
    tiny.write_bin(folder, tensors, shards=2)
    return folder


def test_an_answer_of_v10_ends_at_its_separator(v10, tmp_path):
    source = write_endless_answerer(v10, tmp_path / "talks")
    settings = {"source": str(source), "base": None, "vision_tower_source": str(v10.clip)}
    stops = engine("llava-med-v1.0", **settings)
    assert stops.generation.stop == ("###",)
    assert set(answers(stops, 4)) == {("yes", "stop")}
    endless = engine("llava-med-v1.0", **settings, presets={"greedy": {"max_new_tokens": 6}})
    assert set(answers(endless, 4)) == {("yes#####", "length")}


def test_a_conversion_is_accepted_only_with_the_tower_it_records(v15, tmp_path):
    actual = engine("llava-med", source=str(v15.folder), vision_tower="stored", vision_tower_source=None)
    plain = hugging_face_form(v15.known, actual.load().processor, tmp_path / "hf")
    for setting in ("stored", "stock"):
        with pytest.raises(ModelError, match=r"converted without a record of the tower.*model.vision_tower=null"):
            engine("llava-med", source=str(plain), vision_tower=setting)
    assert engine("llava-med", source=str(plain), vision_tower=None).parts[0].folder == plain
    (plain / "evalkit-conversion.json").write_text('{"vision_tower": "stored"}')
    with pytest.raises(ModelError, match=r"converted with vision_tower=stored.*model.vision_tower=stored"):
        engine("llava-med", source=str(plain), vision_tower="stock")
    assert [p.role for p in engine("llava-med", source=str(plain), vision_tower="stored").parts] == ["weights"]
