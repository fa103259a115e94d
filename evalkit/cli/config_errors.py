"""Hydra's errors as messages for a user: the wrong name, and the near names that exist."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.cli.compose import flat_keys, settings_of
from evalkit.cli.config import MULTIPLE_CHOICE, load_option, options
from evalkit.cli.interpolation import config_error_in
from evalkit.cli.typed_settings import groups_of
from evalkit.core.errors import ConfigError, did_you_mean


def explain(problem: Exception, verb: str, arguments: Sequence[str] = ()) -> ConfigError:
    """A ConfigError with the near names for a mistyped option, group choice or value.

    Args:
        arguments: of the command line; settings are those of the task, engine ... that they choose.
    """
    from hydra.errors import OverrideParseException

    if own := config_error_in(problem):
        return own
    text = str(problem).strip()
    if match := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text):
        return _unknown_key(match.group(1).lstrip("+~"), verb, arguments)
    if match := re.search(r"Key '([^']+)' (?:is not in struct|not in '[^']*')[^\n]*(?:\n\s*full_key: (\S+))?", text):
        return _unknown_key(match.group(2) or match.group(1), verb, arguments)
    if match := re.search(r"In '[^']*': Could not (?:find|load) '([^'/]+)/([^']*)'", text):
        group, name = match.groups()
        near = did_you_mean(name, options(group))
        hint = _unregistered(name, arguments) if group == "model" else _own_table(name) if group == "task" else ""
        return ConfigError(f"There is no {group} named {name!r}. {hint}{near}")
    if match := re.search(
        r"Multiple values for ([^\s]+)\. To override|^(\S+) appears more than once in the final", text
    ):
        return _chosen_twice(match.group(1) or match.group(2))
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(problem).__name__).rstrip(".")
    if (match := re.search(r"Ambiguous value for argument '([\w.]+)=(.*?)'", text)) and match[1] in groups_of(verb):
        return several_options(match[1], match[2], verb)
    if "Ambiguous value" in text:
        remedy = (
            "For several at once write 'key=[a,b]'; for a sweep, one run each, add -m; for a text with a comma write "
            "it in two pairs of quotes: \"key='a,b'\""
        )
    elif not isinstance(problem, OverrideParseException):
        return ConfigError(
            f"The configuration cannot be composed: {first}. Look at the `defaults` of the files in use."
        )
    else:
        remedy = (
            "A value with special characters (= , [ ] { } ( ) ~ or quotes) is written in two pairs of quotes, the "
            "outer ones for the shell: \"task.path='DIR'\""
        )
    return ConfigError(f"The command line cannot be read: {first}. {remedy}.")


def _unregistered(name: str, arguments: Sequence[str]) -> str:
    """How a model is given that is not registered: by its place, or by its id on a server."""
    words = dict(word.partition("=")[::2] for word in arguments)
    if words.get("engine") == "server":
        return (
            f"A model on a server is named there: engine.served_model={name}, with model=OWNER/{name} (its maker) for "
            "the name of its row. "
        )
    return "A checkpoint that is not registered is model=DIR or model=OWNER/NAME. "


def _own_table(name: str) -> str:
    """How a table of questions is given, for a name that is the path of one."""
    is_path = "/" in name or "\\" in name or bool(re.search(r"\.\w{2,7}$", name))
    return f"Questions of your own are task=table task.path={name}. " if is_path else ""


def _chosen_twice(key: str) -> ConfigError:
    """The message for two items of defaults lists with one place; key: `GROUP` or `GROUP@PLACE`."""
    group, _, place = key.partition("@")
    where = f" at {place}" if place else ""
    return ConfigError(
        f"Two items choose an option of {group}{where}: both in `defaults` of one file, in two files, or in a file and "
        f"as +{group}=NAME on the command line. Keep one; a file replaces the choice of another with "
        f"`- override /{group}: NAME`, and the command line with {group}=NAME (no plus sign)."
    )


def several_options(group: str, value: str, verb: str) -> ConfigError:
    """The message for `GROUP=A,B`, where a list is a sweep or nothing."""
    if group in MULTIPLE_CHOICE:
        return ConfigError(f"{group}={value}: for several at once write 'key=[a,b]', here {group}=[{value}].")
    together = f" Together, the model loaded once, with one table: suite=[{value}] in place of {group}={value}."
    return ConfigError(
        f"{group}={value} names several options, and {group}= takes one. One run each: add -m."
        + (together if group == "task" and "suite" in settings_of(verb) else "")
    )


def _unknown_key(key: str, verb: str, arguments: Sequence[str]) -> ConfigError:
    group, _, rest = key.partition(".")
    option, _, _ = rest.partition(".")
    if group in MULTIPLE_CHOICE and option in options(group):
        settings = sorted(flat_keys(load_option(group, option), f"{group}.{option}"))
        if key in settings:
            return ConfigError(
                f"{key!r} can be set only where {option} is chosen: {group}={option} or {group}=[{option},...]."
            )
        return ConfigError(f"{key!r} is not a setting of {group} {option}. {did_you_mean(key, settings)}")
    chosen = _chosen(verb, arguments)
    settings = settings_of(verb, tuple(f"{name}={value}" for name, value in chosen.items()))
    near = did_you_mean(key, settings) if len(settings) <= 40 else did_you_mean(key, _siblings(key, settings))
    of = f"{group} {chosen[group]}" if rest and chosen.get(group) else f"`{verb}`"
    return ConfigError(f"{key!r} is not a setting of {of}. {near}")


def _chosen(verb: str, arguments: Sequence[str]) -> dict[str, str]:
    """The options that a command line chooses, one of each group; those that do not exist are left out."""
    words = (argument.partition("=") for argument in arguments if not argument.startswith("-"))
    given = {group: option for group, _, option in words if group in groups_of(verb)}
    return {group: option for group, option in given.items() if option in options(group)}


def _siblings(key: str, settings: list[str]) -> list[str]:
    """The settings below the same key, else all."""
    parent = key.rpartition(".")[0]
    return [k for k in settings if k.rpartition(".")[0] == parent] or settings
