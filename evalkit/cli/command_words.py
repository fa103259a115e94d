"""Words of the command line before Hydra reads them: special characters, models by path or hub id.

Hydra reads `key=value` by a grammar in which `=`, brackets, `~` and letters outside ASCII have a meaning or none.  A
value that it cannot read is put into quotes of that grammar here, so that it is a plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from evalkit.cli.config import MULTIPLE_CHOICE, config_dirs, options
from evalkit.core import console
from evalkit.core.errors import ConfigError

SWEEP_FLAGS = ("-m", "--multirun")
# Marks an option of the group `model` that is no registered name but a quoted folder or hub id.
_SLASH = "%2F"
# Settings of a task whose keys are names of columns.
BY_COLUMN = ("where", "keep")
_COLUMN_KEY = re.compile(rf"([+~]{{0,2}}task\.(?:{'|'.join(BY_COLUMN)})\.)([^=]+)=")
_ESCAPED = re.compile(r"_x([0-9A-F]{4,6})_")
_KEY = re.compile(r"[+~]{0,2}[\w./@-]+")
# Settings that are texts with braces and commas; no character of them has a meaning for Hydra.
FREE_TEXTS = frozenset({"task.template", "task.system", "chat_template", "model.chat_template"})
# Characters of a word that a note shows.
_SHOWN = 300


def readable(arguments: Sequence[str], groups: Mapping[str, Any]) -> list[str]:
    """The arguments with models by path or hub id as options, and with values that Hydra cannot read in quotes.

    Args:
        groups: config groups of the verb, each with its default option (None for none).

    Raises:
        ConfigError: a group that needs one option gets none, or a list, or has no options.
    """
    sweeps = any(argument in SWEEP_FLAGS for argument in arguments)
    found = []
    for argument in map(_with_ascii_key, _with_preset(arguments)):
        group, equals, value = argument.partition("=")
        if value not in ("", "null"):
            _check_has_options(group.lstrip("+"), groups)
        if not equals or group not in groups:
            found.append(_in_quotes(argument, sweeps))
        elif group in MULTIPLE_CHOICE:
            found.append(_options_of(group, value, sweeps))
        elif value and value != "null":
            found.append(_option_of(group, value, sweeps))
        elif groups[group] is not None:
            raise ConfigError(f"{group}={value} is not possible: {_choose(group)}")
        # The default is no option already, and Hydra takes no null for a group.
    return found


def _with_preset(arguments: Sequence[str]) -> list[str]:
    """The arguments with `generation=NAME` as `generation.preset=NAME` where others change a setting of it.

    >>> _with_preset(["generation=paper", "generation.max_new_tokens=64"])
    ['generation.preset=paper', 'generation.max_new_tokens=64']
    """
    if not any(argument.startswith("generation.") for argument in arguments):
        return list(arguments)
    named = re.compile(r"generation=(?![{]|null$)")
    return [named.sub("generation.preset=", argument) for argument in arguments if argument != "generation=null"]


def _check_has_options(group: str, groups: Mapping[str, Any]) -> None:
    if group in groups and not options(group):
        raise ConfigError(
            f"There is no {group} to choose: {group}=NAME is the file {group}/NAME.yaml in a folder that --config-dir "
            "or EVALKIT_CONF names."
        )


def _with_ascii_key(argument: str) -> str:
    """A setting named after a column, with characters that Hydra's keys lack as `_xHHHH_`."""
    if not (match := _COLUMN_KEY.match(argument)):
        return argument
    start, name = match.groups()
    plain = re.sub(r"[^A-Za-z0-9_$-]|_(?=x[0-9A-F]{4,6}_)", lambda found: f"_x{ord(found[0]):04X}_", name)
    return f"{start}{plain}={argument[match.end() :]}"


def with_own_key(argument: str) -> str:
    """The reverse of the escapes that `readable` puts into keys."""
    key, equals, value = argument.partition("=")
    return _own(key) + equals + value if _COLUMN_KEY.match(argument) else argument


