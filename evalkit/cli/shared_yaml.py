"""What a YAML of a config folder may say to Hydra: next to nothing.

Hydra instantiates `hydra.callbacks`, `hydra.launcher`, `hydra.sweeper` and the factories of `hydra.job_logging`, and
sets `hydra.job.env_set`, from whatever file it composes.  Config folders are exchanged between users, so the node
`hydra` is left to the command line: a file may set HYDRA_SETTINGS only, wherever its content is placed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from evalkit.core.errors import ConfigError

HYDRA = "hydra"
# Settings of the node `hydra` that a file may have: how many of what a job of a sweep gets from its cluster.
_RESOURCES = (
    "timeout_min", "cpus_per_task", "gpus_per_node", "gpus_per_task", "tasks_per_node", "nodes", "mem_gb",
    "mem_per_cpu", "mem_per_gpu", "array_parallelism", "partition", "qos", "account", "gres", "constraint",
)  # fmt: skip
HYDRA_SETTINGS = frozenset({"mode", *(f"launcher.{name}" for name in _RESOURCES)})
# Launchers write these values into scripts: no spaces, line breaks, quotes or interpolations.
_WORD = re.compile(r"[\w.:,/@+-]{1,100}")
# `hydra` as a part of a package, a group or a path: "/hydra/launcher", "task@hydra.callbacks", "_global_.hydra".
_NAMES_HYDRA = re.compile(r"(?:^|[\s./@:])hydra(?:$|[\s./@:])")
# The name of an interpolation's resolver: `oc.env` in "${oc.env:HOME}"; with "$" where it is computed itself.
_RESOLVER = re.compile(r"\$\{((?:[^:{}]|\$\{[^{}]*\})*):")
RESOLVERS = frozenset({"oc.env", "oc.select", "now"})
_COMMAND_LINE = "Give it on the command line if you want it."


def is_hydra_path(config_path: str) -> bool:
    """Whether a config path is one of Hydra's own groups, which no folder of a user's adds to.

    >>> is_hydra_path("hydra/launcher/mine"), is_hydra_path("task/../hydra/config"), is_hydra_path("model/hydra-vl")
    (True, True, False)
    """
    return HYDRA in PurePath(config_path.removesuffix(".yaml")).parts


def check_package(package: str | None, where: str) -> None:
    """Check the place in the configuration that the first line of a file names; None without one.

    Raises:
        ConfigError: it is in Hydra's own settings.
    """
    if package is not None and _NAMES_HYDRA.search(package):
        raise ConfigError(f"{where}: `@package {package}` places the file in Hydra's own settings. {_COMMAND_LINE}")


def check_file(content: Mapping[Any, Any], where: str) -> None:
    """Check what a config file says to Hydra and to OmegaConf.

    Args:
        content: the file as plain dicts and lists, interpolations as texts, `defaults` included.
        where: the file, for messages.

    Raises:
        ConfigError: the file has a `_target_`, an interpolation that is not allowed, or would set something of Hydra
            that only the command line sets.
    """
    _check_values(content, where)
    _check_defaults(content.get("defaults"), where)
    for key, value in content.items():
        if str(key).partition(".")[0] == HYDRA:
            _check_hydra_node(str(key), value, where)


def _check_values(node: Any, where: str) -> None:
    """Check every key and text, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            # Hydra's word for code to run; evalkit's own is `target:` and is checked where it is used.
            if str(key) == "_target_":
                raise ConfigError(
                    f"{where}: the key `_target_` is not allowed in a config file, because Hydra runs what it names. A "
                    "class of evalkit or of a package that you trust is named by `target: package.module:Class`."
                )
            _check_values(value, where)
    elif isinstance(node, list):
        for value in node:
            _check_values(value, where)
    elif isinstance(node, str):
        _check_interpolations(node, where)


def _check_interpolations(text: str, where: str) -> None:
    for name in map(str.strip, _RESOLVER.findall(text)):
        if name not in RESOLVERS:
            raise ConfigError(
                f"{where}: the interpolation ${{{name}:...}} is not possible in a config file; of those with a colon "
                f"only {', '.join(sorted(RESOLVERS))} are."
            )


def _check_defaults(defaults: Any, where: str) -> None:
    """Check the form of a defaults list, that it names no group twice, and nothing of Hydra's."""
    groups: set[str] = set()
    for item in [] if defaults is None else defaults if isinstance(defaults, list) else [defaults]:
        values = list(item.values()) if isinstance(item, Mapping) else []
        options = values[0] if values and isinstance(values[0], list) else values
        is_known = isinstance(defaults, list) and (isinstance(item, str) or list(map(type, values and item)) == [str])
        if not is_known or not all(option is None or isinstance(option, str) for option in options):
            raise ConfigError(
                f"{where}: `defaults` must be a list of `- group: option` or `- option`, each option a text, found "
                f"{str(item)[:80]!r}."
            )
        if any(_NAMES_HYDRA.search(text) for text in (*map(str, values and item), *_texts(options), *_texts([item]))):
            raise ConfigError(
                f"{where}: the item {str(item)[:80]!r} of `defaults` is about Hydra itself. {_COMMAND_LINE}"
            )
        for group in (str(key).split()[-1].lstrip("/") for key in (item if values else ()) if str(key).strip()):
            if group in groups:
                raise ConfigError(f"{where}: `defaults` has two items for the group {group!r}. Keep one.")
            groups.add(group)


def _texts(values: list[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _check_hydra_node(key: str, value: Any, where: str) -> None:
    for setting, leaf in _leaves(value, key.partition(".")[2]):
        if setting not in HYDRA_SETTINGS:
            raise ConfigError(
                f"{where}: hydra.{setting} cannot be set in a config file, because Hydra runs what some of its "
                f"settings name; a file may set {', '.join(sorted(HYDRA_SETTINGS))}. {_COMMAND_LINE}"
            )
        if leaf is not None and not _WORD.fullmatch(str(leaf)):
            raise ConfigError(f"{where}: hydra.{setting} must be a number or one plain word, found {str(leaf)[:80]!r}.")


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each setting below a node; an empty mapping has none."""
    if not isinstance(node, Mapping):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
