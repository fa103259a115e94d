"""The table of models on tasks: bold outside ties, the same cells in every form, 80 columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.core import console
from evalkit.core.types import MetricKey
from evalkit.reports.suite_table import (
    Place,
    SuiteRun,
    for_terminal,
    over_sets,
    suite_table,
    to_csv,
    to_latex,
    to_markdown,
)
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import open_run
from tests.support.made_runs import answered, failed, made_run, made_samples

KEY = MetricKey("exact-match", "exact_match")


def run(folder: Path, model: str, right: int, n: int = 200, n_failed: int = 0) -> SuiteRun:
    """A run whose first `right` answers are right, and whose last `n_failed` ones failed."""
    samples = made_samples(n)
    answers = [answered(s, s.references[0] if k < right else "?") for k, s in enumerate(samples)]
    answers[n - n_failed :] = [failed(s) for s in samples[n - n_failed :]]
    path = made_run(folder / f"{model}-made-{right:08x}", samples, answers, model=model)
    return SuiteRun(summary=open_run(path).summary, folder=RunFolder(path).path)


@pytest.mark.slow
def test_all_that_are_not_distinguishable_from_the_best_are_bold_and_no_others(tmp_path: Path) -> None:
    table = suite_table("s", [run(tmp_path, "a", 150), run(tmp_path, "b", 149), run(tmp_path, "c", 80)])
    assert {place.row for place in table.best if place.key == KEY} == {"a", "b"}
    markdown = next(line for line in to_markdown(table).splitlines() if "| exact_match | c |" in line)
    assert "**" not in markdown
    assert to_markdown(table).count("**") == 2 * len(table.best)
    assert to_latex(table).count(r"\textbf{") == len(table.best)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert sum(r["tied_with_best"] == "yes" for r in rows) == len(table.best)


@pytest.mark.slow
def test_one_clear_best_is_bold_alone_and_one_model_has_no_bold(tmp_path: Path) -> None:
    runs = [run(tmp_path, "a", 190), run(tmp_path, "b", 100)]
    assert {place.row for place in suite_table("s", runs).best if place.key == KEY} == {"a"}
    alone = suite_table("s", runs[:1])
    assert not alone.best and "**" not in to_markdown(alone) and "textbf" not in to_latex(alone)


def test_runs_over_other_rows_are_not_compared_and_the_table_says_so(tmp_path: Path) -> None:
    table = suite_table("s", [run(tmp_path, "a", 150), run(tmp_path, "b", 100, n=180)])
    assert not table.best
    assert any("not comparable" in note for note in table.notes)


def test_a_value_that_is_missing_is_never_marked(tmp_path: Path) -> None:
    table = suite_table("s", [run(tmp_path, "a", 0, n=4, n_failed=4), run(tmp_path, "b", 1, n=4)])
    assert all(table.values[place].value is not None for place in table.best)
    assert "–*" not in str(for_terminal(table).rows) and "**–**" not in to_markdown(table)


def test_rows_without_a_cell_in_the_columns_that_are_shown_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "x" * 30
    rows = [["one", "", "", ""], ["  a", wide, wide, ""], None, ["two", "", "", ""], ["  b", "", "", wide]]
    console.grid(["m", "t1", "t2", "t3"], rows, "title")
    first, second = capsys.readouterr().out.split("t3")
    assert "two" not in first and "a" in first
    assert "one" not in second and "b" in second


@pytest.mark.slow
def test_failed_samples_are_beside_each_value(tmp_path: Path) -> None:
    table = suite_table("s", [run(tmp_path, "a", 150, n_failed=7), run(tmp_path, "b", 150)])
    assert "a, toy (test): 200 samples on 100 images; failed 7" in table.notes[0]
    assert "7 of 200 unscored" in to_markdown(table) and "7 of 200 unscored" in to_latex(table)
    assert any("7 of 200 unscored" in cell for row in for_terminal(table).rows if row for cell in row)


def test_latex_has_intervals_in_small_type_and_a_lone_model_in_the_caption(tmp_path: Path) -> None:
    several = to_latex(suite_table("s", [run(tmp_path, "a", 150, n_failed=7), run(tmp_path, "b", 150)]))
    assert r" \\ {\scriptsize 7 of 200 unscored} \\ {\scriptsize worst case " in several
    assert "& Model &" in several
    alone = to_latex(suite_table("s", [run(tmp_path, "c", 150)]))
    assert "Model" not in alone and r"{\scriptsize [" in alone and r"\caption{s: c on 1 task.}" in alone


@pytest.mark.parametrize("n_tasks", [1, 3, 9])
@pytest.mark.few(2)
def test_the_table_fits_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str], n_tasks: int) -> None:
    one = run(tmp_path, "a-model-with-a-rather-long-name", 150, n_failed=3)
    runs = [replace(one, summary=replace(one.summary, task=f"a-task-{k}", run_id=f"run-{k}")) for k in range(n_tasks)]
    table = suite_table("s", runs)
    shown = for_terminal(table)
    console.grid(shown.header, shown.rows, table.title, "\n".join([shown.caption, *table.notes]))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert all(f"a-task-{k} " in printed for k in range(n_tasks)), "a task is missing or folded"
    assert all(Place(KEY, "a-model-with-a-rather-long-name", f"a-task-{k}") in table.values for k in range(n_tasks))


def test_three_sets_have_a_summary_with_their_heterogeneity_and_two_have_none(tmp_path: Path) -> None:
    first = run(tmp_path, "a", 150)
    tasks = [
        replace(first, summary=replace(first.summary, task=name, run_id=f"{name}-{k}")) for k, name in enumerate("xyz")
    ]
    caption = for_terminal(suite_table("s", tasks)).caption
    assert "a, exact-match exact_match, over 3 sets: mean 75.0" in caption
    assert "standard deviation between sets 0.0 points, I2 0 %" in caption
    assert "over 3 sets" in to_markdown(suite_table("s", tasks))
    assert "over " not in for_terminal(suite_table("s", tasks[:2])).caption.replace("over all", "")


@pytest.mark.parametrize("images", [2, 3, 4, 12])
def test_sets_of_few_images_weigh_little_in_the_summary_over_sets(tmp_path: Path, images: int) -> None:
    """Half of the answers right on three sets of a few images: the summary is no narrower than of all their images."""
    table = suite_table("s", [run(tmp_path, "a", images, n=2 * images)])
    (place,) = (place for place in table.values if place.key == KEY)
    tasks = ("t1", "t2", "t3")
    values = {place._replace(task=task): table.values[place] for task in tasks}
    assert table.values[place].n_clusters == images and table.values[place].value == 0.5
    (sentence,) = over_sets(replace(table, tasks=tasks, values=values))
    low, high = (float(part) for part in re.findall(r"mean 50\.0 \[([\d.]+), ([\d.]+)\]", sentence)[0])
    assert high - low >= min(100.0, 100 * 2 * 1.96 * 0.5 / (3 * images) ** 0.5)
