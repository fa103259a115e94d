"""Prompt variants: how a question is put to a model (made from the question and its options, never from the answer)."""

from __future__ import annotations

import hashlib

from evalkit.errors import ConfigError, did_you_mean

_SHORT = "Answer the question using a single word or phrase."
_OPTIONS = "Please choose from the following two options: [{}]"
_VARIANTS = {
    "plain": "{question}",
    "short": "{question}\n" + _SHORT,
    "options": "{question} " + _OPTIONS,
}


def render(prompt: str, question: str, choices: tuple[str, ...]) -> str:
    """The text that a model is asked under the variant `prompt`.  Raises ConfigError for an unknown one."""
    if prompt not in _VARIANTS:
        raise ConfigError(f"unknown prompt {prompt!r}. {did_you_mean(prompt, _VARIANTS)}")
    if prompt == "short":
        return f"{question}\n{_SHORT}"
    if prompt == "options" and choices:
        return f"{question} {_OPTIONS.format(', '.join(choices))}"
    return question


def prompt_id(prompt: str) -> str:
    """The variant's name and the first 8 hex digits of the SHA-256 of its template, for signatures."""
    if prompt not in _VARIANTS:
        raise ConfigError(f"unknown prompt {prompt!r}. {did_you_mean(prompt, _VARIANTS)}")
    return f"{prompt}@{hashlib.sha256(_VARIANTS[prompt].encode()).hexdigest()[:8]}"
