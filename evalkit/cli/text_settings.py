"""Texts of a configuration that no file could keep, or no table show: checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.core.plain_text import is_hidden, visible

# Settings that become rows of tables and parts of the names of files; "*": each of a group's options.
NAMES = ("name", "task.name", "task.split", "model.name", "judge.name", "protocol.*.name", "engine.served_model")
# Settings that no empty text can be, with what they are: an empty folder would be the current one, or a part of the
# disk's root; an empty address or id another server or model than the one that is meant.
FILLED = {
    "task.path": "a folder",
    "task.images": "a folder",
    "data.path": "a folder",
    "engine.url": "an address",
    "engine.served_model": "the model's id on the server",
    "judge.base_url": "an address",
    "judge.model": "the model's id on the server",
}


def check_texts(config: Mapping[str, Any]) -> None:
    """Check every text of a configuration.

    Raises:
        ConfigError: a text has a character that UTF-8 files cannot hold, a name one that acts instead of being shown,
            or one is empty that cannot be.
    """
    for setting, text in _texts(config, ""):
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigError(
                f"{setting}={_shown(text)} is not possible: it has a NUL or a byte that is not UTF-8, which no file of "
                "a run can hold."
            )
        if _is_among(setting, NAMES) and any(map(is_hidden, text)):
            raise ConfigError(
                f"{setting}={_shown(text)} is not possible: a name is one line, without control characters and marks "
                "of direction."
            )
        if setting in ("task.name", "task.split") and "|" in text:
            raise ConfigError(f"{setting}={_shown(text)} is not possible: '|' separates the parts of a signature.")
        if setting in FILLED and not text.strip():
            raise ConfigError(
                f"{setting}= is empty: give {FILLED[setting]} (an unset variable of the shell?), or null."
            )


def _shown(text: str) -> str:
    return repr(visible(text[:80]))


def _is_among(setting: str, patterns: tuple[str, ...]) -> bool:
    parts = setting.split(".")
    return any(
        len(parts) == len(wanted := pattern.split("."))
        and all(w in ("*", p) for w, p in zip(wanted, parts, strict=True))
        for pattern in patterns
    )


def _texts(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Setting and text of each text in a configuration, keys of mappings included."""
    if isinstance(node, str):
        yield prefix, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            place = f"{prefix}.{key}" if prefix else str(key)
            yield f"{prefix or 'configuration'} (a key)", str(key)
            yield from _texts(value, place)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value, prefix)
