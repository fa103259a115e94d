"""Several tasks in one command: one folder a task, one load of the model, one table."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.jobs import SharedModel
from evalkit.cli.main import main
from evalkit.cli.suite import tasks_of
from evalkit.core.errors import ConfigError
from evalkit.engines.hf import HfEngine
from evalkit.models import checkpoint
from tests.support import tiny_llava as tiny
from tests.support.command_line import in_this_process as evalkit

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

NAMES = {"1": "first", "2": "second"}  # by the seed, with which ids begin


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two tasks of its own, and one whose data are missing."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    for seed, name in enumerate(("first", "second"), 1):
        (tmp_path / "conf" / "task" / f"{name}.yaml").write_text(YAML.format(name=name, seed=seed), encoding="utf-8")
    return tmp_path


def words(place: Path, suite: str) -> list[str]:
    return ["--config-dir", str(place / "conf"), f"suite={suite}", "model=scripted", "model.rule=digest", "out=runs"]


@pytest.mark.slow
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
    text = (place / "runs" / "suite-scripted.md").read_text(encoding="utf-8")
    # The worst case of a value with unscored rows has an interval of its own.
    n_bounds = sum(bool(r["low"]) + (r["n_unscored"] not in ("", "0")) for r in rows)
    assert text.count("[") == n_bounds, "a value of the CSV is not in the Markdown"
    assert r"\toprule" in (place / "runs" / "suite-scripted.tex").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_task_that_cannot_run_keeps_no_other_from_running(place: Path) -> None:
    result = evalkit(*words(place, "[first,slake,second]"), f"data={place / 'nothing'}", cwd=place)
    assert result.returncode == 3, result.stderr
    assert "1 of 3 tasks" in result.stderr and "slake" in result.stderr
    assert "suite suite" not in result.stderr
    assert len(list((place / "runs").glob("*/summary.json"))) == 2


def test_a_setting_that_is_typed_holds_though_the_default_task_has_the_same(place: Path) -> None:
    yaml = place / "conf" / "task" / "second.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8") + "prompt: plain\n", encoding="utf-8")
    result = evalkit(*words(place, "[second]"), "task.prompt=short", cwd=place)
    assert result.returncode == 0, result.stderr
    (summary,) = (place / "runs").glob("*/summary.json")
    assert json.loads(summary.read_text(encoding="utf-8"))["prompt"].startswith("short")


@pytest.mark.slow
def test_a_setting_of_one_task_is_refused_and_one_that_a_task_lacks_is_named(place: Path) -> None:
    refused = evalkit(*words(place, "[first,second]"), "task.n_test=4", cwd=place)
    assert refused.returncode == 2 and "task.n_test" in refused.stderr and "Traceback" not in refused.stderr
    result = evalkit(*words(place, "[first,second]"), "+task.on_missing_image=skip", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "task first has no setting on_missing_image" in result.stderr


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


@pytest.mark.few(1)
@pytest.mark.parametrize("failed", [["2/test/0/0"], ["1/test/0/0", "2/test/0/1"]])
def test_failed_samples_are_in_the_table_with_their_counts_and_end_the_suite_with_3(
    place: Path, failed: list[str]
) -> None:
    result = evalkit(*words(place, "[first,second]"), f"model.fail=[{','.join(failed)}]", cwd=place)
    assert result.returncode == 3, result.stderr
    counts = {"first": 0, "second": 0} | {name: sum(f[0] == k for f in failed) for k, name in NAMES.items()}
    with (place / "runs" / "suite-scripted.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["task"], r["n_failed"]) for r in rows} == {(task, str(n)) for task, n in counts.items()}
    for task, n in counts.items():
        assert f"{task} (test): 30 samples on 3 images; failed {n}," in " ".join(result.stdout.split())
        assert n == 0 or f"{n} of 30 of {task}" in result.stderr
    latex = (place / "runs" / "suite-scripted.tex").read_text(encoding="utf-8")
    assert all(f"failed {n}" in latex for n in counts.values())
    assert "unscored" in latex and "unscored" in (place / "runs" / "suite-scripted.md").read_text(encoding="utf-8")


def test_a_sweep_over_models_ends_in_one_table_of_models_and_tasks(place: Path) -> None:
    result = evalkit(
        "--config-dir",
        str(place / "conf"),
        "-m",
        "suite=[first,second]",
        "model=scripted,lookup",
        "out=runs",
        cwd=place,
    )
    assert result.returncode == 0, result.stderr
    with (place / "runs" / "suite.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["model"], r["task"]) for r in rows} == {(m, t) for m in ("scripted", "lookup") for t in NAMES.values()}
    table = result.stdout[result.stdout.index("suite: 2 models on 2 tasks") :]
    assert max(map(len, table.splitlines())) <= 80
    assert "lookup" in table and "scripted" in table and "*" in table


@pytest.mark.slow
def test_two_prompts_of_a_model_are_two_rows(place: Path) -> None:
    result = evalkit("-m", "task.prompt=plain,short", *words(place, "[first]"), cwd=place)
    assert result.returncode == 0, result.stderr
    with (place / "runs" / "suite-scripted.csv").open(encoding="utf-8", newline="") as file:
        rows = {r["model"].partition("@")[0] for r in csv.DictReader(file)}
    assert rows == {"scripted (prompt plain", "scripted (prompt short"}


def test_a_list_of_models_is_refused_with_the_sweep_that_does_it(tmp_path: Path) -> None:
    result = evalkit("suite=medvqa", "model=[scripted,lookup]", cwd=tmp_path)
    assert result.returncode == 2
    assert "-m model=NAME,NAME" in result.stderr


def test_the_model_is_loaded_once(tmp_path: Path) -> None:
    spec = tiny.spec(tiny.save(tmp_path / "model"))
    shared = SharedModel()
    engines = []
    for _ in range(3):
        engine = HfEngine(spec=spec, device="cpu", dtype="float32")
        assert shared.share(engine) is engine
        engines.append(engine)
        engine.load()
    assert len({id(e.load().model) for e in engines}) == 1
    assert len({id(e.load().counters) for e in engines}) == 3


def test_another_template_or_dtype_is_loaded_anew(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    shared = SharedModel()
    first = HfEngine(spec=tiny.spec(folder), device="cpu", dtype="float32")
    shared.share(first)
    first.load()
    for other in (
        HfEngine(spec=replace(tiny.spec(folder), chat_template="{{ messages }}"), device="cpu", dtype="float32"),
        HfEngine(spec=tiny.spec(folder), device="cpu", dtype="bfloat16"),
    ):
        shared.share(other)
        assert not other.is_loaded


@pytest.mark.parametrize(
    ("sweep", "n_loads"),
    [
        (("task=first,second", "model=phantom-llava"), 1),
        (("model=phantom-llava", "model.presets.greedy.max_new_tokens=2,3"), 1),
        (("task=first,second", "engine.batch_size=1,4"), 1),
        # Each checkpoint once, though the tasks come first on the command line.
        (("task=first,second", "engine.dtype=float32,bfloat16"), 2),
        (("suite=[first,second]", "task.prompt=plain,short"), 1),
    ],
)
@pytest.mark.few(1)
def test_a_sweep_loads_each_checkpoint_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, sweep: tuple[str, ...], n_loads: int
) -> None:
    loads = []
    load = checkpoint.load

    def counted(*args: Any, **kwargs: Any) -> Any:
        loads.append(kwargs["dtype"])
        return load(*args, **kwargs)

    monkeypatch.setattr(checkpoint, "load", counted)
    monkeypatch.chdir(place)
    assert main(["--config-dir", "conf", "-m", *sweep, "limit=2", "leaderboard=null"]) == 0
    assert len(list((place / "runs").glob("*/summary.json"))) >= 2
    assert len(loads) == n_loads


def test_several_prompts_in_a_suite_are_one_paragraph(place: Path) -> None:
    result = evalkit(*words(place, "[first,second]"), "task.prompt=[plain,short]", cwd=place)
    assert result.returncode == 2
    assert "-m task.prompt=plain,short" in result.stderr and not (place / "runs").exists()
