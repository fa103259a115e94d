"""Settings of a verb checked against their declared types, before the verb sees them.

The type of a setting is that of its default in `conf/VERB.yaml`; where the default is null or `???`, or more than one
type is possible, DECLARED names it.  Settings of a task, engine, judge or protocol have the types of the arguments of
the class that its YAML names (`evalkit.cli.config.build` checks them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from evalkit.cli.config import DESCRIPTIVE, config_dir, options, read_yaml, unresolved
from evalkit.cli.targets import resolve
from evalkit.cli.text_settings import check_texts
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home
from evalkit.core.setting_types import argument_kinds, fits, is_text, parse_setting

GROUPS = ("task", "model", "engine", "protocol", "judge", "paper", "experiment", "tracker")
TEXT = str | None
ONE_OR_MORE = str | Sequence[str]
MAPPING = Mapping[str, Any]
MANDATORY = "???"

# Types that the default does not show: VERB.SETTING for one verb, SETTING for all others.
DECLARED: dict[str, Any] = {
    "against": TEXT,
    "answers_of": TEXT,
    "board.leaderboard": str,
    "baseline": ONE_OR_MORE | None,
    "candidate": ONE_OR_MORE | None,
    "engines": MAPPING | None,
    "batch_sizes": Sequence[int],
    "diagnose.by": TEXT,
    "diagnose.prevalence": float | None,
    "data.path": TEXT,
    "file": TEXT,
    "format": str,
    "generation": str | MAPPING | None,
    "id": TEXT,
    "judge_check.run": TEXT,
    "judge_sample.by": TEXT,
    "labels": str,
    "leaderboard": TEXT,
    "limit": int | None,
    "chat_template": TEXT,
    "choices.shuffle": int | None,
    "margins": MAPPING | None,
    "metrics": ONE_OR_MORE | None,
    "image_id": TEXT,
    "model_id": TEXT,
    "name": TEXT,
    "offline": bool | str,
    "equivalence": float | None,
    "export.out": TEXT,
    "gate.out": TEXT,
    "own": ONE_OR_MORE,
    "plan.images": int | None,
    "plan.metrics": int,
    "plan.n": int | None,
    "plan.rows": ONE_OR_MORE | None,
    "plot": TEXT,
    "prediction": TEXT,
    "preflight": int | MAPPING | None,
    "predictions": str,
    "probe": TEXT,
    "question": TEXT,
    "reference": TEXT,
    "regime": TEXT,
    "run": str,
    "sample": int | None,
    "runs": ONE_OR_MORE | None,
    "save": TEXT,
    "run.data": TEXT,
    "suite": ONE_OR_MORE | None,
    "table.format": TEXT,
    "table.to": TEXT,
    "dossier.baseline": TEXT,
    "dossier": str,
    "head": TEXT,
    "hypothesis": TEXT,
    "intended_use": TEXT,
    "metric": str,
    "plan": TEXT,
    "register.margin": float | None,
    "secondary": ONE_OR_MORE,
    "subgroups": ONE_OR_MORE,
    "compare.to": TEXT,
    "gate.to": TEXT,
    "tags": ONE_OR_MORE | None,
    "sign.key": str,
    "tasks": ONE_OR_MORE | None,
    "to": str,
    "verify.key": TEXT,
    "view.runs": str,
    "view.to": TEXT,
}
# Settings that are paths: a leading ~ is the home folder, which no shell expands after `key=`.
PATHS = frozenset(
    {
        "against",
        "baseline",
        "candidate",
        "data.path",
        "file",
        "labels",
        "leaderboard",
        "lock",
        "out",
        "plot",
        "predictions",
    }
    | {"run", "runs", "save", "to", "dossier", "plan", "key"}
)
# Settings of a model's YAML that are texts; a checkpoint has no class of its own.
MODEL_TEXTS = frozenset(
    {"name", "about", "kind", "form", "source", "revision", "base", "base_revision", "vision_tower"}
    | {"vision_tower_source", "vision_tower_revision", "licence", "dtype", "chat_template", "served_as"}
    | {"adapter", "adapter_revision", "quantization"}
)
# Keys of a task's YAML that the verbs read themselves.
TASK_TEXTS = frozenset({"order", "name", "repo", "revision", "template", "system"})


def typed(verb: str, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a verb with every setting as its type.

    Args:
        overrides: the `key=value` words of the command line: a text is taken as it was typed, so that `name=1.10` is
            `1.10` and not 1.1.

    Raises:
        ConfigError: a setting has another type, a mandatory one is empty, or a group has no option.
    """
    typed_words = words_of(overrides)
    result = dict(config)
    declared = declared_types(verb)
    for group in declared.required:
        if not result.get(group):
            known = [name for name in options(group) if name != "all"]
            raise ConfigError(f"`{verb.replace('_', ' ')}` needs {group}=NAME. Known: {', '.join(known)}.")
    for key, kind in declared.kinds.items():
        _set_typed(result, key, kind, typed_words, is_mandatory=key in declared.mandatory)
    for group in GROUPS:
        if isinstance(result.get(group), Mapping):
            result[group] = _as_typed_words(result[group], group, typed_words)
    check_texts(result)
    return result


