"""Chat templates of checkpoints that publish none of their own, as jinja files named after the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, ModelError, did_you_mean
from evalkit.core.types import ImagePlace, Message

_HERE = Path(__file__).parent


def read_template(setting: str | None) -> str | None:
    """The jinja text of a model's `chat_template:` setting.

    None stays None (the checkpoint's own), `file:NAME` is a file of this folder without its ending, anything else
    is taken as the jinja text itself.  ConfigError for an unknown name.
    """
    if setting is None or not setting.startswith("file:"):
        return setting
    name = setting.removeprefix("file:")
    known = {path.stem: path for path in _HERE.glob("*.jinja")}
    if name not in known:
        raise ConfigError(f"no chat template {name!r} in evalkit. {did_you_mean(name, known)}")
    return known[name].read_text(encoding="utf-8")


def chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the form that transformers' chat templates take; every image place is `{"type": "image"}`."""
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
    """The prompt, rendered as transformers does it (sandboxed jinja, trimmed blocks), without transformers.

    tokens: what the template may name, such as bos_token.  ModelError when the template refuses or is not jinja.
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
    except (TemplateError, TypeError) as error:  # TypeError: a template that adds a list of parts to a text
        raise ModelError(f"the chat template cannot be rendered ({error}): jinja text was expected") from None
