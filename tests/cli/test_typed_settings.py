"""Every setting of every verb has a type, and text is taken as it was typed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from evalkit.cli.command_words import quoted, readable
from evalkit.cli.config import config_dir, load_option, options, read_yaml, resolve, unresolved
from evalkit.cli.typed_settings import MAPPING, declared_types, typed
from evalkit.cli.verbs import find_verbs
from evalkit.core.errors import ConfigError
from evalkit.core.setting_types import argument_kinds

VERBS = [verb.name for verb in find_verbs() if verb.has_settings]
WRONG = {bool: "perhaps", int: "many", float: "much", str: [1], MAPPING: 5}


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_of_a_verb_has_a_type_that_its_default_fits(verb: str) -> None:
    content = unresolved(read_yaml(config_dir() / f"{verb}.yaml"))
    content.pop("defaults", None)
    kinds = declared_types(verb).kinds
    undeclared = set(flat(content)) - set(kinds)
    assert not undeclared, f"name the type of {undeclared} in evalkit.cli.typed_settings.DECLARED"
    defaults = {key: "x" if value == "???" else value for key, value in flat(content).items()}
    given: dict[str, Any] = {}
    for key, value in defaults.items():
        *parents, last = key.split(".")
        node = given
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    chosen = {group: {"name": option} for group, option in declared_types(verb).groups.items() if option is not None}
    whole = {**chosen, **given}
    assert flat(typed(verb, whole, [])).items() >= defaults.items()
    for key, kind in kinds.items():
        if "." in key or kind not in WRONG:
            continue
        with pytest.raises(ConfigError, match=f"^{key}="):
            typed(verb, {**whole, key: WRONG[kind]}, [])


@pytest.mark.parametrize("group", ["task", "engine", "judge", "protocol"])
def test_every_setting_of_a_class_has_a_type(group: str) -> None:
    for name in options(group):
        content = load_option(group, name)
        if "target" not in content:
            continue
        kinds = argument_kinds(resolve(content["target"], name))
        own = {k for k in content if k in resolve(content["target"], name).__init__.__code__.co_varnames}
        assert own <= set(kinds), f"{group} {name}: {own - set(kinds)}"


@pytest.mark.parametrize(
    ("words", "value", "expected"),
    [
        (["name=2024"], 2024, "2024"),
        (["name=1.10"], 1.1, "1.10"),
        (["name=1e5"], 1e5, "1e5"),
        (["name=True"], True, "True"),
        (["name='3'"], "3", "3"),
        (["+name=7", "name=8"], 8, "8"),
        ([], 2024, "2024"),  # from a YAML
        (["name=null"], None, None),
    ],
)
def test_a_text_is_what_was_typed(words: list[str], value: Any, expected: Any) -> None:
    groups = {"task": {"name": "x"}}
    assert typed("score", {**groups, "name": value}, words)["name"] == expected


def test_a_text_of_a_class_or_a_model_is_what_was_typed() -> None:
    task = {"target": "evalkit.tasks.slake:Slake", "path": 1.1, "allow_counts": True}
    found = typed("score", {"task": task}, ["task.path=1.10", "task.allow_counts=true"])
    assert found["task"]["path"] == "1.10" and found["task"]["allow_counts"] is True
    model = {"source": 7, "memory_gb": 4}
    groups = {"task": {"name": "x"}, "engine": {"name": "x"}, "model": model}
    assert typed("run", groups, ["model.source=007", "model.memory_gb=4"])["model"] == {"source": "007", "memory_gb": 4}


def test_a_list_of_texts_is_what_was_typed() -> None:
    assert typed("compare", {"runs": [1.1, 2]}, ["runs=[1.10,2]"])["runs"] == ["1.10", "2"]
    assert typed("compare", {"runs": [1, 2]}, [])["runs"] == ["1", "2"]


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("out=a=b", "out='a=b'"),
        ("out=[a]b", "out='[a]b'"),
        ("out=~/x", "out='~/x'"),
        ("runs=[a=b,ü]", "runs=['a=b','ü']"),
        ("out=plain", "out=plain"),
        ("out=[a,b]", "out=[a,b]"),
        ("--cfg", "--cfg"),
        ("out=it's", "out='it\\'s'"),
        ("task=7", "task='7'"),
        ("model=true", "model='true'"),
        ("+experiment.x=a=b", "+experiment.x='a=b'"),
    ],
)
def test_only_what_hydra_cannot_read_is_put_into_quotes(word: str, read: str) -> None:
    assert readable([word], {"task": "phantom", "model": "scripted"}) == [read]


def test_a_sweep_over_texts_stays_a_sweep() -> None:
    assert readable(["-m", "out=ü,b", "limit=1,2"], {}) == ["-m", "out='ü','b'", "limit=1,2"]


@pytest.mark.parametrize("text", ["a'b", "a\\", "a\\'", "\\", "''", "a\\\\'b", '"', "${x"])
def test_quoted_text_is_read_back_as_it_was(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert OverridesParser.create().parse_override(f"x={quoted(text)}").value() == text


def test_a_group_without_an_option_is_named() -> None:
    with pytest.raises(ConfigError, match="task=null is not possible: give task=NAME"):
        readable(["task=null"], {"task": "phantom"})
    assert readable(["task=null"], {"task": None}) == []
    with pytest.raises(ConfigError, match="takes one option"):
        readable(["task=[a,b]"], {"task": "phantom"})
    with pytest.raises(ConfigError, match="needs task=NAME"):
        typed("score", {"task": None}, [])
    assert sys.modules["hydra"]
