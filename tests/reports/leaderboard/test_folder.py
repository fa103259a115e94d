"""A leaderboard's folder: its tables are a pure function of its inputs, and manual edits are detected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.types import digest_json
from evalkit.reports.leaderboard import TrainingExposure, add, check, rebuild, render, training_exposure
from evalkit.reports.leaderboard import folder as folder_module
from evalkit.runs.read import result_at
from evalkit.runs.schema import Timing
from evalkit.stats import mean_interval
from tests.support.leaderboard import metric, paper, result, with_metrics, write_run
from tests.support.paths import ROOT

ZERO_SHOT = TrainingExposure(role="model", regime="zero-shot")
HALF = [1.0, 0.0, 1.0, 0.0]


def put(folder: Path, run_id: str, values: list[float | None] | list[float], **changes: Any) -> None:
    """Add a run with the scores of its answers."""
    parts = {"task": f"{changes.get('task', 'toy')}.test"}
    more = {"timing": Timing(seconds=3.0), "skipped": ("a row without an image",), **changes}
    summary = result(run_id, values, parts=parts, **more)
    summary = with_metrics(summary, replace(summary.metrics[0], slice="modality=CT"))
    add(folder, summary, write_run(folder.parent / f"runs-{folder.name}" / run_id, summary, values), ZERO_SHOT)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A leaderboard with two runs and a paper."""
    folder = tmp_path / "board"
    (folder / "published").mkdir(parents=True)
    table = {
        "schema": 1, "paper": "A Paper", "version": "v1", "url": "https://example.org", "table": "Table 1",
        "sources": {"page": {"read": "the page", "confidence": "high"}},
        "systems": [{"id": "s", "label": "S", "model": "S", "figures": [
            {"task": "toy", "split": "test", "protocol": "llava-med", "metric": "closed_accuracy", "value": "61.25",
             "regime": "zero-shot", "source": "page", "n": 4}]}],
    }  # fmt: skip
    (folder / "published" / "a.json").write_text(json.dumps(table), encoding="utf-8")
    put(folder, "a-1", HALF)
    put(folder, "b-2", [1.0, 1.0, 1.0, 0.0])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*")) if p.is_file()}


