"""Chat templates for checkpoints that publish none, as jinja files named after the conversation format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import ConfigError, ModelError, did_you_mean, first_line
from evalkit.core.types import ImagePlace, Message

_HERE = Path(__file__).parent
# Exceptions of a template's own code, beside jinja's: a list joined to a text, a division by zero, a missing key ...
TEMPLATE_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, ImportError)
# Marks of image places in the chat formats of registered and other common models.
_MARKS = re.compile(
    r"<image>|<image_soft_token>|<image_placeholder>|</?img>|<IMG_CONTEXT>|<im_(?:patch|start|end)>|<video>|"
    r"<(?:start|end)_of_image>|<\|(?:image|video|vision)[a-z0-9_]*\|>|\[IMG(?:_BREAK|_END)?\]|<fake_token_around_image>"
)


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


def is_file_name(setting: str) -> bool:
    """Whether a `chat_template` setting is the name of a file: jinja text that shows a message has a brace.

    >>> is_file_name("my.jinja"), is_file_name("{{ messages }}"), is_file_name("file:llava_med")
    (True, False, False)
    """
    return bool(setting.strip()) and not setting.startswith("file:") and "{" not in setting and "\n" not in setting


def read_template_file(path: Path, setting: str) -> str:
    """The jinja text in a file: the file itself, or the entry `chat_template` of a JSON file such as
    tokenizer_config.json (of several named templates the one named `default`).

    Args:
        setting: the setting that names the file, for messages.

    Raises:
        ConfigError: there is no such file, or no template in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json_text.loads(text) if path.suffix == ".json" else {"chat_template": text}
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else first_line(problem)
        raise ConfigError(
            f"{setting}: {path} cannot be read ({reason}). Expected a file with jinja text, a JSON file with an entry "
            "`chat_template` such as tokenizer_config.json, or the jinja text itself."
        ) from None
    found = content.get("chat_template") if isinstance(content, dict) else None
    if isinstance(found, list):  # [{"name": ..., "template": ...}], as tokenizers with several templates have it
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    if not isinstance(found, str) or not found.strip():
        raise ConfigError(
            f"{setting}: {path} has no chat template"
            + (" (no text in an entry `chat_template`)." if path.suffix == ".json" else ": it is empty.")
        )
    return found


def chat(messages: Sequence[Message], marks: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Convert messages to the input of transformers' chat templates; image placeholders become `{"type": "image"}`.

    marks: further marks of image places that text must not contain; see `without_marks`.
    """
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"}
                if isinstance(part, ImagePlace)
                else {"type": "text", "text": without_marks(part, marks)}
                for part in message.content
            ],
        }
        for message in messages
    ]


def without_marks(text: str, marks: Iterable[str] = ()) -> str:
    """Text in which no image place is marked: `<image>` typed in a question becomes `< image>`.

    A mark in a text would be taken for a further image, or move the real one.  One space is put behind its first
    character, whatever the model, so that all models and the prompt record have the same text.

    >>> without_marks("Does <image> or <|image_pad|> show [IMG]?")
    'Does < image> or < |image_pad|> show [ IMG]?'
    """
    text = _MARKS.sub(_spaced, text)
    others = [m for m in marks if m in text]
    return re.sub("|".join(map(re.escape, others)), _spaced, text) if others else text


def _spaced(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}"


def template_error(problem: BaseException) -> ModelError:
    """Error of one paragraph for a template that refuses the messages, or that is not valid."""
    return ModelError(
        f"the chat template cannot be rendered ({first_line(problem)}): expected valid jinja text that accepts the "
        "task's messages. Correct chat_template in the model's YAML, or the checkpoint's chat_template.jinja."
    )


def render(template: str, messages: Sequence[Message], tokens: Mapping[str, Any] | None = None) -> str:
    """Render a prompt as transformers does (sandboxed jinja, trimmed blocks), but without importing transformers.

    tokens: special tokens and other variables that the template may use, such as bos_token.

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
    except (TemplateError, *TEMPLATE_FAULTS) as problem:
        raise template_error(problem) from None


def render_by_transformers(template: str, messages: Sequence[Message], tokens: Mapping[str, Any] | None = None) -> str:
    """Render a prompt with transformers itself, which supports more of jinja than `render`.

    Raises:
        ModelError: the template refuses the messages, or is not valid.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        prompts, _ = render_jinja_template(
            [chat(messages)], chat_template=template, add_generation_prompt=True, **(tokens or {})
        )
    except (TemplateError, *TEMPLATE_FAULTS) as problem:
        raise template_error(problem) from None
    return str(prompts[0])
