"""Classes that a YAML may name as `target: package.module:Class`.

A shared YAML must not reach code that nobody meant to be configured: evalkit's own classes come from the module of
their config group and are defined there, others from the packages that the user trusts, and are defined in those.  A
class that an installed package registers as a plug-in may be named too (`evalkit.core.plugins`).
What a module has only imported (`importlib.import_module`, `subprocess.run`) is refused (docs/adr/0003).
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from typing import Any, NamedTuple

from evalkit.cli.plugins import registered_target
from evalkit.core.errors import ConfigError
from evalkit.core.plugins import broken, load
from evalkit.runs.legacy import current_target

OWN = "evalkit."
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Place(NamedTuple):
    """Where the classes of a config group are defined, and the methods that each has.

    modules: packages or modules of evalkit.  methods: alternatives, of which a class has all names of one.
    """

    modules: tuple[str, ...]
    methods: tuple[tuple[str, ...], ...]


PLACES = {
    "task": Place(("evalkit.tasks",), (("load", "messages"),)),
    "protocol": Place(("evalkit.scoring",), (("score", "settings"),)),
    "engine": Place(("evalkit.engines",), (("generate", "metadata"),)),
    "model": Place(("evalkit.engines", "evalkit.models.text_only_baselines"), (("generate", "metadata"), ("fit",))),
    "judge": Place(("evalkit.judge.config",), ((),)),
    "tracker": Place(("evalkit.integrations.trackers",), (("check", "log"),)),
}


def trusted_prefixes() -> tuple[str, ...]:
    """Packages that a `target:` may come from: evalkit, and those in the environment variable EVALKIT_TRUST.

    An environment variable and never a setting, because a shared config file must not run code by itself.
    """
    extra = [p.strip() for p in os.environ.get("EVALKIT_TRUST", "").split(",") if p.strip()]
    return (OWN, *(p if p.endswith((".", ":")) else f"{p}." for p in extra))


def resolve(target: str, where: str) -> Any:
    """The class (or, in a trusted package, function) that `package.module:Name` names, also by a former name.

    Args:
        where: the place that a message names; its first word is the config group: "task slake", "engine.inner".

    Raises:
        ConfigError: the target is malformed, of a package that is not trusted, not there, imported from elsewhere, or
            not a class of the config group.
    """
    group = re.split(r"[ .]", where)[0]
    place = PLACES.get(group)
    if (plugin := registered_target(group, target)) is not None:
        found = load(plugin)
        if inspect.isclass(found) and place is not None:
            _check_methods(found, place, target, where)
            return found
        raise broken(plugin, "it is not a class")
    module_name, _, attribute = current_target(target).partition(":")
    if not attribute:
        raise ConfigError(f"{where}: target {target!r} is not of the form 'package.module:Class'.")
    if not _NAME.fullmatch(module_name) or not attribute.isidentifier():
        raise ConfigError(f"{where}: target {target!r} is not of the form 'package.module:Class', of plain names.")
    _check_module(module_name, place, target, where)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as problem:
        raise ConfigError(f"{where}: target {target!r} cannot be loaded: {problem}.") from problem
    _check_definition(found, module_name, target, where)
    if place is not None and inspect.isclass(found):
        _check_methods(found, place, target, where)
    return found


def _check_module(module: str, place: Place | None, target: str, where: str) -> None:
    """Check that a module may be imported for a config group, before it is."""
    if not f"{module}.".startswith(trusted_prefixes()):
        raise ConfigError(
            f"{where}: target {target!r} is outside the trusted packages ({', '.join(trusted_prefixes())}). "
            "If you trust that package, name it in the environment variable EVALKIT_TRUST."
        )
    known = place.modules if place is not None else tuple(m for p in PLACES.values() for m in p.modules)
    if f"{module}.".startswith(OWN) and not f"{module}.".startswith(tuple(f"{m}." for m in known)):
        raise ConfigError(
            f"{where}: target {target!r} is not among the classes of evalkit that a YAML may name here; they are in "
            f"{', '.join(known)}."
        )


def _check_definition(found: Any, module: str, target: str, where: str) -> None:
    """Check that an object is a class defined in its own module, or a class or function of a trusted package."""
    defined = getattr(found, "__module__", None)
    is_own = f"{module}.".startswith(OWN)
    kind = "a class" if is_own else "a class or function"
    if not (inspect.isclass(found) or (inspect.isfunction(found) and not is_own)):
        raise ConfigError(f"{where}: target {target!r} is {type(found).__name__!r}, expected {kind} defined there.")
    allowed = defined == module if is_own else f"{defined}.".startswith(trusted_prefixes()[1:])
    if not allowed:
        raise ConfigError(
            f"{where}: target {target!r} is defined in {defined}, and its module only imports it: expected {kind} "
            f"defined in {module if is_own else 'a package that EVALKIT_TRUST names'}."
        )


def _check_methods(found: type, place: Place, target: str, where: str) -> None:
    if any(all(callable(getattr(found, name, None)) for name in names) for names in place.methods):
        return
    expected = " or ".join(" and ".join(f"`{name}`" for name in names) for names in place.methods)
    raise ConfigError(f"{where}: target {target!r} is not a class for this: expected the methods {expected}.")
