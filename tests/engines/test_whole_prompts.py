"""Prompts arrive whole: stored lengths, ids that lack text, image marks typed in a question, templates that fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import ModelError
from evalkit.core.types import ImagePlace, Message, Request
from evalkit.engines.chat_format import message
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor, render
from evalkit.engines.prompt_check import PromptCheck, fold, missing_part
from evalkit.engines.vllm_prompts import tokens_prompt
from evalkit.models.templates import read_template, without_marks
from evalkit.models.templates import render as render_plainly
from tests.support import tiny_hf
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers
from tests.support.paths import PACKAGE
from tests.support.slow import mostly_slow

Make = Callable[..., HfEngine]
PHANTOM = PACKAGE / "models" / "phantom-llava"

CUT = {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}
PAD = {"strategy": {"Fixed": 60}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
       "pad_token": "<pad>"}  # fmt: skip
STORED: dict[str, dict[str, dict[str, Any]]] = {
    "truncation": {"tokenizer.json": {"truncation": CUT}},
    "truncation on the left": {"tokenizer.json": {"truncation": CUT | {"direction": "Left"}}},
    "truncation of the first": {"tokenizer.json": {"truncation": CUT | {"strategy": "OnlyFirst"}}},
    "padding": {"tokenizer.json": {"padding": PAD}},
    "both": {"tokenizer.json": {"truncation": CUT, "padding": PAD}},
    "a length in the config": {"tokenizer_config.json": {"max_length": 12}},
    "truncation in the config": {"tokenizer_config.json": {"max_length": 12, "truncation": True}},
    "padding in the config": {"tokenizer_config.json": {"max_length": 60, "padding": "max_length"}},
    "a short model_max_length": {"tokenizer_config.json": {"model_max_length": 12}},
    "in the processor": {"processor_config.json": {"text_kwargs": {"truncation": True, "max_length": 12}}},
}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", mostly_slow(STORED, ["both", "truncation in the config", "in the processor"]))
def test_stored_lengths_change_no_answer(engine: Make, folder: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name, change in STORED[kind].items():
        file = copy / name
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**content, **change}), encoding="utf-8")
    requests = tiny.requests(tmp_path / "images", [3, 1], tiny.spec(folder).generation)
    assert answers(engine(tiny.spec(copy)), requests) == answers(engine(), requests)
    processor = engine(tiny.spec(copy)).load().processor
    assert processor.tokenizer("w1 " * 40)["input_ids"] == tiny.tokenizer()("w1 " * 40)["input_ids"]


def test_a_tokenizer_that_cuts_all_the_same_stops_the_run(engine: Make, folder: Path, tmp_path: Path) -> None:
    requests = tiny.requests(tmp_path / "images", [3, 1], tiny.spec(folder).generation, words=(6, 9))
    for workers in (0, 2):
        made = engine(workers=workers)
        loaded = made.load()
        loaded.processor = Cutting(loaded.processor)
        with pytest.raises(ModelError, match=r"whole prompt of sample \d-\d: \d+ characters are missing"):
            list(made.generate(requests))


class Cutting:
    """A processor that drops the last five token ids of every prompt."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.image_processor = processor.image_processor

    def __call__(self, **arguments: Any) -> Any:
        features = self._processor(**arguments)
        return {name: t[:, :-5] if name != "pixel_values" else t for name, t in features.items()}

    def __getattr__(self, name: str) -> Any:
        if name == "_processor":
            raise AttributeError(name)
        return getattr(self._processor, name)


def test_the_first_prompts_and_ever_longer_ones_are_checked() -> None:
    check, processor = PromptCheck(), tiny.processor()
    for text in ["w1 w2"] * 20 + ["w1 w2 w3", "w1", "w2", "w1 w2 w3 w4"]:
        check.check(processor, text, processor.tokenizer(text)["input_ids"], "s")
    assert check.checked == 6
    with pytest.raises(ModelError, match=r"'w1 w2 w3 w4 w5' \(of 14 characters, in 4 token ids\)"):
        check.check(processor, "w1 w2 w3 w4 w5", processor.tokenizer("w1 w2 w3 w4")["input_ids"], "s")


