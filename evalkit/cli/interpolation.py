"""Interpolations of a configuration: `${out}` anywhere, the environment in a few settings only.

A shared YAML could otherwise carry a secret of the environment (`${oc.env:OPENAI_API_KEY}`) into a run's folder, a
page, a message or a request.  So `oc.env` is resolved for ENVIRONMENT_SETTINGS alone, only where the variable holds the
path of something that exists, and manifests keep the interpolation, not the value.  `oc.decode`, `oc.create` and
`oc.deprecated`, which make interpolations of texts, are refused.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.cli import expansion
from evalkit.core.errors import ConfigError

# Settings for which `${oc.env:NAME}` is resolved: folders, none of which any file of a run records.
ENVIRONMENT_SETTINGS = frozenset({"out", "leaderboard", "task.path", "data"})
_UNSET = object()


class Resolved(NamedTuple):
    """A configuration without interpolations.

    from_environment: dotted setting -> its text with the interpolation, of those that hold a value of the environment.
    """

    content: dict[str, Any]
    from_environment: dict[str, str]


class _Resolution(NamedTuple):
    """A resolution in progress.  prefix: before the keys of its nodes.  values: those of the environment so far."""

    prefix: str
    values: list[str]


# The innermost resolution of this thread; None outside of evalkit's configurations, where resolvers are as usual.
_active: ContextVar[_Resolution | None] = ContextVar("resolution", default=None)
_NAMES = ("oc.env", "oc.create", "oc.decode", "oc.deprecated")
_lock = threading.Lock()
# The resolvers that evalkit's replace while any thread is inside of `guarded`, and how many are.
_replaced: dict[str, Any] = {}
_depth = 0
if hasattr(os, "register_at_fork"):  # a fork while another thread has the lock would leave it locked for ever
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextmanager
def guarded(prefix: str = "") -> Iterator[_Resolution]:
    """Guard the resolvers of interpolations meanwhile, and limit what they unfold to; OmegaConf has its own afterwards.

    Args:
        prefix: the place of the nodes in the configuration, such as "task", where they are read on their own.
    """
    _enter()
    token = _active.set(resolution := _Resolution(prefix, []))
    try:
        with expansion.limited():
            yield resolution
    finally:
        _active.reset(token)
        _leave()


def _enter() -> None:
    """Replace OmegaConf's resolvers, unless another thread, or an outer `guarded`, has."""
    from omegaconf import OmegaConf
    from omegaconf.basecontainer import BaseContainer

    global _depth
    with _lock:
        expansion.count_references()
        if not _depth:
            _replaced.update({n: BaseContainer._resolvers[n] for n in _NAMES if n in BaseContainer._resolvers})
            own: tuple[Callable[..., Any], ...] = (_env, _create, _decode, _deprecated)
            for name, resolver in zip(_NAMES, own, strict=True):
                OmegaConf.register_new_resolver(name, resolver, replace=True)
        _depth += 1


def _leave() -> None:
    from omegaconf.basecontainer import BaseContainer

    global _depth
    with _lock:
        _depth -= 1
        if not _depth:
            for name in _NAMES:
                BaseContainer._resolvers.pop(name, None)
            BaseContainer._resolvers.update(_replaced)
            _replaced.clear()


def _env(key: str, default: Any = _UNSET, *, _node_: Any) -> Any:
    from omegaconf.resolvers import oc

    given = () if default is _UNSET else (default,)
    if (resolution := _active.get()) is None:  # of another thread, whose configuration is not evalkit's
        return oc.env(key, *given)
    setting = ".".join(filter(None, (resolution.prefix, str(_node_._get_full_key(None)))))
    _check_setting(setting, f"${{oc.env:{key}}}")
    if key not in os.environ:
        if default is _UNSET:
            raise ConfigError(f"{setting}: the environment variable {key} is not set.")
        return default
    resolution.values.append(value := _path_in(str(key), setting))
    return value


def _create(obj: Any, *, _parent_: Any) -> Any:
    from omegaconf.resolvers import oc

    return oc.create(_usable("oc.create", obj), _parent_)


