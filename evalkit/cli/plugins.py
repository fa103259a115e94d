"""Plug-ins as options of config groups: `engine=NAME`, `task=NAME`, `protocol=NAME` without a YAML."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from evalkit.core.plugins import Plugin, broken, load, plugins

# Config group -> the group of entry points whose plug-ins are its options.
OF_GROUP = {"engine": "engines", "task": "tasks", "protocol": "protocols"}
# Where a YAML may name a registered plug-in as its target; a model may be answered by an engine of its own.
TARGETS = {**OF_GROUP, "model": "engines"}
# Arguments that evalkit gives, which are no settings.
_GIVEN = frozenset({"self", "spec"})
_PLAIN = (str, bool, int, float, type(None), list, tuple, dict)


def plugin_of(group: str, name: str) -> Plugin | None:
    """The plug-in with the name of an option; None where there is none."""
    return plugins(OF_GROUP[group]).get(name) if group in OF_GROUP else None


def registered_target(group: str, target: str) -> Plugin | None:
    """The plug-in that a `target:` names; None where no installed package registers it for that config group."""
    known = plugins(TARGETS[group]).values() if group in TARGETS else ()
    return next((plugin for plugin in known if plugin.value == target), None)


def plugin_option(group: str, plugin: Plugin) -> dict[str, Any]:
    """The content that a YAML for a plug-in would have: its class, its settings with their defaults, its `SETTINGS`.

    Raises:
        ConfigError: the plug-in cannot be used.
    """
    found = load(plugin)
    if not inspect.isclass(found):
        raise broken(plugin, "it is not a class")
    own = getattr(found, "SETTINGS", {})
    if not isinstance(own, Mapping):
        raise broken(plugin, "its SETTINGS are not a mapping")
    content: dict[str, Any] = {"about": doc_line(found), "target": plugin.value}
    for name, parameter in _parameters(found).items():
        if name in _GIVEN or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name == "name" and parameter.default is parameter.empty:
            content[name] = plugin.name
        elif parameter.default is parameter.empty:
            content[name] = "???"
        elif isinstance(parameter.default, _PLAIN):
            content[name] = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return {**content, **({"shard": None} if group == "engine" else {}), **own}


def _parameters(found: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class; with those that its base classes require where it passes `**settings` on to them."""
    result: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(found):
        if "__init__" not in vars(base) or base is object:
            continue
        own = inspect.signature(vars(base)["__init__"]).parameters
        needed = own if not result else {n: p for n, p in own.items() if p.default is p.empty}
        result = {**needed, **result}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return result


def doc_line(found: Any) -> str:
    """The first line of an object's docstring, without its full stop; "" without one."""
    return (inspect.getdoc(found) or "").partition("\n")[0].rstrip(".")
