"""Types of arguments that no configuration checks: what is wrong is one paragraph, whatever a caller gives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError

# Bytes of a name in a path, on every file system in use.
_LONGEST_NAME = 255


class WrongType(ConfigError, TypeError):
    """An argument is of a type that it cannot have."""

    __str__ = ConfigError.__str__


class NoSuchSample(ConfigError, IndexError):
    """A task has no sample with this number."""

    __str__ = ConfigError.__str__


def shown(value: Any) -> str:
    """A value and its type, for messages."""
    return f"{str(value)[:80]!r} of type {type(value).__name__}"


def as_path(argument: str, value: Any, expected: str = "the path of a folder") -> Path:
    """An argument that is a path, with `~` expanded.

    Raises:
        WrongType: it is no text and no path.
        ConfigError: it is empty, or no path can be like that.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise WrongType(f"{argument}={shown(value)} is not possible: expected {expected}.")
    if not text.strip():
        raise ConfigError(f"{argument}={text!r} is empty (an unset variable?): expected {expected}.")
    try:
        is_possible = "\0" not in text and all(len(os.fsencode(part)) <= _LONGEST_NAME for part in Path(text).parts)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise ConfigError(
            f"{argument}={text[:80]!r} is not possible: it has a character that no path can have, or a name of more "
            f"than {_LONGEST_NAME} bytes. Expected {expected}."
        )
    return Path(text).expanduser()


def as_text(argument: str, value: Any) -> str | None:
    """An argument that is a text or None.

    Raises:
        WrongType: it is neither.
        ConfigError: it is empty.
    """
    if value is not None and not isinstance(value, str):
        raise WrongType(f"{argument}={shown(value)} is not possible: expected a text or None.")
    if value is not None and not value.strip():
        raise ConfigError(f"{argument}={value!r} is empty (an unset variable?): give a text, or None.")
    return value


def as_texts(argument: str, value: Any, example: str) -> list[str] | None:
    """An argument that is a list of texts or None; one text alone is refused, as it would be read letter by letter.

    Raises:
        WrongType: it is neither, or one of its items is no text.
        ConfigError: the list is empty.
    """
    if value is None:
        return None
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    found = list(value) if is_list else []
    if not is_list or not all(isinstance(item, str) for item in found):
        raise WrongType(f"{argument}={shown(value)} is not possible: expected a list, such as [{example!r}].")
    if not found:
        raise ConfigError(f"{argument}={value!r} names nothing: expected a list, such as [{example!r}], or None.")
    return found


def as_mapping(argument: str, value: Any) -> dict[str, Any]:
    """An argument that is a dict or None.

    Raises:
        WrongType: it is neither.
    """
    if value is not None and not isinstance(value, Mapping):
        raise WrongType(
            f'{argument}={shown(value)} is not possible: expected a dict, such as {{"task.split": "validation"}}.'
        )
    return dict(value or {})


def as_flag(argument: str, value: Any) -> bool:
    """An argument that is True or False.

    Raises:
        WrongType: it is neither.
    """
    if not isinstance(value, bool):
        raise WrongType(f"{argument}={shown(value)} is not possible: expected True or False.")
    return value