@pytest.mark.parametrize(
    ("text", "kept", "whole"),
    [
        ("<s><image> look w1 w2 answer", "<s><image><image> look w1 w2 answer", True),
        ("<s><image> look w1 w2 answer", "<s><image><image> look w1 w2", False),
        ("<s><image> look w1 w2 answer", "w1 w2 answer", False),
        ("<image> look w1", "look w1 <image>", True),
        ("", "", True),
        ("<image>", "<image>", True),
        ("w1 é w2 w3 w4", "w1 é w2 w3 w4", True),  # one unknown word
        ("w1 é w2 w3 w4", "w1 é w2", False),
    ],
)
def test_what_ids_lack_of_a_prompt(text: str, kept: str, whole: bool) -> None:
    processor = tiny.processor()
    assert (missing_part(processor, text, processor.tokenizer(kept)["input_ids"]) == "") is whole


def test_unknown_characters_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    check, processor = PromptCheck(), tiny.processor()
    for text in ("w1 é", "w1 é ü"):
        check.check(processor, text, processor.tokenizer(text)["input_ids"], "s7")
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "sample s7: 1 of its 2 tokens are <unk>" in said


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3", "internvl"])
@pytest.mark.parametrize("text", ["Is it ﬁne?\n\tA  or \u200bB:  漢字 ① é 🫁", "plain", "  outer  "])
def test_tokenizers_of_other_families_hold_whole_prompts(tmp_path: Path, kind: str, text: str) -> None:
    tokenizer = tiny_hf.tokenizer(kind)
    processor = type("Words", (), {"tokenizer": tokenizer})()
    prompt = f"<|im_start|>user\n{tiny_hf.IMAGE[kind]}{text}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt)["input_ids"]
    assert missing_part(processor, prompt, ids) == ""
    assert missing_part(processor, prompt, ids[: len(ids) - 14])


def test_folding_ignores_what_tokenizers_normalise() -> None:
    assert fold("▁Größe\u00a0①\r\n") == fold("grösse 1")
    assert fold("left") != fold("right")


# --- marks of images in a question

