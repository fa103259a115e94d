"""The switch of a chat template that makes a model think or not, for generation.reasoning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalkit.core.errors import ConfigError, ModelError
from evalkit.core.types import Message

# Variables of chat templates that are true or false: Qwen, GLM, Gemma, SmolLM; DeepSeek, Kimi, Granite.
FLAGS = ("enable_thinking", "thinking")
# gpt-oss and others: a word.  "medium" is what their authors use where nothing is said.
EFFORT = "reasoning_effort"
_QUESTION = (Message(role="user", content=("Is there a mass?",)),)


@lru_cache(maxsize=32)
def switch_of(template: str, wanted: str) -> Mapping[str, Any]:
    """Variables for the template under generation.reasoning; none under "auto".

    Raises:
        ConfigError: the template has no switch, or none that turns thinking off.
    """
    if wanted == "auto":
        return {}
    found = _candidate(template, wanted)
    if found is None:
        raise ConfigError(_refusal(template, wanted))
    return found


def _candidate(template: str, wanted: str) -> dict[str, Any] | None:
    for name in FLAGS:
        if _names(template, name) and _differs(template, {name: True}, {name: False}):
            return {name: wanted == "on"}
    if _names(template, EFFORT):
        if wanted == "on":
            return {EFFORT: "medium" if _says(template, "medium") or not _says(template, "high") else "high"}
        if _says(template, "none"):  # a word that the template does not know would stand in the prompt as it is
            return {EFFORT: "none"}
    return None


def _names(template: str, variable: str) -> bool:
    return re.search(rf"(?<![\w.'\"]){variable}\b(?!['\"])", template) is not None


def _says(template: str, word: str) -> bool:
    return f"'{word}'" in template or f'"{word}"' in template


def _differs(template: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two values of a switch give two prompts; also where the template cannot be rendered here."""
    from evalkit.models.templates import render

    try:
        return render(template, _QUESTION, one) != render(template, _QUESTION, other)
    except ModelError:
        return True


def _refusal(template: str, wanted: str) -> str:
    known = f"{', '.join(FLAGS)} or {EFFORT}"
    if _names(template, EFFORT):
        return (
            f"generation.reasoning={wanted} is not possible: the model's chat template has {EFFORT}, but no word for "
            "no thought. Leave the setting out."
        )
    return (
        f"generation.reasoning={wanted} is not possible: the model's chat template has no switch for thinking (looked "
        f"for {known}), so that the setting would change nothing. Leave it out; a model that always thinks has its "
        "thoughts split off all the same."
    )
