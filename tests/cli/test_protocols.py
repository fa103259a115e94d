"""A protocol is a YAML: chosen alone or with others, built in or the user's, with its settings on the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config_source import MULTIPLE_CHOICE
from tests.support.command_line import SCRIPTED, environment, folder_of
from tests.support.command_line import evalkit as in_fork
from tests.support.command_line import in_this_process as evalkit
from tests.support.paths import CONF

RUN = (*SCRIPTED, "limit=8", "leaderboard=null")
OWN = """about: my own protocol
target: evalkit.scoring.protocols.exact_match:ExactMatch
version: 1
rule: yesno
punctuation: delete
unscored: exclude
"""
LINE = "# @package protocol.mine\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The user's config folder, below the folder in which the command runs."""
    (tmp_path / "own" / "protocol").mkdir(parents=True)
    (tmp_path / "own" / "protocol" / "mine.yaml").write_text(OWN, encoding="utf-8")
    return tmp_path / "own"


def used(result: subprocess.CompletedProcess[str], cwd: Path) -> set[str]:
    """The protocols with numbers in a run."""
    assert result.returncode == 0, result.stderr
    return {m["protocol"] for m in summary(result, cwd)["metrics"]}


def summary(result: subprocess.CompletedProcess[str], cwd: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder_of(result, cwd) / "summary.json").read_text(encoding="utf-8"))
    return content


def manifest_protocols(result: subprocess.CompletedProcess[str], cwd: Path) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    content = json.loads((folder_of(result, cwd) / "manifest.json").read_text(encoding="utf-8"))
    protocols: dict[str, Any] = content["config"]["protocol"]
    return protocols


def test_no_built_in_protocol_has_the_line() -> None:
    for group in MULTIPLE_CHOICE:
        for path in (CONF / group).glob("*.yaml"):
            assert "@package" not in path.read_text(encoding="utf-8"), path


@pytest.mark.few(1)
@pytest.mark.parametrize("with_the_line", [False, True])
@pytest.mark.parametrize("flags", [("--config-dir", "own"), ("--config-dir=own",), ("-cd", "own")], ids=lambda f: f[0])
def test_a_protocol_of_the_user_needs_no_first_line_and_may_have_it(
    flags: tuple[str, ...], with_the_line: bool, own: Path, tmp_path: Path
) -> None:
    if with_the_line:
        (own / "protocol" / "mine.yaml").write_text(LINE + OWN, encoding="utf-8")
    result = evalkit(*flags, *RUN, "protocol=[mine,strict]", "protocol.mine.unscored=wrong", cwd=tmp_path)
    assert used(result, tmp_path) == {"mine", "strict"}
    chosen = manifest_protocols(result, tmp_path)
    assert chosen["mine"]["unscored"] == "wrong" and chosen["strict"]["unscored"] == "exclude"


def test_several_folders_of_the_user_are_named_in_the_environment(own: Path, tmp_path: Path) -> None:
    import os

    (tmp_path / "other" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /protocol: [mine, helm]\nlimit: 4\n"
    (tmp_path / "other" / "experiment" / "mix.yaml").write_text(text, encoding="utf-8")
    where = environment() | {"EVALKIT_CONF": os.pathsep.join(["own", "other"])}
    result = in_fork(*RUN[:-2], "leaderboard=null", "experiment=mix", cwd=tmp_path, env=where)
    assert used(result, tmp_path) == {"mine", "helm"}
    assert summary(result, tmp_path)["n"] == 4


def test_a_task_of_the_user_names_a_protocol_of_the_user(own: Path, tmp_path: Path) -> None:
    (own / "task").mkdir()
    lines = (CONF / "task" / "phantom.yaml").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("protocols", "baseline_protocols", "reference_protocol"))]
    text = "\n".join([*kept, "protocols: [mine]"])
    (own / "task" / "my-phantom.yaml").write_text(text.replace("name: phantom", "name: my-phantom"), encoding="utf-8")
    arguments = ("--config-dir", "own", "model=scripted", "task=my-phantom", "limit=20", "leaderboard=null")
    result = evalkit(*arguments, cwd=tmp_path)
    assert used(result, tmp_path) == {"mine"}
    lifts = summary(result, tmp_path)["sanity_checks"]["baselines"]["metrics"]
    assert {m["protocol"] for m in lifts} == {"mine"}, "the baselines are scored under the task's own protocols"
    assert "majority (no image) mine exact_match" in " ".join(result.stdout.split())


