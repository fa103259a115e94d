"""Python arguments as words of the command line, so that both ways compose one configuration."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from evalkit.api.arguments import WrongType, shown
from evalkit.cli.command_words import quoted
from evalkit.cli.config import MULTIPLE_CHOICE, options
from evalkit.cli.typed_settings import GROUPS
from evalkit.core.errors import ConfigError

_KEY = re.compile(r"[+~]{0,2}[\w./@-]+")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


def as_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `KEY=VALUE` words in Hydra's grammar; a mapping for a config group gives its settings one by one.

    >>> as_words({"limit": 3, "name": "a=b", "engine": {"batch_size": 4}, "image": None})
    ['limit=3', "name='a=b'", 'engine.batch_size=4', 'image=null']

    Raises:
        ConfigError: a name or value cannot be a setting.
    """
    words: list[str] = []
    for key, value in settings.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ConfigError(f"{key!r} is not the name of a setting; expected one such as 'engine.batch_size'.")
        if re.match(r"\W*hydra\b", key):
            raise ConfigError(
                f"{key}= is not possible from Python: Hydra's own settings are for the command line's jobs."
            )
        if key in GROUPS and isinstance(value, Mapping):
            words += as_words({f"{key}.{inner}": content for inner, content in value.items()})
        else:
            words.append(f"{key}={_option(key, value) if key in GROUPS else written(key, value)}")
    return words


def _option(group: str, value: Any) -> str:
    """The option of a config group, which the command line takes without quotes."""
    if value is None:
        return "null"
    if isinstance(value, str | os.PathLike) and (text := os.fspath(value)).strip():
        return str(text)
    several = group in MULTIPLE_CHOICE
    if several and isinstance(value, list | tuple) and value and all(isinstance(v, str) and v.strip() for v in value):
        return f"[{','.join(value)}]"
    known = ", ".join(name for name in options(group) if name != "all")
    some = "one of, or a list of some of," if several else "one of"
    kind = ConfigError if isinstance(value, str | list | tuple) else WrongType
    raise kind(f"{group}={shown(value)} is not possible: expected {some} {known}.")


def written(key: str, value: Any) -> str:
    """A value in Hydra's grammar.

    Raises:
        ConfigError: the value is of no type that a setting can have.
    """
    if hasattr(value, "item") and not isinstance(value, str) and getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of numpy
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        if bad := [name for name in value if not isinstance(name, str) or not _NAME.fullmatch(name)]:
            raise ConfigError(f"{key}: {bad[0]!r} is not possible as a name inside the setting; expected a plain word.")
        return "{" + ",".join(f"{name}:{written(f'{key}.{name}', inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(written(key, inner) for inner in value)}]"
    raise WrongType(
        f"{key}={str(value)[:80]} is of type {type(value).__name__}, which no setting has; expected a text, a number, "
        "True, False, None, a list or a dict."
    )
