"""The words of a prompt, whatever it is wrapped in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT_KEYS = ("text", "content", "value", "question")


def prompt_text(value: Any) -> str | None:
    """The text in a string, a message, a list of messages or of their parts; None where there is none.

    Of several texts, each is a line: a question is looked for in the lines of a prompt.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return next((t for k in _TEXT_KEYS if (t := prompt_text(value.get(k))) is not None), None)
    if isinstance(value, (list, tuple)):
        parts = [t for v in value if (t := prompt_text(v)) is not None]
        return "\n".join(parts) if parts else None
    return None
