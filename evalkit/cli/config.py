"""Configuration files: their folders, their options, and objects built from them.

Hydra composes configurations but instantiates nothing: a YAML names its class as `target: package.module:Class` and
`build` resolves it, from evalkit and trusted packages only (docs/adr/0003).
"""

from __future__ import annotations

import inspect
import io
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from evalkit.cli.beside_yaml import with_places
from evalkit.cli.interpolation import resolve_node
from evalkit.cli.plugins import OF_GROUP, plugin_of, plugin_option
from evalkit.cli.shared_yaml import check_file
from evalkit.cli.targets import resolve
from evalkit.cli.yaml_text import read_text
from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean, first_line
from evalkit.core.plugins import plugins
from evalkit.core.setting_types import argument_kinds, parse_setting

# A verb's whole configuration as plain Python, with `choices`: config group -> the chosen option.
Config = Mapping[str, Any]

# Config groups of which several options can be chosen: protocol=[A,B].
MULTIPLE_CHOICE = ("protocol",)
# Keys of a YAML that the class of its `target` does not get as arguments.
DESCRIPTIVE = frozenset(
    {"about", "target", "protocols", "only_protocols", "source", "licence", "citation", "known_bugs", "order"}
    | {"generation", "tasks", "protocol_settings", "answers_format", "trained_on"}
    | {"baseline_protocols", "reference_protocol", "manual_download", "where", "sample", "sample_seed"}
    | {"option_rows", "orders", "orders_seed", "draws"}
)


