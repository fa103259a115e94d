"""Several tasks in one command: one folder a task, one load of the model, one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evalkit.cli.suite import SharedModel, tasks_of
from evalkit.core.errors import ConfigError
from evalkit.engines.hf import HfEngine
from tests.support import tiny_llava as tiny
from tests.support.command_line import evalkit

YAML = """
about: drawn questions
target: evalkit.tasks.phantom:Phantom
name: {name}
n_test: 3
n_train: 3
seed: {seed}
protocols: [strict, exact-match]
baseline_protocols: [strict]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two tasks of its own, and one whose data are missing."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    for seed, name in enumerate(("first", "second"), 1):
        (tmp_path / "conf" / "task" / f"{name}.yaml").write_text(YAML.format(name=name, seed=seed), encoding="utf-8")
    return tmp_path


def words(place: Path, suite: str) -> list[str]:
    return ["--config-dir", str(place / "conf"), f"suite={suite}", "model=scripted", "model.rule=digest", "out=runs"]


def test_each_task_is_the_run_that_it_is_alone_and_one_table_has_all(place: Path) -> None:
    result = evalkit(*words(place, "[first,second]"), cwd=place)
    assert result.returncode == 0, result.stderr
    folders = sorted(p.parent.name for p in (place / "runs").glob("*/summary.json"))
    assert [name.rpartition("-")[0] for name in folders] == ["scripted-first", "scripted-second"]
    alone = evalkit(*words(place, "null"), "task=second", "out=alone", cwd=place)
    assert alone.returncode == 0, alone.stderr
    assert (place / "alone" / folders[1]).is_dir(), "the run has another id than in the suite"
    with (place / "runs" / "suite-scripted.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((place / "alone" / folders[1] / "summary.json").read_text(encoding="utf-8"))
    expected = [m for m in summary["metrics"] if m["slice"] == "all" and m["n"]]
    found = [r for r in rows if r["task"] == "second"]
    assert [(r["metric"], r["value"], r["signature"]) for r in found] == [
        (m["metric"], "" if m["value"] is None else str(m["value"]), m["signature"]) for m in expected
    ]
    assert {r["task"] for r in rows} == {"first", "second"}
    assert (place / "runs" / "suite-scripted.md").read_text(encoding="utf-8").count("\n") == len(rows) + 2
    assert r"\toprule" in (place / "runs" / "suite-scripted.tex").read_text(encoding="utf-8")


def test_a_task_that_cannot_run_keeps_no_other_from_running(place: Path) -> None:
    result = evalkit(*words(place, "[first,slake,second]"), f"data={place / 'nothing'}", cwd=place)
    assert result.returncode == 3, result.stderr
    assert "1 of 3 tasks" in result.stderr and "slake" in result.stderr
    assert len(list((place / "runs").glob("*/summary.json"))) == 2


@pytest.mark.parametrize(
    ("suite", "problem"),
    [
        ("medvq", "no suite 'medvq'.*medvqa"),
        (["slake", "slak"], "no task 'slak'.*slake"),
        (["slake", "slake"], "twice"),
        ([], "must be a list"),
    ],
)
def test_what_is_no_suite_is_refused(suite: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        tasks_of(suite)


def test_the_shipped_suite_and_single_tasks() -> None:
    assert tasks_of("medvqa") == ("medvqa", ["vqa-rad", "slake", "pathvqa"])
    assert tasks_of("phantom") == ("suite", ["phantom"])


def test_the_model_is_loaded_once(tmp_path: Path) -> None:
    spec = tiny.spec(tiny.save(tmp_path / "model"))
    shared = SharedModel()
    engines = []
    for _ in range(3):
        engine = HfEngine(spec=spec, device="cpu", dtype="float32")
        assert shared(engine) is engine
        engines.append(engine)
        engine.load()
    assert len({id(e.load().model) for e in engines}) == 1
    assert len({id(e.load().counters) for e in engines}) == 3
