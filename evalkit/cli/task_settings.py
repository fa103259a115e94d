"""Keys of a task's YAML that the verbs read themselves; the task's class gets the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.cli.config import options
from evalkit.core.errors import ConfigError, did_you_mean

# For a task whose YAML names no protocol at all.
DEFAULT_REFERENCE = "llava-med"


def baseline_protocols(task: Mapping[str, Any]) -> tuple[str, ...]:
    """The protocols under which the text-only baselines are scored next to a run; the first is shown in the table.

    `baseline_protocols` of the task's YAML, else its `protocols`.

    Raises:
        ConfigError: the value is not a list of names of protocols.
    """
    key = "protocols" if task.get("baseline_protocols") is None else "baseline_protocols"
    names = task.get(key)
    if not isinstance(names, list | tuple | None):
        raise ConfigError(f"task {task.get('name')}: {key}={names!r} must be a list of protocols, such as [strict].")
    return tuple(_known_protocol(name, f"task {task.get('name')}: {key}") for name in names or ())


def reference_protocol(task: Mapping[str, Any]) -> str:
    """The protocol that the others are compared with where a run is scored under several.

    `reference_protocol` of the task's YAML, else the first of its `protocols`.

    Raises:
        ConfigError: there is no such protocol.
    """
    name = task.get("reference_protocol")
    if name is None:
        return str(next(iter(task.get("protocols") or ()), DEFAULT_REFERENCE))
    return _known_protocol(name, f"task {task.get('name')}: reference_protocol")


def manual_download(task: Mapping[str, Any]) -> str:
    """Instructions for files that are on no hub, without the final full stop; empty where there are none.

    Raises:
        ConfigError: `manual_download` of the task's YAML is not a text.
    """
    text = task.get("manual_download") or ""
    if not isinstance(text, str):
        raise ConfigError(f"task {task.get('name')}: manual_download={text!r} must be a text that says where to ask.")
    return text.strip().rstrip(".")


def _known_protocol(name: Any, where: str) -> str:
    known = [n for n in options("protocol") if n != "all"]
    if name not in known:
        raise ConfigError(f"{where} names {name!r}, and there is no such protocol. {did_you_mean(str(name), known)}")
    return str(name)
