"""Prompts of judges: `<id>/vN.j2`, one file per version, never edited after its release (a change is a new version)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.files import expand_home
from evalkit.judge.config import JudgeConfig

HERE = Path(__file__).resolve().parent


class PromptMessage(NamedTuple):
    """One message of a rendered prompt."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The text of a prompt and its identity.

    name: "relative.v1", or "file:NAME" for a user's own.  sha256: of the file's bytes.
    """

    name: str
    text: str
    sha256: str


def load_prompt(config: JudgeConfig, judged: str) -> Prompt:
    """The prompt of a judge for a judged task.

    Raises:
        ConfigError: there is no such version, or the user's file cannot be read or is not a valid template.
    """
    if config.prompt_file is not None:
        path = expand_home(config.prompt_file)
        prompt = _read(path, f"file:{path.name}")
    else:
        name = config.prompt or judged
        path = HERE / name / f"v{config.prompt_version}.j2"
        if not path.parent.is_dir():
            shipped = [p.name for p in HERE.iterdir() if any(p.glob("v*.j2"))]
            raise ConfigError(f"There is no shipped prompt judge.prompt={name}. {did_you_mean(name, sorted(shipped))}")
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("v*.j2"))
            raise ConfigError(f"The prompt {name!r} has no version {config.prompt_version}; versions: {known}.")
        prompt = _read(path, f"{name}.v{config.prompt_version}")
    _compile(prompt.text, prompt.name)
    return prompt


def render(prompt: Prompt, variables: Mapping[str, Any]) -> list[PromptMessage]:
    """The messages of a prompt: the blocks `system` and `user` of the file, or all of it as the user's message.

    Variables: question, options, caption, mentions, reference, candidate, answer_1, answer_2, first_is_reference,
    has_image.
    """
    from jinja2.exceptions import SecurityError, UndefinedError

    template = _compile(prompt.text, prompt.name)
    try:
        if "user" not in template.blocks:
            return [PromptMessage("user", template.render(variables))]
        context = template.new_context(dict(variables))
        return [
            PromptMessage(role, "".join(template.blocks[role](context)))
            for role in ("system", "user")
            if role in template.blocks
        ]
    except (UndefinedError, SecurityError) as problem:
        known = ", ".join(sorted(variables))
        raise ConfigError(
            f"The judge's prompt {prompt.name} cannot be filled in: {problem}. Its variables are {known}."
        ) from problem


def _read(path: Path, name: str) -> Prompt:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"The judge's prompt {path} cannot be read ({problem}).") from problem
    return Prompt(name=name, text=text, sha256=hashlib.sha256(data).hexdigest())


@cache
def _compile(text: str, name: str) -> Any:
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import SandboxedEnvironment

    # Sandboxed because prompt files are exchanged between users; no autoescape because the text is not HTML.
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as problem:
        raise ConfigError(
            f"The judge's prompt {name} is not a valid template: line {problem.lineno}: {problem}."
        ) from problem
