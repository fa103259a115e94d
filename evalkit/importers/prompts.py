"""Extraction of the text of a prompt from strings, messages and lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT_KEYS = ("text", "content", "value", "question")


def prompt_text(value: Any) -> str | None:
    """The text in a string, a message, or a list of messages or message parts; None if there is none.

    Several texts are joined with line breaks, because a question is searched in the lines of a prompt.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return next((t for k in _TEXT_KEYS if (t := prompt_text(value.get(k))) is not None), None)
    if isinstance(value, (list, tuple)):
        parts = [t for v in value if (t := prompt_text(v)) is not None]
        return "\n".join(parts) if parts else None
    return None
