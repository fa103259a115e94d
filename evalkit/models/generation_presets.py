"""Named decoding settings of a model: `greedy`, evalkit's default, and `paper`, the settings of its authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.setting_types import argument_kinds, parse_setting
from evalkit.core.types import Generation

_KINDS = argument_kinds(Generation)
_FIELDS = tuple(f.name for f in fields(Generation))


def choose_preset(presets: Mapping[str, Mapping[str, Any]], name: str) -> Generation:
    """Make the decoding settings of a preset in a model's `presets:` table.

    Raises:
        ConfigError: unknown preset or setting.

    >>> choose_preset({"greedy": {"max_new_tokens": 8, "stop": ["###"]}}, "greedy").stop
    ('###',)
    """
    if name not in presets:
        raise ConfigError(f"this model has no generation preset {name!r}. {did_you_mean(name, presets)}")
    settings = check_settings(presets[name], f"model.presets.{name}")
    try:
        return Generation(**settings)
    except ValueError as problem:  # settings that do not fit each other
        raise ConfigError(f"generation is not possible: {problem}.") from None


def check_settings(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Decoding settings, each as its type.

    Args:
        place: where they are set, for messages: `generation`, or a preset of a model.

    Raises:
        ConfigError: a setting is unknown, or its value is of another type or not possible.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _FIELDS:
            raise ConfigError(f"{place}.{key}: {key!r} is not a decoding setting. {did_you_mean(key, _FIELDS)}")
        value = [value] if key == "stop" and isinstance(value, str) else value
        if key == "reasoning" and isinstance(value, bool):  # YAML reads a bare on or off as a truth value
            value = "on" if value else "off"
        value = parse_setting(value, _KINDS[key], f"{place}.{key}")
        found[key] = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return found