def words_of(overrides: Sequence[str]) -> dict[str, str]:
    """The values of a command line as they were typed, by key.

    >>> words_of(["name=1.10", "++task.path='a=b'", "model=x"])
    {'name': '1.10', 'task.path': 'a=b', 'model': 'x'}
    """
    found: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals:
            found[key.strip().lstrip("+")] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quote = value[:1]
    if len(value) >= 2 and quote in ("'", '"') and value.endswith(quote):
        return value[1:-1].replace(f"\\{quote}", quote)
    return value


class DeclaredTypes(NamedTuple):
    """Types of a verb's settings.  mandatory: settings without a default.  required: of its groups, those that need an
    option."""

    kinds: dict[str, Any]
    mandatory: frozenset[str]
    required: tuple[str, ...]
    groups: Mapping[str, str | None]


@cache
def declared_types(verb: str) -> DeclaredTypes:
    """The declared types of a verb's settings, from its YAML and DECLARED."""
    content = unresolved(read_yaml(config_dir() / f"{verb}.yaml"))
    defaults = [item for item in content.pop("defaults", None) or () if isinstance(item, dict)]
    chosen = {str(group): option for item in defaults for group, option in item.items() if group in GROUPS}
    required = tuple(group for group, option in chosen.items() if option is not None)
    flat = _flat(content, "")
    kinds = {key: kind for key, default in flat.items() if (kind := _kind(verb, key, default)) is not None}
    mandatory = frozenset(key for key, default in flat.items() if default == MANDATORY)
    return DeclaredTypes(kinds, mandatory, required, chosen)


def groups_of(verb: str) -> Mapping[str, str | None]:
    """The config groups of a verb, each with its default option."""
    return declared_types(verb).groups


def setting_names(verb: str) -> frozenset[str]:
    """The dotted settings of a verb that its YAML names, their parents, and its config groups."""
    content = unresolved(read_yaml(config_dir() / f"{verb}.yaml"))
    content.pop("defaults", None)
    return frozenset((*content, *_flat(content, ""), *groups_of(verb)))


def _flat(node: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Dotted key -> default; an empty mapping takes any key and is a setting itself."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _kind(verb: str, key: str, default: Any) -> Any:
    """The type of a setting; None where nothing declares it."""
    own, common = DECLARED.get(f"{verb}.{key}"), DECLARED.get(key)
    if own is not None or default is None or default == MANDATORY:
        return own if own is not None else common
    kinds = {bool: bool, int: int, float: float, str: str, list: Sequence[str], dict: MAPPING}
    # The common type is for settings of that meaning; a verb may have one of the same name and another type.
    return common if common is not None and fits(default, common) else kinds[type(default)]


def _set_typed(result: dict[str, Any], key: str, kind: Any, words: Mapping[str, str], *, is_mandatory: bool) -> None:
    """Replace a setting in a configuration by its typed value."""
    *parents, last = key.split(".")
    node = result
    for parent in parents:
        if parent not in node:
            return
        if not isinstance(node[parent], Mapping):
            raise ConfigError(f"{parent}={node.get(parent)} is not possible: expected a mapping with {key}.")
        node[parent] = node = dict(node[parent])
    if last not in node:
        return
    value = _typed_word(key, node[last], kind, words)
    if (is_mandatory or key in PATHS) and isinstance(value, str) and not value.strip():
        raise ConfigError(f"{key}= is empty: give a value (an unset variable of the shell?).")
    parsed = parse_setting(value, kind, key)
    if key in PATHS and isinstance(parsed, str | list):
        parsed = _home_expanded(parsed) if isinstance(parsed, str) else [_home_expanded(p) for p in parsed]
    node[last] = parsed


def _home_expanded(path: str) -> str:
    return str(expand_home(path)) if path.startswith("~") else path


def _typed_word(key: str, value: Any, kind: Any, words: Mapping[str, str]) -> Any:
    """The word as it was typed, for a number, true or false where a text is expected; else the value."""
    word = words.get(key)
    if isinstance(value, bool | int | float) and is_text(kind) and word:
        return word
    if isinstance(value, list) and word is not None and kind is not None and any(not isinstance(v, str) for v in value):
        items = [_unquoted(item.strip()) for item in word[1:-1].split(",")]
        if is_text(kind) and len(items) == len(value) and word.startswith("["):
            return items
    return value


def _as_typed_words(node: Any, prefix: str, words: Mapping[str, str]) -> Any:
    """A part of the configuration in which numbers that were typed for text arguments of its class are text."""
    if not isinstance(node, Mapping):
        return node
    result = {key: _as_typed_words(value, f"{prefix}.{key}", words) for key, value in node.items()}
    typed_keys = [k for k, v in node.items() if isinstance(v, bool | int | float) and f"{prefix}.{k}" in words]
    if not typed_keys:
        return result
    kinds: Mapping[str, Any] = {}
    if "target" in node:
        kinds = argument_kinds(resolve(str(node["target"]), prefix))
    texts = {"model": MODEL_TEXTS, "task": TASK_TEXTS}.get(prefix, frozenset())
    for key in typed_keys:
        kind = TEXT if key in texts else None if key in DESCRIPTIVE else kinds.get(key)
        if kind is not None and is_text(kind):
            result[key] = words[f"{prefix}.{key}"]
    return result