def with_own_keys(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose settings named after columns have their own names."""
    task = content.get("task")
    if not isinstance(task, Mapping):
        return content
    named = {
        key: {_own(str(k)): v for k, v in task[key].items()} for key in BY_COLUMN if isinstance(task.get(key), dict)
    }
    return {**content, "task": {**task, **named}}


def _own(key: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key)


def _option_of(group: str, value: str, sweeps: bool) -> str:
    """`GROUP=OPTION`, where the option is a text whatever it looks like."""
    argument = _model_option(value, sweeps) if group == "model" else f"{group}={value}"
    parsed = _parsed(argument)
    if isinstance(parsed, list | dict):
        several = f" Several, one run each, are -m {group}=NAME,NAME." if isinstance(parsed, list) else ""
        if isinstance(parsed, list) and group == "task":
            several += f" `run` takes several in one go as suite={value}."
        raise ConfigError(f"{group}={value} is not possible, {group} takes one option: {_choose(group)}{several}")
    return _in_quotes(argument, sweeps) if parsed is None or isinstance(parsed, str) else f"{group}={quoted(value)}"


def _options_of(group: str, value: str, sweeps: bool) -> str:
    """`GROUP=OPTION` or `GROUP=[OPTION,…]`, where each option is a text whatever it looks like."""
    parsed = _parsed(f"{group}={value}")
    if isinstance(parsed, dict):
        raise ConfigError(f"{group}={value} is not possible: {_choose(group)}")
    if isinstance(parsed, list) and not all(isinstance(item, str) for item in parsed):
        return f"{group}=[{','.join(quoted(item.strip()) for item in value.strip()[1:-1].split(','))}]"
    is_text = parsed is None or isinstance(parsed, str | list)
    return _in_quotes(f"{group}={value}", sweeps) if is_text else f"{group}={quoted(value)}"


def _choose(group: str) -> str:
    return f"give {group}=NAME, one of {', '.join(name for name in options(group) if name != 'all')}."


def _parsed(argument: str) -> Any:
    """The value of an argument as Hydra reads it; a text for a sweep, None where Hydra cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        override = OverridesParser.create().parse_override(argument)
        return argument if override.is_sweep_override() else override.value()
    except _unreadable():
        return None


def typed_values(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of a command line as Hydra reads them, by key: `a.b={c: 1}` is {"a.b": {"c": 1}}."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {word.key_or_group: word.value() for word in parsed if not word.is_delete()}


def _in_quotes(argument: str, sweeps: bool) -> str:
    key, equals, value = argument.partition("=")
    if key in FREE_TEXTS and not sweeps and value != "null" and not re.fullmatch(r"'.*'|\".*\"", value, flags=re.S):
        return f"{key}={quoted(value)}"
    if not equals or not _KEY.fullmatch(key) or _is_readable(argument):
        return argument
    is_list = value.startswith("[") and value.endswith("]")
    if is_list and not re.search(r"[\[\]{}'\"]", value[1:-1]):
        new = f"{key}=[{','.join(quoted(item.strip()) for item in value[1:-1].split(','))}]"
    else:
        new = f"{key}={','.join(map(quoted, value.split(',') if sweeps else [value]))}"
    if not _is_readable(new):
        return argument
    if len(argument) > _SHOWN:
        console.note(
            f"note: {argument[:_SHOWN]}... is taken as plain text; to write it without this note, quote it twice."
        )
    else:
        console.note(f'note: {argument} is taken as plain text; to write it without this note, quote it twice: "{new}"')
    return new


def _is_readable(argument: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        OverridesParser.create().parse_override(argument)
    except _unreadable():
        return False
    return True


def _unreadable() -> tuple[type[Exception], ...]:
    """The errors of Hydra's parser: its own, and Python's for numbers of thousands of digits and for deep brackets."""
    from hydra.errors import HydraException

    return (HydraException, ValueError, RecursionError)


def quoted(value: str) -> str:
    """A value in quotes of Hydra's grammar, so that none of its characters has a meaning.

    >>> print(quoted("a=b"), quoted("it's"))
    'a=b' 'it\\'s'
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _model_option(value: str, sweeps: bool) -> str:
    """`model=PATH` or `model=OWNER/NAME` as an option of the group; several, comma-separated, in a sweep."""
    value = value.strip()
    while len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":  # quotes around it, not those in a name
        value = value[1:-1]
    values = value.split(",") if sweeps else [value]
    if not any(map(is_model_location, values)):
        return f"model={value}"
    return "model=" + ",".join(_as_option(v) if is_model_location(v) else v for v in values)


def is_model_location(value: str) -> bool:
    """Whether a value of `model=` is a folder or a hub id and not the name of a registered model."""
    if not value or value in options("model") or any((d / "model" / f"{value}.yaml").is_file() for d in config_dirs()):
        return False
    return "/" in value or value.startswith((".", "~")) or Path(value).is_dir()


def _as_option(location: str) -> str:
    return quote(location if "/" in location else f"./{location}", safe="").replace("~", "%7E")


def model_location(option: str) -> str | None:
    """The folder or hub id behind an option of the group `model`; None for the name of a registered model.

    >>> model_location("lab%2Fmy-model"), model_location("llava-med")
    ('lab/my-model', None)
    """
    return unquote(option) if _SLASH in option else None