def test_all_and_null_choose_every_protocol_that_fits_and_the_ones_of_the_task(own: Path, tmp_path: Path) -> None:
    every = used(evalkit("--config-dir", "own", *RUN, "protocol=all", cwd=tmp_path), tmp_path)
    assert {"mine", "strict", "helm"} <= every and not {"coloninst", "medevalkit-slake"} & every
    default = {"llava-med", "strict", "exact-match"}
    assert used(evalkit(*RUN, "protocol=null", cwd=tmp_path), tmp_path) == default
    assert used(evalkit(*RUN, cwd=tmp_path), tmp_path) == default


@pytest.mark.slow
def test_a_sweep_over_protocols_makes_a_run_each(own: Path, tmp_path: Path) -> None:
    result = evalkit("-m", "--config-dir", "own", *RUN, "protocol=mine,strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mine" in result.stdout and "strict" in result.stdout


def test_a_setting_of_a_built_in_protocol_of_another_task_is_changed(tmp_path: Path) -> None:
    arguments = ("task=coloninst-cls", "protocol=coloninst", "protocol.coloninst.unscored=wrong", "--cfg", "job")
    result = evalkit(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "  coloninst:\n" in result.stdout and "unscored: wrong" in result.stdout


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (OWN.replace("unscored", "unscord"), ("protocol mine: 'unscord' is not a setting", "'unscored'")),
        (OWN.replace("ExactMatch", "ExactMatc"), ("protocol mine", "ExactMatc' cannot be loaded")),
        (OWN.replace("yesno", "yesno, no]").replace("rule: ", "rule: ["), ("rule",)),
        (OWN + "rule: [label\n", ("mine.yaml cannot be read as YAML", "line")),
        (OWN + "version: 2\n", ("mine.yaml cannot be read as YAML", "duplicate key")),
        ("- a\n- b\n", ("mine.yaml must be a YAML mapping",)),
        ("", ("protocol mine: the YAML names no class",)),
        ("about: ${nothing}\n" + OWN.replace("about: my own protocol\n", ""), ("nothing",)),
        (OWN.replace("target: evalkit.", "target: another."), ("outside the trusted packages",)),
    ],
)
def test_a_mistake_in_the_file_is_one_paragraph_and_exit_code_2(
    content: str, words: tuple[str, ...], own: Path, tmp_path: Path
) -> None:
    (own / "protocol" / "mine.yaml").write_text(content, encoding="utf-8")
    result = evalkit("--config-dir", "own", *RUN, "protocol=mine", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and result.stderr.strip().count("\n") == 0
    for word in words:
        assert word in result.stderr


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("protocol=mnie",), ("no protocol named 'mnie'", "'mine'")),
        (("protocol=mine", "protocol.mine.unscord=wrong"), ("'protocol.mine.unscord'", "'protocol.mine.unscored'")),
        (("protocol=mine", "protocol.strict.unscored=wrong"), ("only where strict is chosen", "protocol=strict")),
        (("+protocol.mine=3",), ("protocol.mine=3 is not the configuration of a protocol",)),
        (("protocol=coloninst",), ("protocol=coloninst is not defined for task phantom",)),
        (("--config-dir", "nowhere"), ("nowhere", "is not a folder")),
        (("--config-dir",), ("--config-dir needs a folder",)),
    ],
)
def test_a_mistake_on_the_command_line_is_one_paragraph_and_exit_code_2(
    arguments: tuple[str, ...], words: tuple[str, ...], own: Path, tmp_path: Path
) -> None:
    result = evalkit("--config-dir", "own", *RUN, *arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and result.stderr.strip().count("\n") == 0
    for word in words:
        assert word in result.stderr