def test_an_empty_folder_makes_a_readme_and_a_page_that_say_so(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    assert check(tmp_path) == ["README.md", "index.html"]
    rebuild(tmp_path)
    assert check(tmp_path) == []
    assert all("There are no results" in (tmp_path / n).read_text("utf-8") for n in ("README.md", "index.html"))


def test_one_row_makes_a_table_without_places_and_without_bold() -> None:
    text = render([result("a-1")], {}, [])["toy.md"]
    assert "| model | closed_accuracy |" in text
    assert "**" not in text and "≈" not in text


def test_adding_writes_the_result_without_slices_and_time_and_its_scores_without_texts(board: Path) -> None:
    stored = json.loads((board / "results" / "a-1.json").read_text("utf-8"))
    assert stored["timing"] is None and stored["skipped"] == [] and stored["regime"] == "zero-shot"
    assert [m["slice"] for m in stored["metrics"]] == ["all"]
    scores = json.loads((board / "scores" / "a-1.json").read_text("utf-8"))
    assert scores["scores"]["llava-med closed_accuracy"] == HALF
    assert scores["texts"] == [] and scores["questions"] == []
    assert check(board) == []


def test_adding_does_not_read_back_what_it_wrote(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(folder_module, "result_at", _noting(result_at, read))
    monkeypatch.setattr(folder_module, "read_run_scores", _noting(read_run_scores, read))
    put(board, "c-3", [1.0, 0.0, 0.0, 0.0])
    ours = [Path(path).relative_to(board.parent).as_posix() for path in read]
    assert sorted(ours) == [
        "board/results/a-1.json", "board/results/b-2.json", "board/scores/a-1.json", "board/scores/b-2.json",
        "runs-board/c-3",
    ]  # fmt: skip
    monkeypatch.undo()
    assert check(board) == []


def _noting(reader: Any, read: list[str]) -> Any:
    def noted(path: Path) -> Any:
        read.append(str(path))
        return reader(path)

    return noted


def test_scores_of_many_digits_make_the_same_tables_when_they_are_read_back(board: Path) -> None:
    put(board, "c-3", [1 / 3, 2 / 3, 1 / 7, 0.0])
    assert check(board) == []


def test_adding_a_run_again_replaces_its_scores(board: Path) -> None:
    add(board, result("a-1", [1.0, 1.0, 0.0, 0.0], metrics=(metric("bleu_1", [1.0, 0.0]),)), None, ZERO_SHOT)
    assert not (board / "scores" / "a-1.json").exists()
    assert check(board) == []


@pytest.mark.parametrize("other", [{"role": "baseline"}, {"image": "blank"}])
def test_scores_of_baselines_and_controls_are_not_stored(board: Path, other: dict[str, str]) -> None:
    summary = replace(result("c-3", HALF), image=other.get("image", "original"))
    exposure = replace(ZERO_SHOT, role=other.get("role", "model"))
    add(board, summary, write_run(board.parent / "c-3", summary, HALF), exposure)
    assert not (board / "scores" / "c-3.json").exists()
    assert check(board) == []


def test_the_tables_do_not_depend_on_the_order_of_adding(board: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(board / "published", other / "published")
    put(other, "b-2", [1.0, 1.0, 1.0, 0.0])
    put(other, "a-1", HALF)
    assert contents(other) == contents(board)


@pytest.mark.slow
def test_another_process_with_another_hash_seed_writes_the_committed_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "board"
    shutil.copytree(ROOT / "leaderboards", folder)
    for path in folder.glob("*.*"):
        path.unlink()
    command = [sys.executable, "-m", "evalkit", "board", f"leaderboard={folder}"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert contents(folder) == contents(ROOT / "leaderboards")


def test_the_committed_intervals_are_those_of_the_present_method() -> None:
    """Where the scores of the answers are committed; docs/board.md has the commands that made the others."""
    n_checked = 0
    for path in sorted((ROOT / "leaderboards/scores").iterdir()):
        scores, stored = read_run_scores(path), result_at(ROOT / "leaderboards/results" / path.name)
        for m in stored.metrics:
            column = scores.columns.get(m.key)
            if column is None or m.n_unscored:
                continue
            rows = scores.rows(m.key)
            expected = mean_interval([column.values[k] for k in rows], [scores.image_ids[k] for k in rows])
            assert expected is not None
            assert (m.low, m.high) == pytest.approx((expected.low, expected.high), abs=1e-6), m.key
            n_checked += 1
    assert n_checked >= 5


def test_no_committed_interval_has_zero_width_and_bleu_of_both_kinds_is_there() -> None:
    for path in sorted((ROOT / "leaderboards/results").iterdir()):
        found = result_at(path).metrics
        assert not [m.key for m in found if m.low is not None and m.low == m.high], path.name
        assert {"bleu", "corpus_bleu"} <= {m.metric for m in found}, path.name


def test_a_second_board_changes_no_byte(board: Path) -> None:
    before = contents(board)
    rebuild(board)
    assert contents(board) == before


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["toy.md", "toy.csv", "toy.tex", "toy.html"])
def test_a_figure_changed_in_a_table_is_detected(board: Path, name: str) -> None:
    text = (board / name).read_text("utf-8")
    old, new = ("0.6125", "0.6135") if name.endswith("csv") else ("61.25", "61.35")
    assert old in text
    (board / name).write_text(text.replace(old, new, 1), "utf-8")
    assert check(board) == [name]
    rebuild(board)
    assert check(board) == []


def test_another_line_end_a_missing_table_and_a_left_over_one_are_detected(board: Path) -> None:
    (board / "old.tex").write_text((board / "toy.tex").read_text("utf-8").replace("tab:toy-", "tab:old-"), "utf-8")
    (board / "toy.md").write_bytes((board / "toy.md").read_bytes().replace(b"\n", b"\r\n"))
    (board / "toy.csv").unlink()
    assert check(board) == ["old.tex", "toy.csv", "toy.md"]
    rebuild(board)
    assert check(board) == [] and not (board / "old.tex").exists()


def test_files_of_a_task_without_results_go_and_files_of_people_stay(board: Path) -> None:
    put(board, "gone-1", HALF, task="gone")
    ours = {f"gone.{suffix}" for suffix in ("csv", "html", "md", "tex")}
    assert ours < set(contents(board))
    theirs = {
        "NOTES.md": "# gone\n\nours", "notes.html": "<title>gone</title>", "mine.csv": "task,value\n", "x.tex": "x",
        # A copy under another name, as in a paper.
        "paper.tex": (board / "gone.tex").read_text("utf-8"),
    }  # fmt: skip
    for name, text in theirs.items():
        (board / name).write_text(text, "utf-8")
    for place in ("results", "scores"):
        (board / place / "gone-1.json").unlink()
    assert ours < set(check(board)) and not set(theirs) & set(check(board))
    rebuild(board)
    assert check(board) == [] and not ours & set(contents(board))
    assert {name: (board / name).read_text("utf-8") for name in theirs} == theirs


def test_a_figure_changed_in_a_paper_changes_every_table(board: Path) -> None:
    path = board / "published" / "a.json"
    path.write_text(path.read_text("utf-8").replace("61.25", "62.25"), "utf-8")
    assert check(board) == ["toy.csv", "toy.html", "toy.md", "toy.tex"]


def change(path: Path, edit: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    edit(content)
    path.write_text(json.dumps(content), "utf-8")


def change_scores(path: Path, edit: Any) -> None:
    """As `change`, with the matching digest."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["digest"]
    edit(content)
    path.write_text(json.dumps({**content, "digest": digest_json(content)}), encoding="utf-8")


def test_scores_that_were_cut_or_edited_are_refused(board: Path) -> None:
    change(board / "scores" / "a-1.json", lambda c: c["scores"].update({"llava-med closed_accuracy": [1, 1, 1, 0]}))
    with pytest.raises(StoreError, match="a-1"):
        rebuild(board)


def better(content: dict[str, Any]) -> None:
    content["metrics"][0] |= {"value": 0.75, "value_worst_case": 0.75}


def test_a_result_that_its_own_scores_contradict_is_refused(board: Path) -> None:
    change(board / "results" / "a-1.json", better)
    with pytest.raises(StoreError, match=r"a-1\.json: llava-med closed_accuracy is 0\.500000 over 4 rows, its result"):
        check(board)


@pytest.mark.parametrize("edit", [{"value": 0.75}, {"value": None}, {"n_unscored": 1}])
def test_a_value_or_a_count_beside_an_intact_worst_case_is_refused(edit: dict[str, Any], board: Path) -> None:
    change(board / "results" / "a-1.json", lambda c: c["metrics"][0].update(edit))
    with pytest.raises(StoreError, match=r"a-1\.json: llava-med closed_accuracy is 0\.500000 with 0 unscored rows"):
        check(board)


def test_scores_that_their_result_contradicts_are_refused(board: Path) -> None:
    wrong = {"llava-med closed_accuracy": [1, 1, 1, 0]}
    change_scores(board / "scores" / "a-1.json", lambda c: c["scores"].update(wrong))
    with pytest.raises(StoreError, match="One of them was changed"):
        rebuild(board)


def test_scores_of_another_direction_than_their_result_are_refused(board: Path) -> None:
    lower = {"llava-med closed_accuracy": False}
    change_scores(board / "scores" / "a-1.json", lambda c: c["higher_is_better"].update(lower))
    with pytest.raises(StoreError, match="another direction than its result"):
        rebuild(board)


def test_the_worst_case_of_a_lower_is_better_metric_counts_unscored_rows_as_one(tmp_path: Path) -> None:
    values = [1.0, 0.0, 0.0, None]
    summary = result("a-1", values, metrics=(metric("accuracy", values, higher_is_better=False),))
    assert summary.metrics[0].value_worst_case == 0.5
    (tmp_path / "published").mkdir()
    add(tmp_path, summary, write_run(tmp_path / "run", summary, values), ZERO_SHOT)
    assert check(tmp_path) == []
    change(tmp_path / "results" / "a-1.json", lambda c: c["metrics"][0].update(value_worst_case=0.25))
    with pytest.raises(StoreError, match=r"accuracy is 0\.500000 over 4 rows, its result has 0\.25 over 4"):
        check(tmp_path)


def test_scores_of_other_data_or_of_no_result_are_refused(board: Path) -> None:
    change_scores(board / "scores" / "a-1.json", lambda c: c["header"].update(data_sha256="e" * 64))
    with pytest.raises(StoreError, match="data_sha256"):
        rebuild(board)
    (board / "scores" / "a-1.json").rename(board / "scores" / "gone.json")
    with pytest.raises(StoreError, match="belongs to no result"):
        rebuild(board)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "key 'schema'"),
        ("[]", "is not a leaderboard result of evalkit"),
        ("3", "is not a leaderboard result of evalkit"),
        ('{"schema": 2, "run_id": "a"}', "key 'evalkit'"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=message):
        rebuild(tmp_path)


def test_a_result_under_another_name_is_refused(board: Path) -> None:
    (board / "results" / "a-1.json").rename(board / "results" / "other.json")
    with pytest.raises(StoreError, match=r"other\.json, key 'run_id': found 'a-1'"):
        rebuild(board)


def test_an_invalid_signature_is_refused_with_file_and_key(board: Path) -> None:
    change(board / "results" / "a-1.json", lambda c: c["metrics"][0].update(signature="closed_accuracy"))
    with pytest.raises(StoreError, match=r"a-1\.json, key 'metrics\.0\.signature'"):
        rebuild(board)


@pytest.mark.parametrize("task", ["../x", "a/b", "", "README", "index"])
def test_a_task_that_cannot_name_a_file_is_refused(task: str) -> None:
    with pytest.raises(DataError, match="cannot name a file"):
        render([result("a-1", task=task)], {}, [])


@pytest.mark.parametrize("task", ["a.b", "0", "A_b-C", "x" * 100, "index.html", "a.html"])
def test_every_task_that_can_name_a_file_has_four_files_of_its_own(task: str) -> None:
    files = render([result("a-1", task=task), result("b-1", task="a")], {}, [])
    assert {f"{t}.{suffix}" for t in (task, "a") for suffix in ("md", "csv", "tex", "html")} < set(files)
    assert len(files) == 10


def test_tasks_whose_names_differ_in_case_only_have_files_that_no_file_system_takes_for_one(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    for task, run_id in (("VQA", "a-1"), ("vqa", "b-1")):
        add(tmp_path, result(run_id, task=task), None, TrainingExposure())
    names = [p.name for p in tmp_path.iterdir() if p.is_file()]
    assert len({name.lower() for name in names}) == len(names) == 10 and "vqa.html" in names
    assert check(tmp_path) == []
    (tmp_path / "results" / "b-1.json").unlink()
    rebuild(tmp_path)
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {
        "README.md", "index.html", "VQA.md", "VQA.csv", "VQA.tex", "VQA.html"
    }  # fmt: skip


def test_a_folder_without_papers_takes_the_built_in_ones_of_its_tasks_only(tmp_path: Path) -> None:
    summary = result("a-1", HALF, task="coloninst-cls", split="unseen")
    add(tmp_path, summary, None, ZERO_SHOT)
    assert "ColonGPT" in (tmp_path / "coloninst-cls.md").read_text("utf-8")
    assert not (tmp_path / "coloninst-rec.md").exists()
    assert not (tmp_path / "scores").exists()


def test_papers_alone_make_tables() -> None:
    text = render([], {}, [paper([{"value": "50.0"}])])["toy.md"]
    assert "figures of papers" in text and "50.0 ~[" in text


def test_the_regime_of_a_run_follows_from_what_its_model_was_trained_on() -> None:
    model = {"kind": "checkpoint", "trained_on": {"toy": ["train", "seen"], "*": []}}
    tuned = TrainingExposure(role="model", regime="fine-tuned", train="train, seen")
    assert training_exposure(model, "toy", "test") == tuned
    assert training_exposure(model, "toy", "seen").regime == "trained-on-this-split"
    assert training_exposure(model, "other", "test") == ZERO_SHOT
    assert training_exposure({"trained_on": {"toy": ["train"]}}, "other", "test").regime == "unknown"
    assert training_exposure({"kind": "checkpoint"}, "toy", "test").regime == "unknown"
    assert training_exposure({"kind": "baseline"}, "toy", "test").role == "baseline"


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "model").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_registered_model_states_its_training_data_in_a_valid_form(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert set(content.get("trained_on") or {}) <= {p.stem for p in (ROOT / "conf" / "task").glob("*.yaml")} | {"*"}
    for task in ("vqa-rad", "phantom"):
        assert training_exposure(content, task, "test").regime in ("zero-shot", "fine-tuned", "unknown")


@pytest.mark.parametrize("wrong", ["train", ["train"], {"toy": "train"}, {"toy": [1]}, {"toy": None}])
def test_training_data_that_is_no_mapping_of_splits_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="trained_on"):
        training_exposure({"trained_on": wrong}, "toy", "test")


def test_adding_to_a_large_board_stores_the_row_and_leaves_the_tables_to_the_verb(
    board: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_module, "REBUILT", 2)
    monkeypatch.setattr(folder_module, "result_at", lambda path: pytest.fail(f"{path} was read"))
    before = (board / "toy.md").read_bytes()
    put(board, "c-3", [1.0, 0.0, 0.0, 0.0])
    assert (board / "toy.md").read_bytes() == before
    assert f"board leaderboard={board}" in " ".join(capsys.readouterr().err.split()).replace("= ", "=")
    monkeypatch.undo()
    assert "toy.md" in check(board)
    rebuild(board)
    assert check(board) == []
    assert "c-3" in (board / "toy.md").read_text("utf-8")
