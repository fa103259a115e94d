"""The judges' prompts: `<id>/vN.j2`, one file a version, never edited once released (a new version is a new file)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.judge.config import JudgeConfig

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt's text and which it is.

    name: "relative.v1", or "file:NAME" for a user's own.  sha256: of the file's bytes.
    shipped: whether it is ours, which asks for JSON; a user's own may ask for two numbers on the first line.
    """

    name: str
    text: str
    sha256: str
    shipped: bool

    @property
    def label(self) -> str:
        """Name and 8 hex of the digest, for signatures."""
        return f"{self.name}@{self.sha256[:8]}"


def load_prompt(config: JudgeConfig, judged: str) -> Prompt:
    """The prompt that a judge uses for a judged task.

    Raises:
        ConfigError: there is no such version, or the user's file cannot be read or is no valid template.
    """
    if config.prompt_file is not None:
        path = Path(config.prompt_file).expanduser()
        prompt = _read(path, f"file:{path.name}", shipped=False)
    else:
        path = HERE / judged / f"v{config.prompt_version}.j2"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("v*.j2"))
            raise ConfigError(f"There is no version {config.prompt_version} of the prompt {judged}; there is {known}.")
        prompt = _read(path, f"{judged}.v{config.prompt_version}", shipped=True)
    _compile(prompt.text, prompt.name)
    return prompt


def render(prompt: Prompt, variables: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of each message: the blocks `system` and `user` of the file, or all of it as the user's message.

    Variables: question, caption, mentions, reference, candidate, answer_1, answer_2, first_is_reference, has_image.
    """
    from jinja2.exceptions import SecurityError, UndefinedError

    template = _compile(prompt.text, prompt.name)
    try:
        if "user" not in template.blocks:
            return [("user", template.render(variables))]
        context = template.new_context(dict(variables))
        return [
            (role, "".join(template.blocks[role](context))) for role in ("system", "user") if role in template.blocks
        ]
    except (UndefinedError, SecurityError) as problem:
        known = ", ".join(sorted(variables))
        raise ConfigError(
            f"The judge's prompt {prompt.name} cannot be filled in: {problem}. It may use {known}."
        ) from problem


def _read(path: Path, name: str, *, shipped: bool) -> Prompt:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"The judge's prompt {path} cannot be read ({problem}).") from problem
    return Prompt(name=name, text=text, sha256=hashlib.sha256(data).hexdigest(), shipped=shipped)


@cache
def _compile(text: str, name: str) -> Any:
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import SandboxedEnvironment

    # The sandbox because a prompt file is passed on like any text; no autoescape because the text is no HTML.
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as problem:
        raise ConfigError(
            f"The judge's prompt {name} is no valid template: line {problem.lineno}: {problem}."
        ) from problem
