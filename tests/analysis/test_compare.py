"""compare through the command line: differences, slices, refusals."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import evalkit, folder_of

RUN = ("model=scripted", "task=phantom", "limit=60")


def test_two_runs_are_compared_in_whole_and_by_slice(tmp_path: Path) -> None:
    first = folder_of(evalkit(*RUN, "model.rule=yes", cwd=tmp_path), tmp_path)
    second = folder_of(evalkit(*RUN, "model.rule=question", cwd=tmp_path), tmp_path)
    metric = "metrics=['strict closed_accuracy']"
    result = evalkit("compare", f"runs=[{first},{second}]", metric, "slices=true", "flips=2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "strict closed_accuracy" in result.stdout
    assert "modality=CT" in result.stdout
    same = evalkit("compare", f"runs=[{first},{first}]", metric, cwd=tmp_path)
    assert "no sample changed its score" in same.stdout


def test_runs_over_other_rows_are_refused_with_the_difference(tmp_path: Path) -> None:
    first = folder_of(evalkit(*RUN, cwd=tmp_path), tmp_path)
    second = folder_of(evalkit("model=scripted", "task=phantom", "limit=50", cwd=tmp_path), tmp_path)
    result = evalkit("compare", f"runs=[{first},{second}]", cwd=tmp_path)
    assert result.returncode == 2
    assert "n: 60 against 50" in result.stderr
