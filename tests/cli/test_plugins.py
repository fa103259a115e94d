"""Plug-ins of installed packages: engine, task, protocol, importer and export, and what a YAML may name of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import command_line
from tests.support.command_line import environment, folder_of, in_new_process, lines
from tests.support.plugin_package import ENTRIES, build_wheel, install


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    install(build_wheel(folder / "wheels", ENTRIES), folder / "packages")
    return folder / "packages"


def with_path(path: Path | None) -> dict[str, str]:
    env = environment()
    return env if path is None else env | {"PYTHONPATH": f"{env['PYTHONPATH']}{os.pathsep}{path}"}


def evalkit(*arguments: str, cwd: Path, path: Path | None) -> subprocess.CompletedProcess[str]:
    return command_line.evalkit(*arguments, cwd=cwd, env=with_path(path))


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


SCRIPTED = ("model=scripted", "task=phantom", "limit=3", "leaderboard=null")


@pytest.mark.slow
def test_each_kind_of_plug_in_is_listed_with_its_package(tmp_path: Path, site: Path) -> None:
    result = evalkit("list", cwd=tmp_path, path=site)
    assert result.returncode == 0 and result.stderr == ""
    for line in (
        "parrot                  Repeats the question.  Not only here (evalkit-labkit 1.2)",
        "sums                    Sums of small numbers (evalkit-labkit 1.2)",
        "long                    Right when the answer has at least so many characters (evalkit-labkit 1.2)",
        "lab-log                 lab logs (case, says) (evalkit-labkit 1.2)",
        "lines                   Write one line a number (evalkit-labkit 1.2)",
    ):
        assert line in result.stdout
    assert "evalkit-labkit" not in evalkit("list", cwd=tmp_path, path=None).stdout


def test_an_engine_a_task_and_a_protocol_of_a_package_work_together(tmp_path: Path, site: Path) -> None:
    words = ("task=sums", "model=phantom-llava", "engine=parrot", "protocol=[long,exact-match]", "task.n=4")
    result = evalkit(*words, "engine.times=2", "protocol.long.at_least=12", cwd=tmp_path, path=site)
    assert result.returncode == 0, result.stderr
    folder = folder_of(result, tmp_path)
    answers = lines(folder / "predictions.jsonl")
    assert [a["text"] for a in answers] == [f"heard {k} + 1" for k in range(4)]
    values = {(m["protocol"], m["metric"]): m["value"] for m in summary(folder)["metrics"] if m["slice"] == "all"}
    assert values["long", "accuracy"] == 0.0 and values["exact-match", "exact_match"] == 0.0
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["choices"]["engine"] == "parrot" and manifest["facts"]["word"] == "heard"
    again = evalkit("score", f"predictions={folder}", "task=sums", "task.n=4", cwd=tmp_path, path=site)
    assert again.returncode == 0, again.stderr
    wrong = evalkit("task=sums", "model=phantom-llava", "engine=parrot", "engine.tmies=2", cwd=tmp_path, path=site)
    assert wrong.returncode == 2 and "engine.tmies" in wrong.stderr and "Traceback" not in wrong.stderr
    typed = evalkit("task=sums", "model=phantom-llava", "engine=parrot", "engine.times=x", cwd=tmp_path, path=site)
    assert typed.returncode == 2 and "expected a whole number" in typed.stderr


@pytest.mark.slow
def test_an_importer_and_an_export_of_a_package_are_used(tmp_path: Path, site: Path) -> None:
    rows = [json.dumps({"case": str(k), "says": str(k + 1)}) for k in range(5)]
    (tmp_path / "log.jsonl").write_text("\n".join(rows), encoding="utf-8")
    for words in ((), ("format=lab-log",)):
        result = evalkit("score", "predictions=log.jsonl", "task=sums", *words, cwd=tmp_path, path=site)
        assert result.returncode == 0, result.stderr
        assert {m["value"] for m in summary(folder_of(result, tmp_path))["metrics"] if m["n"]} == {1.0}
    run = folder_of(evalkit(*SCRIPTED, cwd=tmp_path, path=site), tmp_path)
    exported = evalkit("export", f"run={run}", "format=lines", cwd=tmp_path, path=site)
    assert exported.returncode == 0, exported.stderr
    assert "exact_match" in Path(exported.stdout.strip()).read_text(encoding="utf-8")


def folder_with(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "theirs" / "engine" / "lab.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return ("task=sums", "model=phantom-llava", "engine=lab", "--config-dir", "theirs")


def test_a_strangers_yaml_may_name_a_registered_plug_in(tmp_path: Path, site: Path) -> None:
    words = folder_with(tmp_path, "about: x\ntarget: labkit.engine:Parrot\nword: said\n")
    result = evalkit(*words, cwd=tmp_path, path=site)
    assert result.returncode == 0, result.stderr
    assert lines(folder_of(result, tmp_path) / "predictions.jsonl")[0]["text"] == "said 0 + 1"


@pytest.mark.parametrize(
    "target",
    ["labkit.engine:Hidden", "labkit.task:Sums", "labkit.export:write_lines", "labkit.engine:Prediction", "pip:main"],
)
@pytest.mark.few(2)
def test_a_strangers_yaml_may_name_nothing_else(tmp_path: Path, site: Path, target: str) -> None:
    result = evalkit(*folder_with(tmp_path, f"about: x\ntarget: {target}\n"), cwd=tmp_path, path=site)
    assert result.returncode == 2 and "outside the trusted packages" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_folder_that_one_works_in_registers_nothing(tmp_path: Path) -> None:
    """Data of somebody else's may hold a distribution, which `python -m` would find in the current folder."""
    evil = "open('ran', 'w').close()\n\n\nclass Parrot:\n    pass\n"
    wheel = build_wheel(tmp_path / "wheels", {"engines": {"parrot": "evil.engine:Parrot"}},
                        name="evil", package="evil", modules={"engine": evil})  # fmt: skip
    install(wheel, tmp_path / "data")
    result = in_new_process("list", "engines", cwd=tmp_path / "data", env=with_path(None))
    assert result.returncode == 0 and "parrot" not in result.stdout
    assert not (tmp_path / "data" / "ran").exists()
    named = in_new_process("list", "engines", cwd=tmp_path / "data", env=with_path(tmp_path / "data"))
    assert "parrot" in named.stdout, "the user has named the folder"


