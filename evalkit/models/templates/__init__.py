"""Chat templates for checkpoints that publish none, as jinja files named after the conversation format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, ModelError, did_you_mean
from evalkit.core.types import ImagePlace, Message

_HERE = Path(__file__).parent


def read_template(setting: str | None) -> str | None:
    """Read the jinja text for a model's `chat_template:` setting.

    None stays None (the checkpoint's own template), `file:NAME` is a file of this folder without its suffix, and any
    other text is the jinja text itself.

    Raises:
        ConfigError: unknown name.
    """
    if setting is None or not setting.startswith("file:"):
        return setting
    name = setting.removeprefix("file:")
    known = {path.stem: path for path in _HERE.glob("*.jinja")}
    if name not in known:
        raise ConfigError(f"no chat template {name!r} in evalkit. {did_you_mean(name, known)}")
    return known[name].read_text(encoding="utf-8")


def chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Convert messages to the input of transformers' chat templates; image placeholders become `{"type": "image"}`."""
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if isinstance(part, ImagePlace) else {"type": "text", "text": part}
                for part in message.content
            ],
        }
        for message in messages
    ]


def render(template: str, messages: Sequence[Message], tokens: Mapping[str, str] | None = None) -> str:
    """Render a prompt as transformers does (sandboxed jinja, trimmed blocks), but without importing transformers.

    tokens: special tokens that the template may use, such as bos_token.

    Raises:
        ModelError: the template refuses the messages, or is not valid jinja.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> str:
        raise ModelError(f"the chat template refuses these messages: {reason}")

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    try:
        compiled = environment.from_string(template)
        return compiled.render(messages=chat(messages), add_generation_prompt=True, **(tokens or {}))
    except (TemplateError, TypeError) as error:  # TypeError: a template that concatenates a list of parts and a text
        raise ModelError(f"the chat template cannot be rendered ({error}): expected valid jinja text") from None
