"""Rendered prompts, compared character by character with those of the published protocols."""

from __future__ import annotations

import pytest

from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.types import ImagePlace, Message
from evalkit.models.templates import read_template, render

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions."
)
SYSTEM_USER = SYSTEM.replace("curious human", "curious user").replace("the human's", "the user's")
Q = "Is the lung normal?"
BOUND = "<im_start><im_patch><im_end>"

GOLDEN = {
    "simple": (f"{SYSTEM}###Human: Hi!###Assistant: Hi there!  How can I help you today?\n###Human: {Q}\n{BOUND}###"),
    "simple-no-start-end": (
        f"{SYSTEM}###Human: Hi!###Assistant: Hi there!  How can I help you today?\n###Human: {Q}\n<im_patch>###"
    ),
    "llava-v0": f"{SYSTEM}###Human: <image>\n{Q}###Assistant:",
    "llava-v0-start-end": f"{SYSTEM}###Human: {BOUND}\n{Q}###Assistant:",
    "llava-v1": f"{SYSTEM} USER: <image>\n{Q} ASSISTANT:",
    "llava-v1-start-end": f"{SYSTEM} USER: {BOUND}\n{Q} ASSISTANT:",
    "vicuna-v1": f"{SYSTEM_USER} USER: <image>\n{Q} ASSISTANT:",
    "mistral-instruct": f"[INST] <image>\n{Q} [/INST]",
    "huatuogpt-vision": f"<|user|>\n<image>\n{Q}\n<|assistant|>\n",
}


def user_message(question: str = Q, *, image_first: bool = True) -> Message:
    parts = (ImagePlace(), question) if image_first else (question, ImagePlace())
    return Message(role="user", content=parts)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("image_first", [True, False])
def test_the_template_decides_where_the_image_is(name, image_first):
    assert render(read_template(f"file:{name}"), [user_message(image_first=image_first)]) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_without_an_image_there_is_no_image_token(name):
    plain = render(read_template(f"file:{name}"), [Message(role="user", content=(Q,))])
    for place in (f"\n{BOUND}", f"{BOUND}\n", "\n<im_patch>", "<image>\n"):
        golden = GOLDEN[name].replace(place, "")
        if golden != GOLDEN[name]:
            break
    assert plain == golden


def test_spaces_around_the_question_are_stripped_as_in_the_authors_code():
    assert render(read_template("file:mistral-instruct"), [user_message(f"  {Q}\n")]) == GOLDEN["mistral-instruct"]


@pytest.mark.parametrize(
    ("name", "between"),
    [
        ("simple", "###Assistant: yes###Human: "),
        ("llava-v0", "###Assistant: yes###Human: "),
        ("llava-v1", " ASSISTANT: yes</s>USER: "),
        ("mistral-instruct", " [/INST] yes </s>[INST] "),
    ],
)
def test_earlier_turns_are_kept(name, between):
    messages = [user_message(), Message(role="assistant", content=("yes",)), Message(role="user", content=("Which?",))]
    assert between in render(read_template(f"file:{name}"), messages)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_system_message_is_refused_and_not_dropped(name):
    with pytest.raises(ModelError, match="refuses these messages"):
        render(read_template(f"file:{name}"), [Message(role="system", content=("Be brief.",)), user_message()])


def test_an_unknown_template_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match="mistral-instruct"):
        read_template("file:mistral-instrukt")


def test_a_template_cannot_reach_into_python():
    with pytest.raises(ModelError, match="cannot be rendered"):
        render("{{ messages.__class__.__mro__ }}", [user_message()])


def test_transformers_renders_the_same_text(v15):
    from evalkit.models.llava_original import load_llava
    from evalkit.models.templates import chat

    loaded = load_llava(v15.folder, vision_tower="stored")
    for name, golden in GOLDEN.items():
        template = read_template(f"file:{name}")
        rendered = loaded.processor.apply_chat_template(
            chat([user_message()]), chat_template=template, add_generation_prompt=True
        )
        assert rendered == golden, name
