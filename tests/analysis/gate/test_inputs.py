"""Baselines and candidates of several tasks: files, runs, folders of them, leaderboard results; matched by task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main


def made(place: Path, model: str, task: str, *more: str) -> Path:
    before = set(place.iterdir()) if place.is_dir() else set()
    board = f"leaderboard={place.parent / 'board'}"
    assert main([f"model={model}", f"task={task}", "task.n_test=8", f"out={place}", board, *more]) == 0
    (folder,) = {p for p in place.iterdir() if p.is_dir()} - before
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old/ and new/: a run of two tasks each; base/: the old ones as baseline files."""
    place = tmp_path_factory.mktemp("several")
    for side, rule in (("old", "digest"), ("new", "yes")):
        for split in ("test", "train"):
            made(place / side, "scripted", "phantom", f"model.rule={rule}", f"task.split={split}", "task.n_train=9")
    assert main(["gate", f"candidate={place / 'old'}", f"save={place / 'base'}"]) == 0
    return place


def read(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "gate.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_folders_of_runs_and_of_baselines_are_matched_by_task_and_split(place: Path, tmp_path: Path) -> None:
    assert len(list((place / "base").glob("*.json"))) == 2
    sides = (f"baseline={place / 'base'}", f"candidate={place / 'new'}")
    code = main(["gate", *sides, f"out={tmp_path}", "margin=0.3", "metrics=['strict closed_accuracy']"])
    content = read(tmp_path)
    assert {c["split"] for c in content["comparisons"]} == {"test", "train"}
    assert all(c["baseline"]["split"] == c["candidate"]["split"] for c in content["comparisons"])
    assert code == 0
    assert all(m["verdict"] == "pass" and m["difference"] > 0 for c in content["comparisons"] for m in c["metrics"])
    assert (tmp_path / "gate.xml").read_text(encoding="utf-8").count("<testcase") == 2
    again = main(["gate", f"baseline={place / 'old'}", f"candidate={place / 'new'}", f"out={tmp_path}", "margin=0.3"])
    assert again in (0, 4)


def test_a_task_without_a_counterpart_is_refused(place: Path, tmp_path: Path) -> None:
    one = sorted((place / "base").glob("*.json"))[0]
    assert main(["gate", f"baseline={one}", f"candidate={place / 'new'}", f"out={tmp_path}"]) == 2
    assert "has no baseline" in read(tmp_path)["reason"]
    assert main(["gate", f"baseline={place / 'new'}", f"candidate={one}", f"out={tmp_path}"]) == 2
    assert "has no candidate" in read(tmp_path)["reason"]


def test_two_runs_of_one_task_on_a_side_are_refused(place: Path, tmp_path: Path) -> None:
    sides = f"candidate=[{place / 'new'},{place / 'old'}]"
    assert main(["gate", f"baseline={place / 'base'}", sides, f"out={tmp_path}"]) == 2
    assert "are both of phantom" in read(tmp_path)["reason"]


@pytest.mark.slow
def test_a_leaderboard_result_selects_the_baseline_of_its_run_or_the_message_says_how_to_make_one(
    place: Path, tmp_path: Path
) -> None:
    run = made(tmp_path / "runs", "scripted", "phantom", "model.rule=digest")
    (result,) = (tmp_path / "board" / "results").rglob("*.json")
    gate = ["gate", f"baseline={result}", f"candidate={run}", f"out={tmp_path / 'out'}"]
    assert main(gate) == 2
    assert f"gate candidate=RUNS/{run.name} save=FILE" in read(tmp_path / "out")["reason"]
    assert main(["gate", f"candidate={run}", f"save={tmp_path / 'board' / 'gate' / 'b.json'}"]) == 0
    assert main(gate) == 0


def test_a_margin_that_cannot_be_certified_is_reported_before_anything_runs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (f"baseline={place / 'base'}", "metrics=['strict closed_accuracy']", "dry_run=true")
    assert main(["gate", *settings, "margin=0.02"]) == 4
    captured = capsys.readouterr()
    assert "certify" in captured.out and "can hardly pass" in captured.err
    assert main(["gate", *settings, "margin=0.3"]) == 0


def test_margins_by_metric_from_the_command_line(place: Path, tmp_path: Path) -> None:
    sides = (f"baseline={place / 'base'}", f"candidate={place / 'old'}", f"out={tmp_path}")
    assert main(["gate", *sides, "margins={strict open_recall: 0.05}"]) == 0
    found = {m["metric"]: m["margin"] for c in read(tmp_path)["comparisons"] for m in c["metrics"]}
    assert found["strict open_recall"] == 0.05
    assert found["strict closed_accuracy"] == 0.02


def test_flipped_samples_name_image_question_and_both_answers(place: Path, tmp_path: Path) -> None:
    main(["gate", f"baseline={place / 'base'}", f"candidate={place / 'new'}", f"out={tmp_path}"])
    flipped = read(tmp_path)["comparisons"][0]["flipped"][0]
    assert all(flipped[k] for k in ("metric", "sample_id", "image_id", "question", "baseline_text", "candidate_text"))
    assert flipped["baseline"] != flipped["candidate"]
