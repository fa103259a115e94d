"""Nothing is bold that can be matched, and nothing is claimed without the answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.published import PublishedTable
from evalkit.reports.leaderboard.render import is_best, is_tied, places
from evalkit.reports.leaderboard.tables import Table, board
from evalkit.stats import holm, sign_flip_p
from tests.support.leaderboard import paper, result, scored

COLUMN = "closed_accuracy"


def made(runs: dict[str, list[float]], papers: Sequence[PublishedTable] = (), without: Sequence[str] = ()) -> Table:
    """The one table of these runs, with their answers' scores but for some."""
    results = [result(f"{name}-1", values) for name, values in runs.items()]
    stored = {r["run_id"]: scored(r, runs[r["model"]]) for r in results if r["model"] not in without}
    (table,) = [t for s in board("toy", results, stored, papers).sections for t in s.tables]
    return table


def marks(table: Table) -> dict[str, str]:
    return {
        line.name: "bold" if is_best(table, COLUMN, line) else "tied" if is_tied(table, COLUMN, line) else ""
        for line in table.lines
    }


def share(n: int, right: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


def test_equal_runs_are_tied_and_none_is_bold() -> None:
    table = made({"a": share(40, 20), "b": share(40, 20)})
    assert marks(table) == {"a": "tied", "b": "tied"}
    assert any("≈ cannot be told" in note for note in table.notes)


def test_a_run_that_is_better_on_many_images_is_bold() -> None:
    assert marks(made({"a": share(80, 70), "b": share(80, 20)})) == {"a": "bold", "b": ""}


def test_one_run_alone_is_neither_bold_nor_tied() -> None:
    table = made({"a": share(40, 20)})
    assert marks(table) == {"a": ""} and places(table, table.lines[0]) == ""


def test_a_higher_figure_of_a_paper_takes_the_bold_and_gets_nothing_itself() -> None:
    runs = {"a": share(80, 70), "b": share(80, 20)}
    assert marks(made(runs, [paper([{"value": "99.0", "n": 80}])])) == {"System 0": "", "a": "", "b": ""}
    assert marks(made(runs, [paper([{"value": "10.0", "n": 80}])])) == {"a": "bold", "b": "", "System 0": ""}


def test_runs_without_stored_scores_have_no_place_and_that_is_said() -> None:
    table = made({"a": share(80, 70), "b": share(80, 20), "c": share(80, 75)}, without=["c"])
    assert marks(table) == {"c": "", "a": "", "b": ""}
    assert [places(table, line) for line in table.lines] == ["", "1", "2"]
    assert any("without stored scores" in note for note in table.notes)


def test_controls_and_baselines_take_no_part() -> None:
    values = share(80, 70)
    results = [
        result("a-1", values),
        result("b-1", values, image="blank", parts={"image": "blank"}),
        result("majority-1", values, role="baseline"),
    ]
    stored = {r["run_id"]: scored(r, values) for r in results}
    (table,) = [t for s in board("toy", results, stored, []).sections for t in s.tables]
    assert not table.standings


def test_scores_over_other_rows_are_refused() -> None:
    results = [result(f"{name}-1", share(4, 2)) for name in "ab"]
    stored = {"a-1": scored(results[0], share(4, 2)), "b-1": scored(results[1], share(6, 2))}
    with pytest.raises(DataError, match="other rows"):
        board("toy", results, stored, [])


@given(st.integers(2, 4), st.integers(0, 2**31), st.integers(4, 30))
@settings(max_examples=25, deadline=None)
def test_bold_is_alone_and_the_tie_set_is_that_of_pairwise_tests(models: int, seed: int, images: int) -> None:
    drawn = random.Random(seed)
    rates = [drawn.random() for _ in range(models)]
    runs = {f"m{k}": [float(drawn.random() < rate) for _ in range(2 * images)] for k, rate in enumerate(rates)}
    said = marks(made(runs))
    clusters = [f"i{k // 2}" for k in range(2 * images)]
    # The same by hand: the first by its mean, every other against it, Holm over them.
    order = sorted(runs, key=lambda name: (-sum(runs[name]), name))
    p_values = holm([sign_flip_p(runs[order[0]], runs[name], clusters) for name in order[1:]])
    tied = {name for name, p in zip(order[1:], p_values, strict=True) if p >= 0.05}
    expected: dict[str, Any] = {name: "tied" if name in tied | {order[0]} else "" for name in order}
    if not tied:
        expected[order[0]] = "bold"
    if len({sum(v) for v in runs.values()}) == models:  # equal means: whichever is taken as the first
        assert said == expected
    assert list(said.values()).count("bold") <= 1
    assert not ("bold" in said.values() and "tied" in said.values())


def test_the_effect_of_one_run_is_that_of_an_assumed_discordance() -> None:
    # n = 451, 10 % discordant, power .8, two-sided .05: 2.80 * sqrt(.1 / 451) = 4.17 points.
    assert (
        "closed_accuracy, 451 rows: 4.2 points, two runs, paired, where they differ on 10 %"
        in made({"a": share(451, 300)}).effect
    )


def test_the_effect_between_two_runs_is_as_they_differ() -> None:
    first = share(100, 60)
    second = [1.0 - v if k % 10 == 0 else v for k, v in enumerate(first)]
    assert "as the first two differ on 10.0 % of the rows" in made({"a": first, "b": second}).effect


def test_the_effect_against_a_paper_is_unpaired() -> None:
    # n = 272 at p = .8: 2.80 * sqrt(2 * .8 * .2 / 272) = 9.61 points.
    (table,) = [t for s in board("toy", [], {}, [paper([{"value": "80.0", "n": 272}])]).sections for t in s.tables]
    assert "9.6 points, a figure of a paper against another row, unpaired, rows taken as independent" in table.effect