MARKS = ("<image>", "<im_patch>", "<im_start>", "<im_end>", "<image_soft_token>", "<start_of_image>", "<end_of_image>",
         "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_1|>", "<|image|>", "<img>",
         "</img>", "<IMG_CONTEXT>", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<video>")  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_becomes_text_and_nothing_else_changes(mark: str) -> None:
    spaced = f"{mark[0]} {mark[1:]}"
    assert without_marks(f"Is {mark}{mark} left?") == f"Is {spaced}{spaced} left?"
    sent = message(Message(role="user", content=(ImagePlace(0), f"What is {mark}?")), ["data:x"])
    assert [part["type"] for part in sent["content"]] == ["image_url", "text"]
    assert sent["content"][1]["text"] == f"What is {spaced}?"
    assert message(Message(role="user", content=(mark,)), [])["content"] == spaced


@pytest.mark.parametrize("text", ["a < b > c", "<b>", "image", "<images>", "[1]", "<|user|>", "x<imagex>", "＜image＞"])
def test_other_text_is_unchanged(text: str) -> None:
    assert without_marks(text) == text


TYPED = ("What is <image> w1", "<image> w2", "w1\n<image>", "<image><image>", "w3 <im_patch>")


@pytest.mark.few(2)
@pytest.mark.parametrize("question", TYPED)
def test_a_typed_mark_neither_fails_a_sample_nor_moves_the_image(
    engine: Make, folder: Path, tmp_path: Path, question: str
) -> None:
    request = with_question(tiny.requests(tmp_path / "images", [1], tiny.spec(folder).generation)[0], question)
    loaded = engine().load()
    (row,) = Preprocessor(loaded, workers=0).process([request]).rows
    plain = with_question(request, "w1")
    (usual,) = Preprocessor(loaded, workers=0).process([plain]).rows
    image = loaded.image_token_id
    assert [i for i, t in enumerate(row.ids) if t == image] == [i for i, t in enumerate(usual.ids) if t == image]
    assert len(answers(engine(), [request, replace(plain, sample_id="plain")])) == 2
    vllm = tokens_prompt(loaded.processor, request, [object()])["prompt_token_ids"]
    assert vllm.count(image) == 1


@pytest.mark.few(2)
@pytest.mark.parametrize("name", sorted(p.stem for p in (PACKAGE / "models" / "templates").glob("*.jinja")))
def test_every_chat_format_has_one_image_place_whatever_is_typed(name: str) -> None:
    template = read_template(f"file:{name}")
    assert template is not None

    def rendered(question: str) -> str:
        return render_plainly(template, [Message(role="user", content=(ImagePlace(), question))])

    for mark in MARKS:
        typed = f"Is it {mark} or not?"
        assert rendered(typed) == rendered("Is it QUESTION or not?").replace("QUESTION", f"{mark[0]} {mark[1:]}")


def test_the_processors_own_mark_is_escaped_too() -> None:
    processor = tiny.processor()
    processor.image_token = "<@picture@>"
    text = render(processor, [Message(role="user", content=("Is <@picture@> left?",))])
    assert "< @picture@>" in text and "<@picture@>" not in text


def with_question(request: Request, text: str) -> Request:
    return replace(request, question=text, messages=(Message(role="user", content=(ImagePlace(), text)),))


# --- templates

BAD_TEMPLATES = {
    "raises": "{{ raise_exception('Only user and assistant roles are supported!') }}",
    "does not parse": "{% for m in messages %}{{ m['content'] }}",
    "an unknown filter": "{{ messages | shout }}",
    "joins a list": "{{ 'a' + messages }}",
    "divides by zero": "{{ 1 / 0 }}",
    "an undefined name": "{{ nothing.at.all }}",
    "reaches into Python": "{{ messages.__class__.__mro__ }}",
}


@pytest.mark.parametrize("kind", BAD_TEMPLATES)
@pytest.mark.parametrize("more", mostly_slow([[], ["dry_run=true"]], [["dry_run=true"]]))
@pytest.mark.few(2)
def test_a_template_that_fails_is_one_paragraph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, more: list[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(PHANTOM, copy)
    (copy / "chat_template.jinja").write_text(BAD_TEMPLATES[kind], encoding="utf-8")
    where = [f"model.source={copy}", "limit=2", "leaderboard=null", f"out={tmp_path / 'runs'}"]
    assert main(["model=phantom-llava", "task=phantom", *where, *more]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "the chat template" in lines[0] and "sample 0/test/0/0" in lines[0]


def test_an_engine_with_a_bad_template_stops_too(engine: Make, folder: Path, tmp_path: Path) -> None:
    for template in BAD_TEMPLATES.values():
        spec = tiny.spec(folder, chat_template=template)
        with pytest.raises(ModelError, match="the chat template"):
            list(engine(spec).generate(tiny.requests(tmp_path / "images", [2], spec.generation)))


@pytest.mark.slow
def test_what_only_transformers_renders_does_not_stop_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(PHANTOM, copy)
    file = copy / "chat_template.jinja"
    file.write_text(f"{file.read_text(encoding='utf-8')}{{% generation %}}{{% endgeneration %}}", encoding="utf-8")
    where = [f"model.source={copy}", "limit=2", "leaderboard=null", f"out={tmp_path / 'runs'}"]
    assert main(["model=phantom-llava", "task=phantom", *where]) == 0
    assert "recorded without the chat template" in capsys.readouterr().err
