"""generation.reasoning goes through the chat template's own switch, and is refused by name where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError
from evalkit.core.reasoning import opens_thought
from evalkit.core.types import Generation, ImagePlace, Message
from evalkit.engines.preprocess import render
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.generation_presets import check_settings
from evalkit.models.reasoning_switch import switch_of
from evalkit.models.templates import render as render_plain
from evalkit.runs.prompt_record import template_of
from tests.support import tiny_llava as tiny

BODY = "{% for m in messages %}{% for c in m['content'] %}{{ c['text'] if c['type'] == 'text' else '<image> ' }}"
BODY += "{% endfor %}{% endfor %}"
# The structure of published templates, not their texts.
QWEN = BODY + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
OPENED = BODY + "{{ '<think>\n' if enable_thinking is not defined or enable_thinking else '<think></think>' }}"
GEMMA = "{% if enable_thinking | default(false) %}<|think|>{% endif %}" + BODY
DEEPSEEK = BODY + "{% if not thinking %}</think>{% else %}<think>{% endif %}"
OSS = "{{ 'Reasoning: ' + (reasoning_effort if reasoning_effort is defined else 'medium') }}" + BODY
MISTRAL = "{% if reasoning_effort | default('none') == 'none' %}{% else %}[THINKS]{% endif %}" + BODY


@pytest.mark.parametrize(
    ("template", "on", "off"),
    [
        (QWEN, {"enable_thinking": True}, {"enable_thinking": False}),
        (OPENED, {"enable_thinking": True}, {"enable_thinking": False}),
        (GEMMA, {"enable_thinking": True}, {"enable_thinking": False}),
        (DEEPSEEK, {"thinking": True}, {"thinking": False}),
        (OSS, {"reasoning_effort": "medium"}, None),
        (MISTRAL, {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
        (BODY, None, None),
        # Words in a text, or a switch without effect, are none.
        (BODY + "{# enable_thinking is not supported #}", None, None),
        (BODY + "{{ 'no thinking' }}", None, None),
        (BODY + "{% set x = enable_thinking %}", None, None),
    ],
)
def test_the_switch_of_a_template(template: str, on: dict[str, Any] | None, off: dict[str, Any] | None) -> None:
    assert switch_of(template, "auto") == {}
    messages = (Message(role="user", content=("Is it so?",)),)
    for wanted, expected in (("on", on), ("off", off)):
        if expected is None:
            with pytest.raises(ConfigError, match=f"generation.reasoning={wanted}"):
                switch_of(template, wanted)
            continue
        assert switch_of(template, wanted) == expected
        other = {"on": off, "off": on}[wanted]
        if other is not None:
            assert render_plain(template, messages, expected) != render_plain(template, messages, other)


@pytest.mark.parametrize("template", [QWEN, OPENED, GEMMA, DEEPSEEK, OSS])
def test_the_processor_renders_what_the_prompt_record_has(template: str, tmp_path: Path) -> None:
    processor = tiny.processor()
    processor.chat_template = template
    folder = tiny.save(tmp_path / "m", prepared=processor)
    messages = (Message(role="user", content=(ImagePlace(), "w1 w2")),)
    texts = set()
    for wanted in ("auto", "on") if template == OSS else ("auto", "on", "off"):
        spec = CheckpointSpec(
            name="t", config={"source": str(folder)}, chat_template=None, generation=Generation(reasoning=wanted)
        )  # fmt: skip
        found = template_of(spec)
        shown = render_plain(str(found.text), messages, {**(found.tokens or {}), **found.switch})
        assert render(processor, messages, wanted) == shown
        texts.add(shown)
        if template == OPENED:
            assert opens_thought(shown) is (wanted != "off")
    assert len(texts) == (1 if template == OSS else 2)


def test_a_template_without_a_switch_is_refused_before_the_run(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "m")
    spec = CheckpointSpec(
        name="t", config={"source": str(folder)}, chat_template=None, generation=Generation(reasoning="on")
    )
    with pytest.raises(ConfigError, match="no switch for thinking"):
        template_of(spec)


@pytest.mark.parametrize(("value", "read"), [(True, "on"), (False, "off"), ("on", "on"), ("auto", "auto")])
def test_on_and_off_are_read_whatever_yaml_makes_of_them(value: Any, read: str) -> None:
    assert check_settings({"reasoning": value}, "generation") == {"reasoning": read}


@pytest.mark.parametrize(
    "settings", [{"reasoning": "maybe"}, {"reasoning_overflow": "cut"}, {"reasoning_budget": "much"}], ids=str
)
def test_other_values_are_refused_with_what_is_possible(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"generation.{next(iter(settings))}"):
        check_settings(settings, "generation")