def config_dir() -> Path:
    """The built-in config tree: inside the package in a wheel, next to the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise ConfigError(
        f"The config tree is missing: looked for run.yaml in {package / 'conf'} and {package.parent / 'conf'}. "
        "The installation is damaged; install evalkit-medvqa again."
    )


def config_dirs() -> tuple[Path, ...]:
    """The built-in tree, then the user's own folders, which the environment variable EVALKIT_CONF names.

    Several folders are separated as in PATH.  `--config-dir DIR` on the command line adds one.
    """
    return (config_dir(), *map(Path, filter(None, os.environ.get("EVALKIT_CONF", "").split(os.pathsep))))


def options(group: str) -> dict[str, str]:
    """The options of a config group: name -> its one line (`about:`), sorted by name; plug-ins are not imported."""
    files = _options(group, config_dirs())
    added = plugins(OF_GROUP[group]) if group in OF_GROUP else {}
    lines = {name: f"plug-in of {plugin.label}" for name, plugin in added.items()}
    return dict(sorted({**lines, **files}.items()))


@cache
def _options(group: str, folders: tuple[Path, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            if path.stem not in found:
                found[path.stem] = _about(path, is_own=folder == folders[0])
    return dict(sorted(found.items()))


def _about(path: Path, *, is_own: bool) -> str:
    """The one line of an option; for a file that cannot be read, the reason.

    is_own: the file is of the built-in tree, which is searched as text: `--help` lists every group and must stay fast.
    """
    try:
        text = path.read_text(encoding="utf-8") if is_own else read_text(path)
    except (OSError, UnicodeDecodeError, ConfigError) as problem:
        return f"cannot be used: {first_line(problem)}"
    match = re.search(r"^about:[ \t]*(.+)$", text, flags=re.M)
    return match.group(1).split(" #")[0].strip().strip("\"'") if match else ""


def load_option(group: str, name: str) -> dict[str, Any]:
    """The content of one YAML of a group, for options that code chooses by name and not the command line.

    Of several files of one name the first folder's is read, as by Hydra: no folder of a user's replaces a built-in one.

    Raises:
        ConfigError: there is no such option, or its file is not a YAML mapping.
    """
    for folder in config_dirs():
        path = folder / group / f"{name}.yaml"
        if name in options(group) and path.exists():
            content = read_yaml(path)
            if folder != config_dir():
                content.update(with_places(group, unresolved(content), path))
            return plain(content, group)
    if (plugin := plugin_of(group, name)) is not None:
        return plugin_option(group, plugin)
    raise ConfigError(f"There is no {group} named {name!r}. {did_you_mean(name, options(group))}")


def read_yaml(path: Path) -> Any:
    """The content of a config file, as an OmegaConf node.

    Raises:
        ConfigError: the file cannot be read, is not a YAML mapping, or says something to Hydra (`check_file`).
    """
    if path.is_relative_to(config_dir()) and path.is_file():
        from omegaconf import OmegaConf

        return OmegaConf.create(_built_in(path, path.stat().st_mtime_ns))
    return _parsed(path)


@lru_cache(maxsize=512)
def _built_in(path: Path, changed: int) -> dict[Any, Any]:
    """The content of a file of the built-in tree, parsed and checked once a process: every command reads a dozen."""
    del changed  # a key of the cache: a file that is edited is read again
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(_parsed(path), resolve=False)
    assert isinstance(content, dict)
    return content


def _parsed(path: Path) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    text = read_text(path)
    try:
        node = OmegaConf.load(io.StringIO(text))
    except (YAMLError, OmegaConfBaseException, ValueError, OverflowError, RecursionError) as problem:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(problem).split())}.") from problem
    check_file(unresolved(node), str(path))
    return node


def unresolved(node: Any) -> dict[str, Any]:
    """A config node as plain dicts and lists, as its file has it: `???` and `${...}` are texts."""
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def plain(node: Any, prefix: str = "") -> dict[str, Any]:
    """A config node as plain dicts and lists, everything resolved; see `evalkit.cli.interpolation.resolve_node`."""
    return resolve_node(node, prefix).content


def build(config: Mapping[str, Any], where: str, **extra: Any) -> Any:
    """The object that a YAML describes: its class from `target`, its other keys as keyword arguments.

    Raises:
        ConfigError: there is no such class, a key is not one of its arguments, or a required argument is missing.
    """
    if "target" not in config:
        raise ConfigError(f"{where}: the YAML names no class (`target: package.module:Class`).")
    factory = resolve(str(config["target"]), where)
    arguments = {key: value for key, value in config.items() if key not in DESCRIPTIVE} | extra
    if (names := _argument_names(factory)) is not None:
        for key in arguments:
            if key not in names:
                raise ConfigError(f"{where}: {key!r} is not a setting. {did_you_mean(key, names)}")
    accepted = inspect.signature(factory).parameters
    required = [n for n, p in accepted.items() if p.default is inspect.Parameter.empty and n not in arguments]
    required = [n for n in required if accepted[n].kind is not inspect.Parameter.VAR_KEYWORD]
    if required:
        raise ConfigError(f"{where}: the setting {required[0]!r} must be given.")
    return factory(**typed_arguments(factory, arguments, setting_prefix(where), extra))


def typed_arguments(
    factory: Any, arguments: Mapping[str, Any], prefix: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments checked against the annotations of a factory, but for `given` ones, which are no settings.

    Raises:
        ConfigError: an argument has another type.
    """
    kinds = argument_kinds(factory)
    return {
        key: value if key in (given or ()) or key not in kinds else parse_setting(value, kinds[key], f"{prefix}{key}")
        for key, value in arguments.items()
    }


def setting_prefix(where: str) -> str:
    """The start of a setting's name on the command line, from the place that a message names.

    >>> setting_prefix("task slake"), setting_prefix("protocol strict"), setting_prefix("engine.inner")
    ('task.', 'protocol.strict.', 'engine.inner.')
    """
    group, _, option = where.partition(" ")
    return f"{group}.{option}." if group == "protocol" else f"{group}."


