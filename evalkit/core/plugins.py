"""Plug-ins: classes and functions that installed packages register under the entry points `evalkit.GROUP`.

A package is trusted as far as the user has installed it: its entry points may name what the package itself defines, and
only packages on the import path count that the user has put there, never the current folder by itself, which may be a
stranger's data.  A YAML may name a registered plug-in and nothing else of its package (docs/adr/0011-plug-ins.md).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import ConfigError, first_line
from evalkit.core.plain_text import visible

PREFIX = "evalkit."
# Kinds of plug-ins -> what is registered.
GROUPS = {
    "engines": "a class with generate and metadata",
    "tasks": "a class with load and messages",
    "protocols": "a class with score and settings",
    "importers": "an evalkit.importers.base.Format",
    "exports": "a function (run, out) -> paths",
}


class Plugin(NamedTuple):
    """A registered plug-in.

    name: as on the command line.  value: `package.module:Name`.  package, version: the distribution that registers it.
    rival: another distribution that registers the same name; "" for none.
    """

    group: str
    name: str
    value: str
    package: str
    version: str
    rival: str = ""

    @property
    def label(self) -> str:
        """The distribution, for lists."""
        return visible(f"{self.package} {self.version}")


def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group that are registered, by name; nothing of theirs is imported."""
    return _registered(tuple(_import_path())).get(group, {})


def _import_path() -> Iterator[str]:
    """The folders in which distributions count: those of the import path, without the current folder by itself."""
    here = str(Path.cwd().resolve())
    named = {os.path.realpath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p}
    for entry in sys.path:
        place = os.path.realpath(entry or here)
        if place != here or place in named:
            yield entry


@cache
def _registered(path: tuple[str, ...]) -> dict[str, dict[str, Plugin]]:
    from importlib import metadata

    found: dict[str, dict[str, Plugin]] = {group: {} for group in GROUPS}
    seen: set[str] = set()
    for distribution in metadata.distributions(path=list(path)):
        # Read as text first: parsing the metadata of every distribution would take most of the time of `--help`.
        if f"[{PREFIX}" not in (distribution.read_text("entry_points.txt") or ""):
            continue
        # Metadata of a broken installation may lack a name; its entry points then belong to nobody.
        package = str(distribution.metadata["Name"] or "")
        if not package or package.lower() in seen:
            continue
        seen.add(package.lower())
        for entry in distribution.entry_points:
            group = entry.group.removeprefix(PREFIX)
            if not entry.group.startswith(PREFIX) or group not in found:
                continue
            plugin = Plugin(group, entry.name, entry.value, package, str(distribution.version))
            if (first := found[group].get(entry.name)) is not None:
                plugin = first._replace(rival=package)
            found[group][entry.name] = plugin
    return {group: dict(sorted(named.items())) for group, named in found.items()}


def load(plugin: Plugin) -> Any:
    """Import a plug-in.

    Raises:
        ConfigError: it cannot be imported, is not defined in its own package, or two packages have the name.
    """
    if plugin.rival:
        raise broken(plugin, f"{plugin.rival} registers the same name; remove one of the two packages")
    module_name, _, attribute = plugin.value.partition(":")
    top = module_name.partition(".")[0]
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise broken(plugin, "its entry point is not of the form package.module:Name")
    if top in sys.stdlib_module_names or top == PREFIX.removesuffix("."):
        raise broken(plugin, f"its entry point names something of {top}, which is no package of its own")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # whatever a package of somebody else's raises, an exit included
        raise broken(plugin, f"{type(problem).__name__}: {first_line(problem)}") from problem
    defined = str(getattr(found, "__module__", module_name))
    if plugin.group in ("engines", "tasks", "protocols", "exports") and defined.partition(".")[0] != top:
        raise broken(plugin, f"{attribute} is defined in {defined}, and {module_name} only imports it")
    return found


def broken(plugin: Plugin, why: str) -> ConfigError:
    """The error about a plug-in that cannot be used."""
    return ConfigError(
        f"The plug-in {plugin.name!r} of the package {plugin.label} ({PREFIX}{plugin.group}: {plugin.value}) cannot be "
        f"used: {visible(why)}. Everything else works without it; update that package or uninstall it."
    )
