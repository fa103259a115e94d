"""The tables are a pure function of the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.board import add, check, rebuild, render
from evalkit.errors import StoreError


def summary(run_id: str, value: float | None, **kwargs: Any) -> dict[str, Any]:
    metric = {
        "protocol": "llava-med", "metric": "closed_accuracy", "slice": "all", "value": value, "low": None, "high": None,
        "n": 10, "n_unscored": 1, "value_unscored_wrong": value, "signature": "closed_accuracy|…",
    }  # fmt: skip
    return {
        "schema": 1, "run_id": run_id, "model": run_id.split("-")[0], "task": "toy", "split": "test", "n": 20,
        "n_images": 5, "data_sha256": "d" * 64, "closed_rule": "label", "prompt": "plain@0", "image": "original",
        "notes": [], "n_failed": 0, "timing": {"seconds": 3.0},
        "metrics": [metric, metric | {"slice": "modality=CT"}],
    } | kwargs  # fmt: skip


def test_adding_writes_the_result_without_slices_and_time_and_rebuilds(tmp_path: Path) -> None:
    add(tmp_path, summary("a-1", 0.5))
    stored = json.loads((tmp_path / "results" / "a-1.json").read_text(encoding="utf-8"))
    assert "timing" not in stored
    assert [m["slice"] for m in stored["metrics"]] == ["all"]
    assert "50.00 n=10 (1 unscored)" in (tmp_path / "toy.md").read_text(encoding="utf-8")
    assert check(tmp_path) == []


def test_the_tables_do_not_depend_on_the_order_of_adding(tmp_path: Path) -> None:
    for folder, order in (("x", ("a-1", "b-2")), ("y", ("b-2", "a-1"))):
        for run_id in order:
            add(tmp_path / folder, summary(run_id, 0.25 if run_id == "a-1" else 0.75))
    for name in ("toy.md", "toy.csv", "README.md"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_a_changed_figure_a_missing_table_and_a_left_over_are_seen(tmp_path: Path) -> None:
    add(tmp_path, summary("a-1", 0.5))
    table = tmp_path / "toy.md"
    table.write_text(table.read_text(encoding="utf-8").replace("50.00", "51.00"), encoding="utf-8")
    (tmp_path / "toy.csv").unlink()
    (tmp_path / "old.md").write_text("x", encoding="utf-8")
    assert check(tmp_path) == ["old.md", "toy.csv", "toy.md"]
    rebuild(tmp_path)
    assert check(tmp_path) == []


def test_different_rows_never_share_a_table() -> None:
    text = render([summary("a-1", 0.5), summary("b-2", 0.9, data_sha256="e" * 64)])["toy.md"]
    assert text.count("## test") == 2


def test_the_best_stands_first_and_a_value_that_is_none_last() -> None:
    text = render([summary("a-1", None), summary("b-2", 0.2), summary("c-3", 0.9)])["toy.md"]
    assert text.index("| c |") < text.index("| b |") < text.index("| a |")


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match="not a result"):
        rebuild(tmp_path)
