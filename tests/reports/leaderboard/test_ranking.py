"""Ranking: ties, bold and places come from paired tests, follow the direction, and need the stored scores."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.published import PublishedTable
from evalkit.reports.leaderboard.render import is_best, is_tied, place_text
from evalkit.reports.leaderboard.tables import Table, board
from evalkit.stats import rank_models
from tests.support.leaderboard import metric, paper, result, stored_scores

COLUMN = "closed_accuracy"


def made(
    runs: dict[str, list[float]],
    papers: Sequence[PublishedTable] = (),
    without: Sequence[str] = (),
    higher_is_better: bool | None = True,
) -> Table:
    """The one table of these runs, with the scores of their answers except for those in `without`."""
    results = [
        result(f"{name}-1", values, metrics=(metric(COLUMN, values, higher_is_better=higher_is_better),))
        for name, values in runs.items()
    ]
    stored = {r.run_id: stored_scores(r, runs[r.model]) for r in results if r.model not in without}
    (table,) = [t for s in board("toy", results, stored, papers).sections for t in s.tables]
    return table


def marks(table: Table) -> dict[str, str]:
    return {
        entry.name: "bold" if is_best(table, COLUMN, entry) else "tied" if is_tied(table, COLUMN, entry) else ""
        for entry in table.entries
    }


def share(n: int, right: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


def test_equal_runs_are_tied_and_none_is_bold() -> None:
    table = made({"a": share(40, 20), "b": share(40, 20)})
    assert marks(table) == {"a": "tied", "b": "tied"}
    assert any("≈ not significantly different" in note for note in table.notes)


def test_a_lower_is_better_metric_is_ranked_lowest_first() -> None:
    table = made({"a": share(80, 70), "b": share(80, 20), "c": share(80, 20)}, higher_is_better=False)
    assert [entry.name for entry in table.entries] == ["b", "c", "a"]
    assert marks(table) == {"b": "tied", "c": "tied", "a": ""}
    assert [place_text(table, entry) for entry in table.entries][2] == "3"
    assert any(f"Lower is better for {COLUMN}" in note for note in table.notes)
    assert marks(made({"a": share(80, 70), "b": share(80, 20)}, higher_is_better=False)) == {"a": "", "b": "bold"}


def test_a_lower_figure_of_a_paper_takes_the_bold_where_lower_is_better() -> None:
    runs = {"a": share(80, 70), "b": share(80, 20)}
    lower = made(runs, [paper([{"value": "5.0", "n": 80}])], higher_is_better=False)
    assert [entry.name for entry in lower.entries] == ["System 0", "b", "a"]
    assert marks(lower) == {"System 0": "", "b": "", "a": ""}
    higher = made(runs, [paper([{"value": "50.0", "n": 80}])], higher_is_better=False)
    assert [entry.name for entry in higher.entries] == ["b", "System 0", "a"]
    assert marks(higher) == {"b": "bold", "System 0": "", "a": ""}


def test_a_metric_without_a_direction_is_not_ranked() -> None:
    table = made({"b": share(80, 70), "a": share(80, 20)}, higher_is_better=None)
    assert [entry.name for entry in table.entries] == ["a", "b"]
    assert not table.places and table.effect == "" and set(marks(table).values()) == {""}
    assert any("listed by name" in note for note in table.notes)


def test_runs_that_disagree_on_the_direction_are_not_ranked() -> None:
    results = [
        result(f"{name}-1", share(80, right), metrics=(metric(COLUMN, share(80, right), higher_is_better=higher),))
        for name, right, higher in (("b", 70, True), ("a", 20, False))
    ]
    stored = {r.run_id: stored_scores(r, share(80, 40)) for r in results}
    (table,) = [t for s in board("toy", results, stored, []).sections for t in s.tables]
    assert [entry.name for entry in table.entries] == ["a", "b"] and not table.places


def test_a_papers_metric_of_unknown_direction_is_listed_by_name() -> None:
    (table,) = [
        t
        for s in board("toy", [], {}, [paper([{"value": v, "metric": "word_error"} for v in ("10", "90")])]).sections
        for t in s.tables
    ]
    assert [entry.name for entry in table.entries] == ["System 0", "System 1"]
    assert any("whether a higher word_error is better is not known" in note for note in table.notes)


def test_a_run_that_is_better_on_many_images_is_bold() -> None:
    assert marks(made({"a": share(80, 70), "b": share(80, 20)})) == {"a": "bold", "b": ""}


def test_one_run_alone_is_neither_bold_nor_tied() -> None:
    table = made({"a": share(40, 20)})
    assert marks(table) == {"a": ""} and place_text(table, table.entries[0]) == ""


def test_a_higher_figure_of_a_paper_takes_the_bold_and_gets_nothing_itself() -> None:
    runs = {"a": share(80, 70), "b": share(80, 20)}
    assert marks(made(runs, [paper([{"value": "99.0", "n": 80}])])) == {"System 0": "", "a": "", "b": ""}
    assert marks(made(runs, [paper([{"value": "10.0", "n": 80}])])) == {"a": "bold", "b": "", "System 0": ""}


def test_runs_without_stored_scores_have_no_place_and_a_note_says_so() -> None:
    table = made({"a": share(80, 70), "b": share(80, 20), "c": share(80, 75)}, without=["c"])
    assert marks(table) == {"c": "", "a": "", "b": ""}
    assert [place_text(table, entry) for entry in table.entries] == ["", "1", "2"]
    assert any("without stored scores" in note for note in table.notes)


def test_controls_and_baselines_take_no_part() -> None:
    values = share(80, 70)
    results = [
        result("a-1", values),
        result("b-1", values, image="blank", parts={"image": "blank"}),
        result("majority-1", values, role="baseline"),
    ]
    stored = {r.run_id: stored_scores(r, values) for r in results}
    (table,) = [t for s in board("toy", results, stored, []).sections for t in s.tables]
    assert not table.places


def test_scores_over_other_rows_are_refused() -> None:
    results = [result(f"{name}-1", share(4, 2)) for name in "ab"]
    stored = {"a-1": stored_scores(results[0], share(4, 2)), "b-1": stored_scores(results[1], share(6, 2))}
    with pytest.raises(DataError, match="different samples"):
        board("toy", results, stored, [])


@pytest.mark.slow
@given(st.integers(2, 4), st.integers(0, 2**31), st.integers(4, 30))
@settings(max_examples=25, deadline=None)
def test_bold_is_alone_and_the_tie_set_has_all_that_none_is_better_than(models: int, seed: int, images: int) -> None:
    drawn = random.Random(seed)
    rates = [drawn.random() for _ in range(models)]
    runs = {f"m{k}": [float(drawn.random() < rate) for _ in range(2 * images)] for k, rate in enumerate(rates)}
    found = marks(made(runs))
    clusters = [f"i{k // 2}" for k in range(2 * images)]
    # The same without the board: the simultaneous ranks.
    ranks = {r.name: r for r in rank_models(runs, clusters)}
    assert found == {name: "bold" if ranks[name].high == 1 else "tied" if ranks[name].low == 1 else "" for name in runs}
    assert list(found.values()).count("bold") <= 1
    assert not ("bold" in found.values() and "tied" in found.values())


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
