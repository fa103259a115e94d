"""The history of a row: earlier results of the same run are kept, and of no other one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import Partial, StoreError
from evalkit.reports.leaderboard import TrainingExposure, add, check, rebuild
from evalkit.reports.leaderboard import generated as generated_module
from evalkit.reports.leaderboard import history as history_module
from evalkit.reports.leaderboard.entries import run_entry
from evalkit.runs.read import result_at
from evalkit.runs.schema import LeaderboardResult
from evalkit.runs.store import write_record
from tests.support.leaderboard import metric, result, with_metrics, write_run
from tests.support.paths import ROOT

EXPOSURE = TrainingExposure(role="model", regime="zero-shot")
TODAY = datetime.now(UTC).date().isoformat()
HALF, MOST = (1.0, 0.0, 1.0, 0.0), (1.0, 1.0, 1.0, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "board" / "published").mkdir(parents=True)
    return tmp_path / "board"


def put(folder: Path, values: Sequence[float | None], answer: str = "yes", **changes: Any) -> LeaderboardResult:
    """Add a run whose answers are all this text; what the folder has of it then."""
    run_id, parts = changes.pop("run_id", "a-1"), {"v": changes.get("evalkit", "0.1.0")}
    summary = result(run_id, values, parts=parts, **{k: v for k, v in changes.items() if k != "role"})
    run = write_run(folder.parent / "runs" / summary.run_id, summary, values, answer)
    add(folder, summary, run, replace(EXPOSURE, role=changes.get("role", "model")))
    return result_at(folder / "results" / f"{summary.run_id}.json")


def values_of(found: LeaderboardResult) -> list[list[float | None]]:
    return [[m.value for m in earlier.metrics] for earlier in found.history]


def test_a_replaced_result_is_kept_newest_first_with_its_version_day_and_answers(folder: Path) -> None:
    first = put(folder, HALF)
    assert (first.added, first.history) == (TODAY, ()) and len(first.answers or "") == 64
    second = put(folder, MOST, "no")
    third = put(folder, (0.0, 0.0, 0.0, 0.0), "perhaps", evalkit="0.2.0")
    assert values_of(third) == [[0.75], [0.5]] and third.metrics[0].value == 0.0
    newest, oldest = third.history
    assert (newest.answers, oldest.answers) == (second.answers, first.answers) and newest.answers != oldest.answers
    assert (newest.evalkit, newest.added) == ("0.1.0", TODAY)
    assert oldest.metrics == first.metrics
    assert check(folder) == []


def test_the_same_result_again_changes_no_byte_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, HALF)
    put(folder, MOST)
    path = folder / "results" / "a-1.json"
    before = path.read_bytes()
    monkeypatch.setattr(history_module, "datetime", Later)
    put(folder, MOST)
    assert path.read_bytes() == before
    last_digits = metric("closed_accuracy", MOST, low=0.25 + 1e-12)
    put(folder, MOST, metrics=(last_digits,))
    assert values_of(result_at(path)) == [[0.5]], "the last digits of bounds differ between machines"


class Later(datetime):
    """A clock of another day."""

    @classmethod
    def now(cls, tz: Any = None) -> Later:
        """The first day of 2100."""
        return cls(2100, 1, 1, tzinfo=tz)


@pytest.mark.parametrize("what", ["answers", "version", "number", "metrics"])
def test_each_thing_that_differs_makes_an_earlier_result(folder: Path, what: str) -> None:
    put(folder, HALF)
    match what:
        case "answers":
            found = put(folder, HALF, "no")
        case "version":
            found = put(folder, HALF, evalkit="0.2.0")
        case "number":
            found = put(folder, MOST)
        case _:
            more = put(folder, HALF, metrics=(metric("closed_accuracy", HALF), metric("bleu_1", HALF)))
            assert more.history == (), "each earlier number is among the present ones"
            found = put(folder, HALF)
            assert [m.metric for m in found.history[0].metrics] == ["closed_accuracy", "bleu_1"]
    assert len(found.history) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"image": "blank"}, {"prompt": "short@1"}, {"generation": "greedy.max8"}, {"data_sha256": "e" * 64},
        {"split": "dev"}, {"model": "b"},
    ],
    ids=lambda o: next(iter(o)),
)  # fmt: skip
def test_a_run_of_other_pictures_settings_or_data_has_no_part_in_a_history(folder: Path, other: dict[str, str]) -> None:
    """Under one id, which the name of a folder gives to answers without a manifest."""
    first = result("a-1", HALF)
    write_record(folder / "results" / "a-1.json", replace(first, **other))
    add(folder, first, None, EXPOSURE)
    found = result_at(folder / "results" / "a-1.json")
    assert found.history == () and found.added == TODAY


def test_runs_of_one_model_under_two_ids_have_no_common_history(folder: Path) -> None:
    put(folder, HALF, model="m")
    put(folder, MOST, model="m", run_id="a-2", image="blank")
    assert [result_at(p).history for p in sorted((folder / "results").iterdir())] == [(), ()]


def test_results_of_earlier_versions_are_read_and_have_no_day(folder: Path) -> None:
    path = folder / "results" / "a-1.json"
    write_record(path, result("a-1", HALF))
    stored = json.loads(path.read_text("utf-8"))
    assert not {"added", "answers", "history"} & set(stored)
    same = put(folder, HALF)
    assert same.added is None and same.answers and same.history == (), "nobody knows when it was stored"
    found = put(folder, MOST)
    assert (found.added, found.history[0].added, found.history[0].evalkit) == (TODAY, None, "0.1.0")


def test_answers_of_baselines_and_controls_have_digests_too(folder: Path) -> None:
    put(folder, HALF, role="baseline")
    found = put(folder, HALF, "no", role="baseline")
    assert found.answers and found.history[0].answers not in (None, found.answers)
    assert not (folder / "scores").exists()


def test_a_damaged_result_is_replaced_with_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder, HALF)
    (folder / "results" / "a-1.json").write_text("{", "utf-8")
    found = put(folder, MOST)
    assert found.history == () and "is not kept in the row's history" in " ".join(capsys.readouterr().err.split())
    assert check(folder) == []


def test_a_history_without_signatures_is_refused(folder: Path) -> None:
    put(folder, HALF)
    put(folder, MOST)
    path = folder / "results" / "a-1.json"
    content = json.loads(path.read_text("utf-8"))
    content["history"][0]["metrics"][0]["signature"] = None
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(StoreError, match=r"history\.0.*has no signature"):
        rebuild(folder)


def test_results_with_and_without_a_history_fit_the_published_schema(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/schemas/leaderboard-result.json").read_text("utf-8"))
    put(folder, HALF)
    put(folder, MOST)
    path = folder / "results" / "a-1.json"
    content = json.loads(path.read_text("utf-8"))
    assert len(content["history"]) == 1
    committed = min((ROOT / "leaderboards" / "results").glob("*.json"), key=lambda p: p.stat().st_size)
    for stored in (path, committed):
        jsonschema.validate(json.loads(stored.read_text("utf-8")), schema)
    del content["history"][0]["metrics"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_a_large_board_keeps_histories_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.reports.leaderboard import folder as folder_module

    monkeypatch.setattr(folder_module, "REBUILT", 0)
    put(folder, HALF)
    assert values_of(put(folder, MOST)) == [[0.5]]


def test_a_row_shows_earlier_numbers_of_its_own_protocol_and_says_where_the_rule_was_another() -> None:
    old = with_metrics(result("a-1", HALF), metric("exact_match", HALF, parts={"protocol": "strict.1"}))
    new = replace(result("a-1", MOST), metrics=(metric("closed_accuracy", MOST, parts={"protocol": "llava-med.2"}),))
    found = history_module.succeeded(new, replace(old, added="2026-01-31", answers="f" * 64))
    (row,) = run_entry(found, found.metrics, None).history
    assert list(row.cells) == ["closed_accuracy"] and row.cells["closed_accuracy"].shown == "50.00"
    assert (row.added, row.answers, row.evalkit) == ("2026-01-31", "f" * 64, "0.1.0")
    assert "protocol:llava-med.1" in row.recipe
    same = history_module.succeeded(replace(new, metrics=(metric("closed_accuracy", MOST),)), old)
    assert run_entry(same, same.metrics, None).history[0].recipe == ""


def test_metrics_of_one_protocol_with_two_settings_are_each_in_their_own_table() -> None:
    def made(values: Sequence[float]) -> LeaderboardResult:
        other = metric("open_recall", values, parts={"match": "substring"})
        return with_metrics(result("a-1", values), other)

    found = history_module.succeeded(made(MOST), made(HALF))
    for m in found.metrics:
        (row,) = run_entry(found, [m], None).history
        assert list(row.cells) == [m.metric] and row.recipe == ""


def test_of_runs_that_are_added_at_once_none_is_missing_in_tables_or_history(folder: Path) -> None:
    def adding(k: int) -> None:
        put(folder, HALF, run_id=f"r{k}-1")

    threads = [threading.Thread(target=adding, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(folder) == []
    again = result("r0-1", HALF)
    versions = [f"0.{k}.0" for k in range(2, 7)]
    threads = [threading.Thread(target=add, args=(folder, replace(again, evalkit=v), None, EXPOSURE)) for v in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = result_at(folder / "results" / "r0-1.json")
    assert {found.evalkit, *(e.evalkit for e in found.history)} == {"0.1.0", *versions} and len(found.history) == 5
    assert check(folder) == []


def test_nothing_is_written_while_another_process_holds_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, HALF)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    monkeypatch.setattr(generated_module, "PATIENCE", 0.05)
    with generated_module.locked(folder):
        with pytest.raises(Partial, match="could not be locked"):
            put(folder, MOST)
        with pytest.raises(Partial, match="could not be locked"):
            rebuild(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    put(folder, MOST)  # the lock was given back


def test_a_run_whose_row_is_not_stored_says_so_and_the_same_command_adds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["model=majority", "task=phantom", "task.n_test=1", "protocol=strict", f"out={tmp_path}"]
    board = tmp_path / "leaderboards"
    monkeypatch.setattr(generated_module, "PATIENCE", 0.05)
    with generated_module.locked(board):
        assert main(command) == 3
    out, err = capsys.readouterr()
    assert "closed_accuracy" in out and "is not on the leaderboard" in err and "the same command adds them" in err
    assert list(board.iterdir()) == []
    assert main(command) == 0 and len(list((board / "results").iterdir())) == 1


def test_results_of_two_folders_copied_together_are_the_board_of_both(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "published").mkdir(parents=True)
    put(folder, HALF)
    put(folder, MOST)
    put(other, HALF, run_id="b-1")
    for place in ("results", "scores"):
        shutil.copytree(other / place, folder / place, dirs_exist_ok=True)
    rebuild(folder)
    assert check(folder) == [] and values_of(result_at(folder / "results" / "a-1.json")) == [[0.5]]
    text = (folder / "toy.md").read_text("utf-8")
    assert "| a | 75.00" in text and "| b | 50.00" in text
