"""Verbs are found as modules; their help comes from the module's docstring and the verb's YAML."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.cli.help import help_text, read_settings, verb_help
from evalkit.cli.main import no_verb
from evalkit.cli.verbs import find_verbs, load, split_verb, verb_names
from tests.support.command_line import environment, evalkit
from tests.support.paths import CONF, ROOT

MODULE = '''"""Count to a number: to=N.

The second paragraph of the docstring.
"""

from evalkit.core import console


def main(config):
    """Print the numbers."""
    console.out(" ".join(str(k) for k in range(1, config["to"] + 1)))
    return 0
'''
SETTINGS = "to: 3        # the last number\ndebug: false\n"


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A copy of the package and its configuration in which a test may add files."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("evalkit", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def run_copy(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *arguments],
        cwd=copy, env=environment() | {"PYTHONPATH": str(copy)}, capture_output=True, text=True, timeout=170,
    )  # fmt: skip


@pytest.mark.slow
def test_a_module_and_a_yaml_make_a_verb_and_nothing_else_is_changed(copied_package: Path) -> None:
    (copied_package / "evalkit" / "cli" / "commands" / "count.py").write_text(MODULE, encoding="utf-8")
    (copied_package / "conf" / "count.yaml").write_text(SETTINGS, encoding="utf-8")
    assert run_copy(copied_package, "count", "to=4").stdout == "1 2 3 4\n"
    assert "  count       count to a number: to=N\n" in run_copy(copied_package, "--help").stdout
    of_verb = run_copy(copied_package, "count", "--help").stdout
    assert "The second paragraph of the docstring." in of_verb
    assert "to: 3        # the last number" in of_verb
    mistyped = run_copy(copied_package, "count", "ot=4")
    assert mistyped.returncode == 2 and "'ot' is not a setting of `count`. Did you mean 'to'?" in mistyped.stderr
    assert "'count'" in run_copy(copied_package, "cuont").stderr


def test_every_verb_has_a_summary_and_a_function_and_run_comes_first_in_the_help() -> None:
    verbs = find_verbs()
    assert [v.name for v in verbs][:3] == ["run", "merge", "score"], "the order of --help, not of the alphabet"
    for verb in verbs:
        assert verb.summary, verb.name
        assert callable(load(verb.name))
    assert {v.name for v in verbs if not v.has_settings} == {"list"}


def test_every_yaml_at_the_top_of_the_config_tree_is_a_verb() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(verb_names()) - {"list"}


def test_a_verb_of_two_words_is_told_from_its_first_word() -> None:
    assert split_verb(["judge", "check", "labels=x"]) == ("judge_check", True, ["labels=x"])
    assert split_verb(["judge", "run=x"]) == ("judge", True, ["run=x"])
    assert split_verb([]) == ("run", False, [])
    assert split_verb(["judge_check"]) == ("run", False, ["judge_check"])


def test_the_help_of_a_verb_shows_its_groups_and_its_commented_settings() -> None:
    text = verb_help("gate")
    assert text.startswith("evalkit gate: refuse a worse model")
    assert "4 inconclusive" in text
    assert "  model=null\n" in text
    assert "  margin: 0.02         # " in text
    assert "defaults:" not in text and "_self_" not in text
    assert len(help_text().splitlines()) < 150, "the general help lists no verb's settings"


def test_the_general_help_names_a_variant_behind_the_option_that_it_varies() -> None:
    text = help_text()
    (line,) = (line for line in text.splitlines() if line.startswith("  medevalkit "))
    assert line.endswith("[also -fixed, -fixed-slake, -slake, -text, -text-slake]")
    assert "\n  medevalkit-slake" not in text and "[also -slake, -text, -text-slake]" in text
    assert "llava-med-v1.0, " in text, "models are no variants of each other"


def test_nested_settings_are_shown_with_their_indentation() -> None:
    lines = read_settings("merge").lines
    assert lines[lines.index(next(k for k in lines if k.startswith("data:"))) + 1].startswith("  path: null")


def test_no_verb_is_imported_for_the_help() -> None:
    code = (
        "import sys; from evalkit.__main__ import main; main(['--help']); main(['gate', '--help']); "
        "print([m for m in sys.modules if m.startswith('evalkit.cli.commands.')], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("evalkit ga", {"gate"}),
        ("evalkit judge ch", {"check"}),
        ("evalkit gate marg", {"margin=", "margins="}),
        ("evalkit gate engine=vl", {"engine=vllm"}),
        ("evalkit score predictions=x protocol=stri", {"protocol=strict"}),
        ("evalkit model=phan", {"model=phantom-llava"}),
    ],
)
def test_the_shell_completes_verbs_their_settings_and_options(typed: str, offered: set[str], tmp_path: Path) -> None:
    result = evalkit("-sc", "query=bash", cwd=tmp_path, env=environment() | {"COMP_LINE": typed})
    assert set(result.stdout.split()) == offered, result.stderr


def test_the_shell_completes_protocols_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "zeta.yaml").write_text("about: z\n", encoding="utf-8")
    where = environment() | {"COMP_LINE": "evalkit protocol=ze", "EVALKIT_CONF": str(tmp_path)}
    result = evalkit("-sc", "query=bash", cwd=tmp_path, env=where)
    assert result.stdout.split() == ["protocol=zeta"], result.stderr


def test_list_refuses_an_unknown_group_in_one_paragraph(tmp_path: Path) -> None:
    result = evalkit("list", "modls", cwd=tmp_path)
    assert result.returncode == 2
    assert "'models'" in result.stderr and "Traceback" not in result.stderr


def test_the_environment_is_as_before_after_a_run_with_a_config_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.__main__ import main

    monkeypatch.delenv("EVALKIT_CONF", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["--config-dir", str(tmp_path), "model=scripted", "task=phantom", "limit=2", "leaderboard=null"]) == 0
    assert "EVALKIT_CONF" not in os.environ


@pytest.mark.parametrize("path", ["runs/llava-slake-1a2b3c4d", "/data/run", "runs/", r"C:\runs\one"])
def test_a_path_that_stands_alone_is_told_how_settings_are_written(path: str) -> None:
    problem = str(no_verb(path))
    assert f"run={path}" in problem
    assert "no verb" not in problem


def test_a_misspelt_verb_is_told_the_verbs() -> None:
    assert "There is no verb 'compar'." in str(no_verb("compar"))
