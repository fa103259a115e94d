"""A verb's configuration as `hydra.main` would compose it, without Hydra's global state.

Hydra's own `compose` needs the singleton GlobalHydra, of which a process has one: an application with a `hydra.main`
of its own, or another thread, would lose it.  Here Hydra's loader is used as a plain object.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from evalkit.cli.config import config_dir, config_dirs
from evalkit.cli.config_source import SCHEME, register_source

# The version of Hydra's behaviour for which the config tree is written.
VERSION_BASE = "1.3"
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a fork while another thread has the lock would leave it locked for ever
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def import_hydra() -> None:
    """Import Hydra, one thread at a time: its modules import each other in a circle, which two threads cannot."""
    if "hydra.core.override_parser.overrides_parser" not in sys.modules or _lock.locked():
        with _lock:
            import hydra
            from hydra.core.override_parser import overrides_parser

            del hydra, overrides_parser


class Composed(NamedTuple):
    """A composed configuration, not resolved.

    choices: config group -> the chosen option.  words: the overrides, without those of Hydra's own settings.
    """

    node: Any
    choices: dict[str, str]
    words: list[str]


def compose(verb: str, words: Sequence[str]) -> Composed:
    """Compose the configuration of a verb from overrides in Hydra's grammar.

    Raises:
        HydraException, OmegaConfBaseException: an override cannot be read, or is not one of the verb.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra.core.plugins import Plugins
    from hydra.types import RunMode
    from omegaconf import flag_override

    with _lock:
        Plugins.instance()  # it knows the sources "pkg:" and "structured:"
        register_source()
        path = ConfigSearchPathImpl()
        path.append("hydra", "pkg://hydra.conf")
        path.append("main", f"{SCHEME}://{config_dir()}")
        for folder in config_dirs()[1:]:
            path.append("user", f"{SCHEME}://{folder}")
        path.append("schema", "structured://")
        with _version_base():
            loaded = ConfigLoaderImpl(path).load_configuration(verb, list(words), RunMode.RUN, from_shell=False)
    choices = {str(key): value for key, value in loaded.hydra.runtime.choices.items()}
    given = list(loaded.hydra.overrides.task)
    with flag_override(loaded, ["struct", "readonly"], False):
        del loaded["hydra"]
    return Composed(loaded, choices, given)


@contextmanager
def _version_base() -> Iterator[None]:
    """Set the version of Hydra's behaviour, which is global, and set the application's again."""
    from hydra.version import VersionBase, setbase

    state = VersionBase.instance()
    saved = state.version_base
    setbase(VERSION_BASE)
    try:
        yield
    finally:
        state.version_base = saved


def settings_of(verb: str, words: Sequence[str] = ()) -> list[str]:
    """The dotted settings of a verb, and the config groups.

    Args:
        words: choices of options; without them the verb's defaults.
    """
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(compose(verb, words).node, resolve=False)
    return sorted({*flat_keys(content, ""), *content})


def flat_keys(node: Any, prefix: str) -> list[str]:
    """The dotted keys of all values below a node."""
    if not isinstance(node, Mapping):
        return [prefix]
    keys: list[str] = []
    for key, value in node.items():
        keys += flat_keys(value, f"{prefix}.{key}" if prefix else str(key))
    return keys
