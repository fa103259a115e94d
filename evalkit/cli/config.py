"""The bridge to Hydra: where the config tree is, what it offers, and how a YAML becomes an object.

Only this module and `__main__` know Hydra.  Nothing is instantiated by Hydra itself: a YAML names its class as
`target: package.module:Class` and `build` resolves it, from trusted packages only (docs/adr/0003).
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean

# A verb's whole configuration as plain Python, with `choices`: what was chosen of each group.
Config = Mapping[str, Any]

# Keys of a YAML that describe the thing and are not arguments of its class.
DESCRIPTIVE = frozenset(
    {"about", "target", "protocols", "only_protocols", "source", "licence", "citation", "known_bugs", "order"}
    | {"generation", "tasks", "protocol_settings", "answers_format", "trained_on"}
)


def config_dir() -> Path:
    """The config tree: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise ConfigError(
        f"The config tree is missing: looked for run.yaml in {package / 'conf'} and {package.parent / 'conf'}. "
        "The installation is damaged; install evalkit-medvqa again."
    )


def config_dirs() -> tuple[Path, ...]:
    """The built-in tree and, when the environment variable EVALKIT_CONF names a folder, the user's own."""
    extra = os.environ.get("EVALKIT_CONF")
    return (config_dir(), Path(extra)) if extra else (config_dir(),)


@cache
def options(group: str) -> dict[str, str]:
    """What can be chosen in a group: name -> its one line (`about:`), sorted by name.

    Reads the text instead of parsing YAML: `--help` lists every group and must stay fast.
    """
    found: dict[str, str] = {}
    for folder in config_dirs():
        for path in sorted((folder / group).glob("*.yaml")):
            match = re.search(r"^about:[ \t]*(.+)$", path.read_text(encoding="utf-8"), flags=re.M)
            found[path.stem] = match.group(1).split(" #")[0].strip().strip("\"'") if match else ""
    return dict(sorted(found.items()))


def load_option(group: str, name: str) -> dict[str, Any]:
    """The content of one YAML of a group, for what is chosen by name in code and not on the command line."""
    from omegaconf import OmegaConf

    for folder in reversed(config_dirs()):
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            return plain(OmegaConf.load(path))
    raise ConfigError(f"There is no {group} named {name!r}. {did_you_mean(name, options(group))}")


def plain(node: Any) -> dict[str, Any]:
    """A config node as plain dicts and lists, everything resolved; a `???` left open is an error that names it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as problem:
        raise ConfigError(f"The configuration is not complete: {str(problem).splitlines()[0]}") from problem
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def trusted_prefixes() -> tuple[str, ...]:
    """Packages that a `target:` may come from: evalkit, and what the user names in EVALKIT_TRUST.

    By environment and never by config, because a config file that is passed on must not run code by itself.
    """
    extra = [p.strip() for p in os.environ.get("EVALKIT_TRUST", "").split(",") if p.strip()]
    return ("evalkit.", *(p if p.endswith((".", ":")) else f"{p}." for p in extra))


def resolve(target: str, where: str) -> Any:
    """The object that `package.module:Name` names."""
    module_name, _, attribute = target.partition(":")
    if not attribute:
        raise ConfigError(f"{where}: target {target!r} is not of the form 'package.module:Class'.")
    if not f"{module_name}.".startswith(trusted_prefixes()):
        raise ConfigError(
            f"{where}: target {target!r} is outside the trusted packages ({', '.join(trusted_prefixes())}). "
            "If you trust that package, name it in the environment variable EVALKIT_TRUST."
        )
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as problem:
        raise ConfigError(f"{where}: target {target!r} cannot be loaded: {problem}.") from problem


def build(config: Mapping[str, Any], where: str, **extra: Any) -> Any:
    """Make the object that a YAML describes: its class from `target`, its other keys as keyword arguments."""
    if "target" not in config:
        raise ConfigError(f"{where}: the YAML names no class (`target: package.module:Class`).")
    factory = resolve(str(config["target"]), where)
    arguments = {key: value for key, value in config.items() if key not in DESCRIPTIVE} | extra
    accepted = inspect.signature(factory).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
        for key in arguments:
            if key not in accepted:
                raise ConfigError(f"{where}: {key!r} is not a setting. {did_you_mean(key, accepted)}")
    required = [n for n, p in accepted.items() if p.default is inspect.Parameter.empty and n not in arguments]
    required = [n for n in required if accepted[n].kind is not inspect.Parameter.VAR_KEYWORD]
    if required:
        raise ConfigError(f"{where}: the setting {required[0]!r} must be given.")
    return factory(**arguments)


def choose(value: Any, allowed: Sequence[str], what: str) -> str:
    """`value` when it is one of `allowed`, else an error that names the near ones."""
    if value not in allowed:
        raise ConfigError(f"{what}={value} is not possible. {did_you_mean(str(value), allowed)}")
    return str(value)


def protocols_for(selected: Mapping[str, Any] | None, task: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The protocol configs to score under: the ones chosen, else the task's own; `all` is every one that fits.

    A protocol says with `tasks:` which tasks it is defined for (absent: any question-answering task), and a task
    with `only_protocols:` that it has its own.  A task's `protocol_settings:` are settings of a protocol that
    the task decides (ColonINST: which of its tasks is scored).
    """
    if selected and "all" not in selected:
        chosen = dict(_for_task(name, dict(content), task) for name, content in selected.items())
    elif not selected:
        if "protocols" not in task:
            raise ConfigError("The task's YAML names no default protocols; give protocol=NAME.")
        names = list(task["protocols"] or ())  # an empty list: only a judge can score it
        chosen = {name: _protocol(name) for name in names}
    else:
        every = {name: _protocol(name) for name in options("protocol") if name != "all"}
        chosen = {name: content for name, content in every.items() if fits(content, task)}
    decided = task.get("protocol_settings") or {}
    return {name: content | decided.get(name, {}) for name, content in chosen.items()}


def _for_task(name: str, content: dict[str, Any], task: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The protocol itself, or its variant NAME-TASK where the authors count that task in another way.

    Raises:
        ConfigError: the protocol is not defined for the task.
    """
    if fits(content, task):
        return name, content
    variant = f"{name}-{task.get('name')}"
    if variant in options("protocol"):
        return variant, _protocol(variant)
    known = [n for n in options("protocol") if n != "all" and fits(_protocol(n), task)]
    raise ConfigError(f"protocol={name} is not defined for task {task.get('name')}. Defined: {', '.join(known)}.")


def fits(protocol: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    """Whether a protocol is defined for a task."""
    if only := task.get("only_protocols"):
        return protocol["name"] in only
    tasks = protocol.get("tasks")
    return tasks is None or task.get("name") in tasks


def _protocol(name: str) -> dict[str, Any]:
    return load_option("protocol", name)