# What is wrong with a plug-in -> its entry point, its module, and what is said.
OTHER_CLASS = "from json import JSONDecoder as Parrot\n"
BROKEN = {
    "does not import": ("broke.engine:Parrot", "import nowhere_to_be_found\n", "No module named"),
    "raises": ("broke.engine:Parrot", "raise RuntimeError('not today')\n", "RuntimeError: not today"),
    "exits": ("broke.engine:Parrot", "raise SystemExit(3)\n", "SystemExit"),
    "has no such class": ("broke.engine:Nobody", "", "Nobody"),
    "is no class": ("broke.engine:Parrot", "Parrot = 3\n", "it is not a class"),
    "is imported": ("broke.engine:Parrot", OTHER_CLASS, "only imports it"),
    "is of Python": ("os:system", "", "no package of its own"),
    "is of evalkit": ("evalkit.engines.hf:HfEngine", "", "no package of its own"),
    "has no form": ("broke.engine", "", "not of the form"),
    "has bad settings": ("broke.engine:Parrot", "class Parrot:\n    SETTINGS = 3\n", "its SETTINGS"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.few(2)
def test_a_broken_plug_in_is_one_paragraph_and_the_others_go_on(tmp_path: Path, site: Path, name: str) -> None:
    value, module, words = BROKEN[name]
    wheel = build_wheel(
        tmp_path / "w", {"engines": {"bad": value}}, name="broke", package="broke", modules={"engine": module}
    )
    install(wheel, tmp_path / "more")
    path = Path(f"{site}{os.pathsep}{tmp_path / 'more'}")
    listed = evalkit("list", "engines", cwd=tmp_path, path=path)
    assert listed.returncode == 0 and "parrot" in listed.stdout and "Traceback" not in listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("  bad ")]
    assert "cannot be used" in line and "broke 1.2" in line and words in line
    used = evalkit("task=sums", "model=phantom-llava", "engine=bad", cwd=tmp_path, path=path)
    assert used.returncode == 2 and words in used.stderr and len(used.stderr.strip().splitlines()) == 1


def test_two_packages_with_one_name_are_told_apart_by_the_user(tmp_path: Path, site: Path) -> None:
    rival = build_wheel(tmp_path / "w", {"engines": {"parrot": "rival.engine:Parrot"}},
                        name="rival", package="rival", modules={"engine": "class Parrot: pass\n"})  # fmt: skip
    install(rival, tmp_path / "more")
    path = Path(f"{site}{os.pathsep}{tmp_path / 'more'}")
    used = evalkit("task=sums", "model=phantom-llava", "engine=parrot", cwd=tmp_path, path=path)
    assert used.returncode == 2 and "rival registers the same name" in used.stderr


@pytest.mark.slow
def test_a_built_in_name_stays_built_in(tmp_path: Path) -> None:
    built_in = {"engines": "hf", "importers": "plain", "exports": "latex", "protocols": "strict", "tasks": "phantom"}
    names = {group: {name: "usurper.engine:Parrot"} for group, name in built_in.items()}
    wheel = build_wheel(tmp_path / "w", names, name="usurper", package="usurper", modules={"engine": "raise OSError\n"})
    install(wheel, tmp_path / "more")
    listed = evalkit("list", cwd=tmp_path, path=tmp_path / "more")
    assert listed.returncode == 0 and "usurper" not in listed.stdout + listed.stderr
    run = evalkit(*SCRIPTED, "protocol=strict", cwd=tmp_path, path=tmp_path / "more")
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_what_a_plug_in_raises_while_it_works_names_its_package(tmp_path: Path) -> None:
    entries = {
        "importers": {"bad-log": "labkit.importer:FAILING"},
        "exports": {"nothing": "labkit.export:write_nothing"},
    }
    install(build_wheel(tmp_path / "w", entries), tmp_path / "more")
    run = folder_of(evalkit(*SCRIPTED, cwd=tmp_path, path=tmp_path / "more"), tmp_path)
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    scored = evalkit(
        "score", f"predictions={run}", "task=phantom", "max_unmatched=1", cwd=tmp_path, path=tmp_path / "more"
    )
    assert scored.returncode == 3 and "evalkit, 3 answers joined by id" in scored.stderr, "its own format comes first"
    named = evalkit("score", "predictions=log.jsonl", "format=bad-log", cwd=tmp_path, path=tmp_path / "more")
    assert named.returncode == 2 and "evalkit-labkit 1.2" in named.stderr and "KeyError" in named.stderr
    tried = evalkit("score", "predictions=log.jsonl", cwd=tmp_path, path=tmp_path / "more")
    assert "ZeroDivisionError" in tried.stderr and "Traceback" not in tried.stderr
    exported = evalkit("export", f"run={run}", "format=nothing", cwd=tmp_path, path=tmp_path / "more")
    assert exported.returncode == 2 and "the printer is off" in exported.stderr and "Traceback" not in exported.stderr


@pytest.mark.slow
def test_a_broken_protocol_leaves_all_the_others(tmp_path: Path, site: Path) -> None:
    entries = {"protocols": {"torn": "broke.engine:Torn"}}
    wheel = build_wheel(tmp_path / "w", entries, name="broke", package="broke", modules={"engine": "1 / 0\n"})
    install(wheel, tmp_path / "more")
    path = Path(f"{site}{os.pathsep}{tmp_path / 'more'}")
    result = evalkit(*SCRIPTED, "protocol=all", cwd=tmp_path, path=path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("The plug-in 'torn' of the package broke 1.2") == 1
    protocols = {m["protocol"] for m in summary(folder_of(result, tmp_path))["metrics"]}
    assert {"strict", "exact-match", "long"} <= protocols and "torn" not in protocols
    listed = evalkit("list", "protocols", cwd=tmp_path, path=path)
    assert listed.returncode == 0 and "ZeroDivisionError" in listed.stdout
