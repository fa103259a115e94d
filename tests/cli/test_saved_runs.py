"""Runs, baselines and records written before modules and keys were renamed still work under every verb.

`tests/saved_runs/` was written by the last commit before the rename; its README has the commands, `expected.json` the
output of that commit on these files.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli.config import build, resolve
from evalkit.cli.saved_config import saved_protocols, saved_task
from evalkit.core.errors import StoreError
from evalkit.runs.legacy import RENAMED_MODULES, current_target
from evalkit.runs.read import manifest_at, summary_at
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "saved_runs"
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the saved runs as the working directory."""
    copy = tmp_path / "saved"
    shutil.copytree(SAVED, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return copy


def numbers(lines: list[str]) -> Counter[str]:
    return Counter(NUMBER.findall("\n".join(lines)))


def slices(lines: list[str]) -> dict[str, Counter[str]]:
    """The numbers of each slice and metric that `compare` prints."""
    found = (re.match(r"  (\S+=\S+ +\S+ \S+) (.*)", line) for line in lines)
    return {match[1]: numbers([match[2]]) for match in found if match}


def metrics_of(run: Path) -> dict[str, list[Any]]:
    return {
        f"{m.protocol} {m.metric} {m.slice}": [
            m.value,
            m.low,
            m.high,
            m.n,
            m.n_unscored,
            m.n_clusters,
            m.value_worst_case,
        ]
        for m in summary_at(run / "summary.json").metrics
    }


def without_bounds(values: list[Any]) -> list[Any]:
    return [values[0], *values[3:]]


@pytest.mark.parametrize("run", list(EXPECTED["summaries"]))
def test_an_old_summary_is_read_with_the_same_numbers(run: str) -> None:
    assert EXPECTED["summaries"][run].items() <= metrics_of(SAVED / run).items()


@pytest.mark.parametrize("verb", ["merge", "score"])
def test_old_parts_merge_and_old_answers_score_to_the_same_numbers(verb: str, folder: Path) -> None:
    expected = EXPECTED[verb]
    assert main(expected["command"]) == expected["exit_code"]
    # Version 2 of huatuogpt-vision gives a row without options its lettered options, so it counts rows that
    # version 1 left out; CHANGELOG, "Numbers change".
    kept = {name: values for name, values in expected["metrics"].items() if not name.startswith("huatuogpt-vision ")}
    assert len(kept) > len(expected["metrics"]) // 2
    # Bounds are those of today: see "Numbers change".
    found = metrics_of(folder / expected["run"])
    assert {name: without_bounds(values) for name, values in kept.items()} == {
        name: without_bounds(found[name]) for name in kept
    }
    if "scores_sha256" in expected:
        lines = (folder / expected["run"] / "scores.jsonl").read_bytes().splitlines(keepends=True)
        scores = b"".join(line for line in lines if b'"huatuogpt-vision"' not in line)
        assert hashlib.sha256(scores).hexdigest() == expected["scores_sha256"]


@pytest.mark.parametrize(
    "name",
    [
        "compare", "gate", "gate_saved", "gate_fails", "gate_exact", "gate_leaderboard", "gate_judged",
        "gate_prompts_same", "gate_prompts_changed", "judge",
    ],
)  # fmt: skip
@pytest.mark.few(4)
def test_a_verb_prints_the_same_numbers_for_old_runs(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPECTED[name]
    assert main(expected["command"]) == expected["exit_code"]
    printed = capsys.readouterr().out.splitlines()
    before = expected["stdout"]
    n_common = next((n for n, line in enumerate(before) if line.startswith("slices:")), len(before))
    assert numbers(printed[:n_common]) == numbers(before[:n_common])
    # Slices of `compare` show both values beside their difference since then, and leave out those that hold every row.
    earlier, found = slices(before), slices(printed)
    assert found.keys() <= earlier.keys() and all(earlier[name] <= found[name] for name in found)
    assert bool(found) == bool(earlier)


def test_old_runs_have_a_page_with_the_same_differences(folder: Path) -> None:
    expected = EXPECTED["report"]
    assert main(expected["command"]) == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert all(metric in page for metric, *_ in expected["differences"])


@pytest.mark.parametrize("form", list(EXPECTED["export"]))
def test_an_old_run_is_exported_with_the_same_numbers(form: str, folder: Path) -> None:
    expected = EXPECTED["export"][form]
    assert main(expected["command"]) == 0
    written = [p for p in (folder / "exports" / form).rglob("*") if p.is_file()]
    assert written
    if "results" in expected:
        (results,) = (p for p in written if p.name.startswith("results_"))
        assert json.loads(results.read_text(encoding="utf-8"))["results"] == expected["results"]


def test_an_old_leaderboard_is_rebuilt(folder: Path) -> None:
    assert main(["board", "leaderboard=leaderboards"]) == 0
    assert main(["board", "leaderboard=leaderboards", "board.check=true"]) == 0
    assert "phantom-llava" in (folder / "leaderboards" / "slake.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((SAVED / "manifests").glob("*.json")), ids=lambda p: p.stem)
def test_tasks_and_protocols_of_old_manifests_are_found_by_name(path: Path) -> None:
    manifest = manifest_at(path)
    task = saved_task(manifest, {})
    assert resolve(task["target"], "task").__name__
    assert build(task, "task") is not None
    saved_protocols(manifest, task)


@pytest.mark.parametrize("path", sorted((SAVED / "manifests").glob("*.json")), ids=lambda p: p.stem)
def test_every_class_that_an_old_manifest_names_still_exists(path: Path) -> None:
    targets = re.findall(r'"target": "([^"]+)"', path.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert resolve(target, path.name) is resolve(current_target(target), path.name)


def test_the_alias_table_names_modules_that_exist_and_old_ones_that_do_not() -> None:
    for old, new in RENAMED_MODULES.items():
        assert not (ROOT / f"{old.replace('.', '/')}.py").exists()
        assert (ROOT / f"{new.replace('.', '/')}.py").exists()


def test_a_manifest_written_today_names_no_module_of_evalkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["model=scripted", "model.rule=yes", "task=phantom", "limit=4", "leaderboard=null"]) == 0
    (path,) = tmp_path.rglob("manifest.json")
    text = path.read_text(encoding="utf-8")
    assert "evalkit." not in text
    versions = {p["name"]: p["version"] for p in json.loads(text)["protocols"]}
    assert versions == {"llava-med": 1, "strict": 2, "exact-match": 1}


def test_a_plugins_metric_without_a_recorded_direction_is_refused_with_the_way_out(folder: Path) -> None:
    path = folder / EXPECTED["runs"]["first"] / "summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metrics"][0]["protocol"] = "my-plugin"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match=r"'my-plugin' .* direction.*evalkit score predictions=RUN"):
        summary_at(path)
