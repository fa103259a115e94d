"""Config files that unfold to far more than they are: one paragraph, exit code 2, in seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evalkit.cli.config import plain
from evalkit.cli.defaults_tree import MAX_LEVELS
from evalkit.cli.expansion import MAX_REFERENCES, Expansion
from evalkit.cli.main import main
from evalkit.cli.yaml_text import MAX_INTERPOLATED, MAX_NUMBER
from evalkit.core.errors import ConfigError

GLOBAL = "# @package _global_\n"
LOCAL, OF_E = "local/default.yaml", "experiment/e.yaml"
RUN = ("model=scripted", "task=phantom", "limit=2", "dry_run=true")
LONGEST = 20.0  # seconds, on a loaded machine


def chain(form: str, first: str) -> str:
    return f"{GLOBAL}x0: {first}\n" + "".join(f"x{k}: {form.replace('@', f'x{k - 1}')}\n" for k in range(1, 40))


# name -> (files, words, text of the message)
REFERENCES = {
    "texts": ({LOCAL: chain("${@}${@}", "x")}, (), "${...}"),
    "empty texts": ({LOCAL: chain("${@}${@}", "''")}, (), "${...}"),
    "lists": ({LOCAL: chain("['${@}', '${@}']", "[1, 2]")}, (), "${...}"),
    "mappings": ({LOCAL: chain("{a: '${@}', b: '${@}'}", "{a: 1}")}, (), "${...}"),
    "oc.select": ({LOCAL: chain("'${oc.select:@}${oc.select:@}'", "x")}, (), "${...}"),
    "a long text often": (
        {LOCAL: f"{GLOBAL}a: {'y' * 100_000}\nb: [{', '.join([chr(39) + '${a}' + chr(39)] * 500)}]\n"},
        (),
        "${...}",
    ),
    "a long list often": (
        {LOCAL: f"{GLOBAL}a: [{'1,' * 3000}]\nb: [{', '.join([chr(39) + '${a}' + chr(39)] * 500)}]\n"},
        (),
        "${...}",
    ),
    "in an experiment": ({OF_E: chain("${@}${@}", "x")}, ("experiment=e",), "${...}"),
    "in a task": ({"task/t.yaml": f"about: {'${name}' * 5000}\nname: x\n"}, ("task=t",), "t.yaml"),
    "one long text": ({LOCAL: f"{GLOBAL}x: {'${limit}' * 2000}\n"}, (), f"more than {MAX_INTERPOLATED}"),
    "spaces": ({LOCAL: f"{GLOBAL}x: '${{{' ' * 100_000}'\n"}, (), f"more than {MAX_INTERPOLATED}"),
    "few spaces": ({LOCAL: f"{GLOBAL}x: '${{{' ' * 3_000}'\n"}, (), "default.yaml"),
}
BOUND = f"at most {MAX_NUMBER}"
NUMBERS = {
    "base 60": ({LOCAL: f"{GLOBAL}limit: {':'.join(['1'] * 5000)}\n"}, (), BOUND),
    "base 60, negative": ({LOCAL: f"{GLOBAL}limit: -{':'.join(['59'] * 90)}\n"}, (), BOUND),
    "base 60 with a fraction": ({LOCAL: f"{GLOBAL}x: {':'.join(['1'] * 5000)}.5\n"}, (), BOUND),
    "base 16": ({LOCAL: f"{GLOBAL}limit: 0x{'f' * 5000}\n"}, (), BOUND),
    "base 8": ({LOCAL: f"{GLOBAL}limit: 0{'7' * 50_000}\n"}, (), BOUND),
    "base 2": ({LOCAL: f"{GLOBAL}limit: 0b{'1' * 50_000}\n"}, (), BOUND),
    "underscores": ({LOCAL: f"{GLOBAL}limit: 1{'_1' * 5000}\n"}, (), BOUND),
    "a tag": ({LOCAL: f"{GLOBAL}limit: !!int '{'9' * 5000}'\n"}, (), BOUND),
    "a key": ({LOCAL: f"{GLOBAL}? 0x{'f' * 5000}\n: 1\n"}, (), BOUND),
    "in a list": ({LOCAL: f"{GLOBAL}x: [{{a: 0x{'f' * 5000}}}]\n"}, (), BOUND),
    "on the command line": ({}, (f"limit={'9' * 5000}",), "limit="),
    "in a list of the command line": ({}, (f"limit=[{'9' * 5000}]",), "limit="),
    "in a range of the command line": ({}, (f"limit=range(1,{'9' * 5000})",), "limit="),
    "as an option": ({}, (f"protocol={'9' * 5000}",), "too long"),
    "brackets": ({}, (f"limit={'[' * 2000}{']' * 2000}",), "limit="),
}
CYCLE = "lead back to that file"
PAIRS = {f"local/a{k}.yaml": f"defaults: [a{k + 1}@x, a{k + 1}@y]\n" for k in range(1, 30)}
LONG = {f"local/a{k}.yaml": f"defaults: [a{k + 1}]\n" for k in range(1, 80)}
DEFAULTS = {
    "itself": ({LOCAL: "defaults: [/local: default]\n"}, (), CYCLE),
    "itself, relative": ({LOCAL: "defaults: [default]\n"}, (), CYCLE),
    "itself, by its file name": ({LOCAL: "defaults: [/local/default.yaml]\n"}, (), CYCLE),
    "itself, by way of the folder above": ({LOCAL: "defaults: [../local/default]\n"}, (), CYCLE),
    "itself, at another place": ({LOCAL: "defaults: [/local@x: default]\n"}, (), CYCLE),
    "itself, optional": ({LOCAL: "defaults: [optional /local: default]\n"}, (), CYCLE),
    "itself, in a list": ({LOCAL: "defaults: [/local: [default]]\n"}, (), CYCLE),
    "two files": (
        {LOCAL: "defaults: [a]\n", "local/a.yaml": "defaults: [b]\n", "local/b.yaml": "defaults: [a]\n"},
        (),
        "local/a -> local/b -> local/a",
    ),
    "two tasks": (
        {"task/a.yaml": "defaults: [b]\n", "task/b.yaml": "defaults: [a]\n"},
        ("task=a",),
        "task/a -> task/b -> task/a",
    ),
    "an experiment": ({OF_E: f"{GLOBAL}defaults: [e]\n"}, ("experiment=e",), "experiment/e -> experiment/e"),
    "a protocol": ({"protocol/p.yaml": "defaults: [p]\n"}, ("protocol=p",), "protocol/p -> protocol/p"),
    "every file twice": ({LOCAL: "defaults: [a1]\n", **PAIRS, "local/a30.yaml": "x: 1\n"}, (), "files in all"),
    "many levels": ({LOCAL: "defaults: [a1]\n", **LONG}, (), f"{MAX_LEVELS} levels"),
}
TWO = {OF_E: f"{GLOBAL}defaults: [{{/task: slake}}, {{/task: phantom}}]\n"}
TWICE = {
    "one group twice": (TWO, ("experiment=e",), "e.yaml: `defaults` has two items for the group 'task'"),
    "one group replaced twice": (
        {OF_E: f"{GLOBAL}defaults: [override /task: slake, override /task: phantom]\n"},
        ("experiment=e",),
        "two items for the group 'task'",
    ),
    "a group that is chosen": (
        {OF_E: f"{GLOBAL}defaults: [/task: slake]\n"},
        ("experiment=e",),
        "override /task: NAME",
    ),
    "with a plus sign": ({OF_E: f"{GLOBAL}limit: 1\n"}, ("+experiment=e",), "no plus sign"),
    "no experiments": ({}, ("experiment=hydra",), "There is no experiment to choose"),
    "no experiments, with a plus sign": ({}, ("+experiment=e",), "There is no experiment to choose"),
    "an unknown experiment": ({OF_E: "x: 1\n"}, ("experiment=hydra",), "There is no experiment named 'hydra'"),
    "a file named hydra": ({"experiment/hydra.yaml": "x: 1\n"}, ("experiment=hydra",), "another name"),
    "a model named hydra": ({"model/hydra.yaml": "x: 1\n"}, ("model=hydra",), "another name"),
    "_self_ twice": ({LOCAL: "defaults: [_self_, _self_]\n"}, (), "cannot be composed: Duplicate _self_"),
    "a very long name of a task": ({}, (f"task={'a' * 300}",), "too long"),
    "a very long name of a model": ({}, (f"model={'a' * 300}",), "too long"),
    "a very long name in a file": ({LOCAL: f"defaults: [/task: {'a' * 300}]\n"}, (), "too long"),
}
CASES = {
    f"{kind}: {name}": case
    for kind, cases in {"references": REFERENCES, "number": NUMBERS, "defaults": DEFAULTS, "choice": TWICE}.items()
    for name, case in cases.items()
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path / "own"))
    return tmp_path


def lay_out(files: dict[str, str], place: Path) -> None:
    for name, text in files.items():
        path = place / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.few(4)
def test_it_is_refused_in_one_paragraph_and_in_time(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, words, says = CASES[name]
    lay_out(files, place)
    start = time.monotonic()
    assert main([*RUN, *words]) == 2
    assert time.monotonic() - start < LONGEST
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("evalkit: ") and says in lines[0], lines
    assert all(len(line) < 6000 for line in lines)


@pytest.mark.parametrize("words", [("list", "tasks"), ("--help",), ("run", "--help")], ids=" ".join)
@pytest.mark.parametrize("name", ["references: texts", "number: base 60", "defaults: itself", "defaults: two tasks"])
def test_lists_and_help_go_on(
    name: str, words: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(CASES[name][0], place)
    assert main(list(words)) == 0
    assert "phantom" in capsys.readouterr().out


def test_what_unfolds_a_little_is_used(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = "defaults: [a@x, a@y]\nn: 1:30\nm: '${n}'\nout: own-${m}\n"
    lay_out({LOCAL: GLOBAL + content, "local/a.yaml": f"long: {'9' * MAX_NUMBER}\n"}, place)
    assert main([*RUN, "--cfg", "job"]) == 0
    assert "out: own-${m}" in capsys.readouterr().out
    assert main([*RUN, "--cfg", "job", "--resolve"]) == 0
    assert "out: own-90" in capsys.readouterr().out


@pytest.mark.slow
def test_each_configuration_has_its_own_limit() -> None:
    from omegaconf import OmegaConf

    node = OmegaConf.create({"a": 1, **{f"b{k}": "${a}" for k in range(MAX_REFERENCES)}})
    assert plain(node) == plain(node)
    node["c"] = "${a}"
    with pytest.raises(ConfigError, match="more than"):
        plain(node)
    expansion = Expansion()
    for _ in range(3):
        expansion.add("x" * 900_000)
        expansion.restart()
