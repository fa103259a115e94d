"""Named decoding settings of a model: `greedy`, evalkit's default, and `paper`, the settings of its authors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.setting_types import argument_kinds, parse_setting
from evalkit.core.types import Generation

_KINDS = argument_kinds(Generation)
_FIELDS = tuple(f.name for f in fields(Generation))
# What is expected of a setting -> whether a value of its type is.  Engines would fail on other values, or ignore them.
_RANGES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "max_new_tokens": ("a whole number from 1", lambda v: v >= 1),
    "temperature": ("a number from 0 (greedy)", lambda v: 0 <= v < math.inf),
    "top_p": ("a number above 0, at most 1", lambda v: 0 < v <= 1),
    "top_k": ("a whole number from 1, or null for all tokens", lambda v: v is None or v >= 1),
    "num_beams": ("a whole number from 1", lambda v: v >= 1),
    "repetition_penalty": ("a number above 0 (1: no penalty)", lambda v: 0 < v < math.inf),
    "stop": ("texts of one character or more", all),
    "n": ("a number of answers of each sample, from 1", lambda v: v >= 1),
    "reasoning_budget": (
        "a number of tokens from 1, or null for no limit (generation.reasoning=off is no thought)",
        lambda v: v is None or v >= 1,
    ),
    "seed": ("a whole number from 0, below 2**63", lambda v: 0 <= v < 2**63),
}


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
        expected, is_possible = _RANGES.get(key, ("", lambda _: True))
        if not is_possible(value):
            raise ConfigError(f"{place}.{key}={value} is not possible: expected {expected}.")
        found[key] = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return found