def _decode(expr: Any, *, _parent_: Any, _node_: Any) -> Any:
    from omegaconf.resolvers import oc

    return oc.decode(_usable("oc.decode", expr), _parent_, _node_)


def _deprecated(key: str, *message: str, _parent_: Any, _node_: Any) -> Any:
    from omegaconf.resolvers import oc

    return oc.deprecated(_usable("oc.deprecated", key), *message, _parent_=_parent_, _node_=_node_)


def _usable(name: str, value: Any) -> Any:
    if _active.get() is not None:
        raise ConfigError(f"${{{name}:...}} is not possible in a configuration; write the value itself.")
    return value


def _check_setting(setting: str, text: str) -> None:
    """Check that a setting may hold a value of the environment; text: what it is in the configuration."""
    if setting in ENVIRONMENT_SETTINGS or setting.partition(".")[0] == "data":
        return
    raise ConfigError(
        f"{setting}={text} is not resolved: a value of the environment is for the folders "
        f"{', '.join(sorted(ENVIRONMENT_SETTINGS))} only, so that a shared file cannot carry a secret into results. "
        "Write the value itself, or let the shell do it on the command line."
    )


def _path_in(variable: str, setting: str) -> str:
    """The value of an environment variable, which must be the path of something that exists; never shown otherwise."""
    value = os.environ[variable]
    try:
        is_path = Path(value).is_absolute() and Path(value).exists()
    except (OSError, ValueError):
        is_path = False
    if not is_path:
        raise ConfigError(
            f"{setting}: the environment variable {variable} does not hold the absolute path of an existing folder or "
            "file, which it must for ${oc.env:...}. (Its value is not shown, as it may be a secret.)"
        )
    return value


def resolve_node(node: Any, prefix: str = "") -> Resolved:
    """A config node as plain dicts and lists, everything resolved.

    Raises:
        ConfigError: a mandatory setting (`???`) has no value, or an interpolation is not possible.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    raw = OmegaConf.to_container(node, resolve=False)
    with guarded(prefix) as resolution:
        try:
            content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as problem:
            raise explained(problem) from problem
        except RecursionError as problem:
            raise ConfigError("The configuration has an interpolation that refers to itself.") from problem
    assert isinstance(content, dict)
    found: dict[str, str] = {}
    for setting, text, value in _interpolated(raw, content, prefix):
        if any(secret in value for secret in resolution.values):
            _check_setting(setting, text)
            found[setting] = text
    return Resolved({str(key): value for key, value in content.items()}, found)


def resolve_recorded(text: str, setting: str) -> str:
    """A setting of a manifest, where it is recorded with an interpolation of the environment, as this machine has it.

    Raises:
        ConfigError: as for `resolve_node`, since the manifest may be someone else's.
    """
    from omegaconf import OmegaConf

    if not text.startswith("${oc.env:"):
        return text
    prefix, _, key = setting.rpartition(".")
    return str(resolve_node(OmegaConf.create({key: text}), prefix).content[key])


def explained(problem: BaseException) -> ConfigError:
    """An error of OmegaConf as a message: the ConfigError inside it, else its first line in a sentence."""
    own = config_error_in(problem)
    return own or ConfigError(f"The configuration is not complete: {str(problem).splitlines()[0]}")


def config_error_in(problem: BaseException) -> ConfigError | None:
    """The ConfigError that a library wrapped in an error of its own; None where there is none."""
    cause: BaseException | None = problem
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _interpolated(raw: Any, content: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(setting, text, value) of each text with an interpolation."""
    if isinstance(raw, str) and "${" in raw:
        # A copy of another node counts as one text with all that is in it.
        yield prefix, raw, content if isinstance(content, str) else repr(content)
    elif isinstance(raw, Mapping) and isinstance(content, Mapping):
        for key, value in raw.items():
            yield from _interpolated(value, content.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(raw, list) and isinstance(content, list):
        for item, value in zip(raw, content, strict=True):
            yield from _interpolated(item, value, prefix)
