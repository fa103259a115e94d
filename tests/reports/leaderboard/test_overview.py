"""Models x tasks: the numbers are those of the tasks' own tables, one line a model of two tasks or more."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from evalkit.reports.leaderboard.folder import render
from evalkit.reports.leaderboard.overview import Overview, overviews
from evalkit.reports.leaderboard.tables import Board, board
from evalkit.runs.schema import LeaderboardResult
from tests.support.leaderboard import metric, result


def of(task: str, model: str, values: tuple[float, ...] = (1.0, 0.0), **changes: Any) -> LeaderboardResult:
    return result(f"{model}-{task}", values, parts={"task": f"{task}.test"}, task=task, model=model, **changes)


def boards(*results: LeaderboardResult) -> list[Board]:
    return [board(t, [r for r in results if r.task == t], {}, []) for t in sorted({r.task for r in results})]


def shown(overview: Overview) -> dict[str, list[str | None]]:
    return {line.name: [cell and cell.cell.shown for cell in line.cells] for line in overview.lines}


@pytest.mark.parametrize(
    "results",
    [
        (), (of("a", "one"),), (of("a", "one"), of("a", "two")), (of("a", "one"), of("b", "two")),
        (of("a", "one", regime="unknown"), of("b", "one", regime="unknown")),
        (of("a", "one"), of("b", "one", regime="fine-tuned")),
        (of("a", "majority", role="baseline"), of("b", "majority", role="baseline")),
    ],
    ids=["none", "one", "one task", "a model each", "not ranked", "two kinds of training", "baselines alone"],
)  # fmt: skip
def test_without_a_model_in_two_tasks_there_is_none(results: tuple[LeaderboardResult, ...]) -> None:
    assert overviews(boards(*results)) == []
    assert "Models x tasks" not in render(results, {}, [])["README.md"]


def test_a_model_of_two_tasks_is_one_line_and_one_of_one_task_is_none() -> None:
    found = overviews(boards(of("a", "one"), of("b", "one", (1.0, 1.0)), of("b", "two")))
    assert [o.title for o in found] == ["llava-med, zero-shot"]
    assert [(c.task, c.metric) for c in found[0].columns] == [("a", "closed_accuracy"), ("b", "closed_accuracy")]
    assert shown(found[0]) == {"one": ["50.00", "100.00"]}


def test_the_kinds_of_training_stay_apart() -> None:
    tuned = [replace(of(t, "tuned"), regime="fine-tuned") for t in ("a", "b")]
    found = overviews(boards(of("a", "one"), of("b", "one"), of("c", "one"), *tuned))
    assert [(o.heading, list(shown(o))) for o in found] == [
        ("zero-shot", ["one"]),
        ("fine-tuned on the set", ["tuned"]),
    ]


def test_of_several_rows_the_highest_of_the_table_is_shown_with_their_number() -> None:
    low = replace(of("a", "one", (0.0, 0.0)), run_id="one-a-low", prompt="short@0")
    (found,) = overviews(boards(of("a", "one"), low, of("b", "one")))
    (line,) = found.lines
    assert line.cells[0] is not None and line.cells[1] is not None
    assert (line.cells[0].cell.shown, line.cells[0].n_rows, line.cells[1].n_rows) == ("50.00", 2, 1)


def test_names_are_text_in_markdown_and_on_the_page() -> None:
    name = "a|b <script>alert(1)</script>"
    files = render([of("a", name), of("b", name)], {}, [])
    assert "<script>alert" not in files["index.html"] and "<script>" not in files["README.md"]
    assert files["index.html"].count("alert(1)") >= 2 and "a\\|b" in files["README.md"]


def test_the_page_links_each_number_to_its_row_on_the_page_of_its_task() -> None:
    files = render([of("a", "one"), of("b", "one")], {}, [])
    text = files["index.html"]
    overview = text[text.index('id="overview"') : text.index("</main>")]
    for task in ("a", "b"):
        (anchor,) = re.findall(rf'href="{task}\.html#(\w+)"', overview)
        assert files[f"{task}.html"].count(f'id="{anchor}"') == 1


def test_a_lower_is_better_column_of_an_overview_is_marked_as_such() -> None:
    values = (1.0, 0.0)
    lower = [
        of(t, "one", metrics=(metric("accuracy", values, parts={"task": f"{t}.test"}, higher_is_better=t == "a"),))
        for t in ("a", "b")
    ]
    text = render(lower, {}, [])["index.html"]
    assert text.count('data-best="lowest"') == 1 and 'data-best="lowest">b accuracy</th>' in text
