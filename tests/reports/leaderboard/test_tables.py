"""Tables: which rows are ranked together, and the reasons given for the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.signature import Signature
from evalkit.core.types import MetricValue
from evalkit.published import PublishedTable
from evalkit.reports.leaderboard.entries import Entry
from evalkit.reports.leaderboard.tables import NO_RUN, UNKNOWN_REGIME, Table, board
from tests.support.leaderboard import metric, paper, result

REGIMES = ("zero-shot", "fine-tuned", "trained-on-this-split", "unknown")


def tables(results: Sequence[Any], papers: Sequence[PublishedTable] = ()) -> list[Table]:
    return [t for s in board("toy", results, {}, papers).sections for t in s.tables]


def names(table: Table) -> list[str]:
    return [entry.name for entry in table.entries]


def find(found: Sequence[Table], name: str) -> tuple[Table, Entry]:
    return next((t, entry) for t in found for entry in t.entries if entry.name == name)


def value(entry: Entry) -> MetricValue:
    return entry.cells["closed_accuracy"].number


def signature(entry: Entry) -> Signature:
    found = value(entry).signature
    assert found is not None
    return found


def test_no_rows_make_no_tables() -> None:
    assert board("toy", [], {}, []).sections == ()


@given(st.lists(st.sampled_from(REGIMES), min_size=1, max_size=6), st.lists(st.sampled_from(REGIMES), max_size=4))
def test_regimes_never_share_a_ranking_and_no_row_is_lost(runs: list[str], printed: list[str]) -> None:
    results = [result(f"m{k}-1", regime=regime) for k, regime in enumerate(runs)]
    trained = {"train": "t", "epochs": 3}
    figures = [
        {"value": "50", "regime": r} | (trained if r in ("fine-tuned", "trained-on-this-split") else {})
        for r in printed
    ]
    more = {"trains": {"t": "the train split"}} if any("train" in f for f in figures) else {}
    found = tables(results, [paper(figures, **more)] if figures else [])
    for table in found:
        assert len({entry.regime for entry in table.entries}) == 1
        assert (table.reason == UNKNOWN_REGIME) == (table.entries[0].regime == "unknown")
    rows = [entry.id for table in found for entry in table.entries]
    assert sorted(rows) == sorted([*(r.run_id for r in results), *(f"paper:s{k}" for k in range(len(figures)))])


def test_a_paper_joins_runs_when_split_protocol_and_n_agree() -> None:
    (table,) = tables([result("m-1")], [paper([{"value": "75.0"}])])
    assert names(table) == ["System 0", "m"]
    assert any("neither a tie nor a win is claimed" in note for note in table.notes)


@pytest.mark.parametrize(
    "other", [{"n": 3}, {"split": "val"}, {"protocol": "strict"}, {"regime": "fine-tuned", "train": "t"}]
)
def test_a_paper_stays_apart_when_anything_else_differs(other: dict[str, Any]) -> None:
    more = {"trains": {"t": "the train split"}} if "train" in other else {}
    found = tables([result("m-1")], [paper([{"value": "75.0"} | other], **more)])
    assert find(found, "m")[0] is not find(found, "System 0")[0]


def test_two_papers_with_other_n_stay_apart_and_both_are_shown() -> None:
    found = tables([], [paper([{"value": "75.0"}, {"value": "80.0", "n": 5}])])
    assert [names(t) for t in found] == [["System 0"], ["System 1"]]


@pytest.mark.parametrize(
    ("figure", "more", "reason"),
    [
        ({"protocol": "own"}, {"foreign": {"own": "a judge that is gone"}}, r"cannot be computed by evalkit \(paper\)"),
        ({"n": None}, {}, "does not state the number of rows"),
        ({"split": "unknown"}, {}, "split is not known"),
        ({"regime": "unknown"}, {}, "training data of the model is not known"),
    ],
)
def test_what_cannot_be_compared_is_listed_with_the_reason_and_in_no_order_of_merit(
    figure: dict[str, Any], more: dict[str, Any], reason: str
) -> None:
    found = tables([], [paper([{"value": "10"} | figure, {"value": "90"} | figure], **more)])
    (table,) = found
    assert names(table) == ["System 0", "System 1"]
    assert not table.places and table.effect == ""
    assert re.search(reason, table.reason)


def test_other_data_and_another_version_of_a_protocol_never_share_a_table() -> None:
    results = [
        result("a-1"),
        result("b-2", data_sha256="e" * 64),
        result("c-3", parts={"protocol": "llava-med.2"}),
        result("d-4", closed_rule="yesno"),
        result("e-5", parts={"unscored": "wrong"}),
    ]
    assert sorted(map(names, tables(results))) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_another_prompt_or_decoding_is_a_row_of_the_same_table_and_is_shown() -> None:
    (table,) = tables([result("a-1"), result("b-2", prompt="short@1", parts={"prompt": "short@1", "gen": "sample"})])
    assert "prompt short@1" in find([table], "b")[1].details


def test_signatures_of_one_column_agree_but_for_the_rows_own_parts() -> None:
    (table,) = tables([result("a-1"), result("b-2", parts={"prompt": "p", "gen": "g", "v": "9", "image": "original"})])
    assert len({signature(entry).column for entry in table.entries}) == 1


def test_baselines_are_in_the_table_of_every_regime_and_are_never_ranked() -> None:
    blind = [result(f"{name}-1", role="baseline", regime="unknown") for name in ("majority", "lookup")]
    found = tables([result("a-1"), result("b-2", regime="fine-tuned"), *blind])
    assert len(found) == 2
    for table in found:
        assert {"majority", "lookup"} <= set(names(table)) and not table.reason
        assert all(entry.kind == "baseline" for entry in table.entries if entry.name in ("majority", "lookup"))


def test_tables_of_nothing_but_baselines_go_last() -> None:
    strict = metric("exact_match", [1.0], parts={"protocol": "strict.1"})
    blind = result("majority-1", role="baseline")
    blind = replace(blind, metrics=(strict, *blind.metrics))
    assert [t.protocol for t in tables([blind, result("a-1")])] == ["llava-med", "strict"]


def test_baselines_without_a_run_come_from_the_sanity_checks_of_a_result() -> None:
    found = {"baseline": "majority", "protocol": "llava-med", "metric": "closed_accuracy", "value": 0.4, "lift": 0.1}
    (table,) = tables([result("a-1", sanity_checks={"baselines": {"metrics": [found]}})])
    entry = find([table], "majority")[1]
    cell = entry.cells["closed_accuracy"]
    assert (cell.shown, cell.number.low, cell.n, entry.kind) == ("40.00", None, 2, "baseline")
    assert next(n for n in table.notes if "Not among" in n).endswith("rows: lookup, a model on blank images.")


def test_a_note_names_absent_baselines_and_blank_runs() -> None:
    (table,) = tables([result("a-1")])
    assert any("lookup, majority, a model on blank" in note for note in table.notes)
    assert any("blank images" in note for note in table.notes)
    blank = result("a-2", image="blank", parts={"image": "blank"})
    (table,) = tables([result("a-1"), blank])
    assert not any("blank images" in note for note in table.notes)
    assert find([table], "a, blank images")[1].kind == "control"


def test_unscored_rows_count_as_the_worst_score_in_the_order() -> None:
    (table,) = tables([result("a-1", [1.0, None, None, None]), result("b-2", [1.0, 1.0, 0.0, 0.0])])
    assert names(table) == ["b", "a"]
    cell = table.entries[1].cells["closed_accuracy"]
    assert (cell.shown, cell.order, cell.number.n_unscored) == ("100.00", 0.25, 3)


def test_an_entry_without_a_value_is_last_in_either_direction() -> None:
    for higher_is_better in (True, False):
        none, some = (
            metric("closed_accuracy", values, higher_is_better=higher_is_better, **changes)
            for values, changes in (([None, None], {"value_worst_case": None}), ([0.5, 0.5], {}))
        )
        (table,) = tables([result("a-1", metrics=(none,)), result("b-2", metrics=(some,))])
        assert names(table) == ["b", "a"]


def test_faults_and_irreproducible_values_stay_with_their_row_and_cell() -> None:
    table = paper(
        [{"value": "50", "faults": ["epoch"], "not_reproducible": "no weights"}], faults={"epoch": "picked on test"}
    )
    (found,) = tables([], [table])
    cell = found.entries[0].cells["closed_accuracy"]
    assert (cell.faults, cell.why_not) == (("picked on test",), "no weights")


def test_a_fault_of_every_figure_of_a_row_is_listed_once_at_the_row() -> None:
    both = ["epoch", "split"]
    first = {"value": "50", "faults": both}
    more = {"faults": {"epoch": "picked on test", "split": "two splits"}}
    table = paper([first], **more)
    assert tables([], [table])[0].entries[0].faults == ()
    (system,) = table.systems
    other = replace(system.figures[0], metric="open_recall", faults=("epoch",))
    (found,) = tables([], [replace(table, systems=(replace(system, figures=(*system.figures, other)),))])
    assert found.entries[0].faults == ("picked on test",)
    assert found.entries[0].cells["closed_accuracy"].faults == ("two splits",)
    assert found.entries[0].cells["open_recall"].faults == ()


def test_failed_answers_are_noted_in_the_row() -> None:
    (table,) = tables([result("a-1", n_failed=1)])
    assert table.entries[0].notes == ("1 of 2 answers failed",)


def test_a_section_of_papers_alone_says_that_there_is_no_run() -> None:
    (section,) = board("toy", [], {}, [paper([{"value": "50"}])]).sections
    assert section.about == (NO_RUN,)


def test_an_address_that_is_no_web_page_becomes_no_link() -> None:
    (table,) = tables([], [paper([{"value": "50"}], url="javascript:alert(1)")])
    assert table.entries[0].source == "" and table.entries[0].cells["closed_accuracy"].source == ""