def _argument_names(factory: Any) -> set[str] | None:
    """The names of a factory's arguments; None where any name is accepted.

    A class that passes `**settings` on to its base class accepts the base's arguments too.
    """
    names: set[str] = set()
    bases = (
        [base for base in inspect.getmro(factory)[1:] if "__init__" in vars(base)] if inspect.isclass(factory) else []
    )
    for callee in (factory, *bases):
        if callee is object:
            return None
        parameters = inspect.signature(callee).parameters
        names |= {name for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            return names
    return None


def accepts(factory: Any, argument: str) -> bool:
    """Whether a factory has an argument of this name, or takes any."""
    names = _argument_names(factory)
    return names is None or argument in names


def checked_choice(value: Any, allowed: Sequence[str], setting: str) -> str:
    """The value of a setting that allows only some.

    Raises:
        ConfigError: `value` is not one of `allowed`; the message names near ones.
    """
    if value not in allowed:
        raise ConfigError(f"{setting}={value} is not possible. {did_you_mean(str(value), allowed)}")
    return str(value)


def protocols_for(selected: Mapping[str, Any] | None, task: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configurations of the protocols to score under, by name.

    A protocol's `tasks:` lists the tasks for which it is defined (absent: any question-answering task); a task's
    `only_protocols:` lists the protocols that are defined for it.  A task's `protocol_settings:` are settings of a
    protocol that depend on the task (ColonINST: which of its tasks is scored).

    Args:
        selected: the config group `protocol`; empty for the task's own protocols; with `all`, every one that fits
            and scores generated answers: those of multiple choice alone where the task's own have one of them, and
            none that is chosen by its name alone (`by_name`).

    Raises:
        ConfigError: a protocol is not defined for the task, or the task names none.
    """
    if selected and "all" not in selected:
        for name, content in selected.items():
            if not isinstance(content, Mapping):
                raise ConfigError(
                    f"protocol.{name}={content} is not the configuration of a protocol; choose one with protocol=NAME "
                    "and change its settings with protocol.NAME.SETTING=VALUE."
                )
        chosen = dict(_for_task(name, {"name": name, **content}, task) for name, content in selected.items())
    elif not selected:
        if "protocols" not in task:
            raise ConfigError("The task's YAML names no default protocols; give protocol=NAME.")
        names = list(task["protocols"] or ())  # empty for a task that only a judge can score
        chosen = {name: _protocol(name) for name in names}
    else:
        every = {
            name: content
            for name, content in every_protocol().items()
            if "scoring" not in content and not content.get("by_name")
        }
        chosen = {name: content for name, content in every.items() if fits(content, task)}
        if not any(scores_choices_alone(_protocol(str(name))) for name in task.get("protocols") or ()):
            chosen = {name: content for name, content in chosen.items() if not scores_choices_alone(content)}
    by_task = task.get("protocol_settings") or {}
    return {name: _labelled(content | by_task.get(name, {}), task) for name, content in chosen.items()}


def scores_choices_alone(protocol: Mapping[str, Any]) -> bool:
    """Whether a protocol's configuration is of one that scores multiple-choice rows and no others."""
    metrics = getattr(resolve(str(protocol.get("target")), f"protocol {protocol['name']}"), "metrics", ())
    return bool(metrics) and all(getattr(metric, "rows", None) == "choice" for metric in metrics)


def choice_prompt(task: Mapping[str, Any]) -> Any:
    """The prompt variant of multiple-choice questions: a setting of its own in task=table."""
    return task["choice_prompt"] if "choice_prompt" in task else task.get("prompt")


def _labelled(protocol: dict[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol with `labels` of its options as the task's prompt shows them, where its YAML says null."""
    is_open = "labels" in protocol and protocol["labels"] is None
    return protocol | {"labels": "numbers" if choice_prompt(task) == "numbers" else "letters"} if is_open else protocol


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
    defined = [n for n, protocol in every_protocol().items() if fits(protocol, task)]
    raise ConfigError(f"protocol={name} is not defined for task {task.get('name')}. Defined: {', '.join(defined)}.")


def fits(protocol: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    """Whether a protocol is defined for a task."""
    if only := task.get("only_protocols"):
        return protocol["name"] in only
    tasks = protocol.get("tasks")
    return tasks is None or task.get("name") in tasks


def every_protocol() -> dict[str, dict[str, Any]]:
    """All protocols by name; a plug-in that is broken is left out with a warning."""
    found: dict[str, dict[str, Any]] = {}
    for name in options("protocol"):
        try:
            if name != "all":
                found[name] = _protocol(name)
        except ConfigError as problem:
            if plugin_of("protocol", name) is None:
                raise
            console.warn(str(problem))
    return found


def _protocol(name: str) -> dict[str, Any]:
    return {"name": name, **load_option("protocol", name)}
