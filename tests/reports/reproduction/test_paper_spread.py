"""A published figure is judged against re-decoding too: the draws of a run, and runs under other seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evalkit.published import Figure, load_published
from evalkit.reports.reproduction import ReproducedCell, compare_paper
from evalkit.runs.schema import Summary
from tests.support.paper_inputs import metric, summary

TABLE = load_published("llava-med-vqa")
SYSTEM = TABLE.systems[0]
FIGURE = next(f for f in SYSTEM.figures if f.metric == "closed_accuracy" and f.k is not None)
MIDDLE = FIGURE.fraction


def run(fraction: float, figure: Figure = FIGURE, **changes: Any) -> Summary:
    n = (figure.n or 0) * changes.pop("draws", 1)
    value = metric(figure, fraction, n=n, low=fraction - 0.001, high=fraction + 0.001)
    return summary(SYSTEM.id, changes.pop("task", figure.task), figure.split, [value], **changes)


def drawn(fraction: float, draws: list[float]) -> Summary:
    entry = {"protocol": FIGURE.protocol, "metric": FIGURE.metric, "draws": draws, "sd": 0.0, "variance": {}}
    return run(
        fraction,
        draws=len(draws),
        task=f"{FIGURE.task}[n={len(draws)}]",
        generation=f"sample.t0.7.seed0.max16.n{len(draws)}",
        sanity_checks={"draws": {"n": len(draws), "metrics": [entry]}},
    )


def cells(*runs: Summary) -> list[ReproducedCell]:
    found = compare_paper(TABLE, runs)
    return [c for c in found if c.system == SYSTEM and c.figure == FIGURE]


@pytest.mark.parametrize(
    ("draws", "verdict"),
    [
        ([MIDDLE + 0.01, MIDDLE + 0.03], "deviates"),
        ([MIDDLE - 0.02, MIDDLE + 0.01, MIDDLE + 0.06], "no difference shown"),
        ([MIDDLE - 0.02, MIDDLE - 0.01], "deviates"),
    ],
)
def test_a_figure_among_the_draws_of_a_run_is_within(draws: list[float], verdict: str) -> None:
    (cell,) = cells(drawn(sum(draws) / len(draws), draws))
    assert cell.verdict == verdict
    assert f"{len(draws)} draws" in cell.why
    assert FIGURE.prints(min(draws)) in cell.why and FIGURE.prints(max(draws)) in cell.why


def test_runs_that_differ_in_the_seed_alone_are_one_spread() -> None:
    shifts = (0.02, -0.01, 0.03)
    runs = [run(MIDDLE + s, generation=f"sample.t0.2.seed{k}.max64") for k, s in enumerate(shifts)]
    runs = [replace(r, run_id=f"run-{k}") for k, r in enumerate(runs)]
    found = cells(*runs)
    assert [c.verdict for c in found] == ["no difference shown"] * 3
    assert all("3 seeds" in c.why for c in found)
    # Another temperature, other rows or no seed are no spread of this one.
    others = [
        run(MIDDLE + 0.02, generation="sample.t0.2.seed0.max64"),
        run(MIDDLE - 0.02, generation="sample.t0.9.seed1.max64"),
        run(MIDDLE - 0.02, generation="sample.t0.2.seed1.max64", prompt="other"),
        run(MIDDLE - 0.02, generation="greedy.max64"),
    ]
    assert all(c.verdict == "deviates" and "re-decoding" not in c.why for c in cells(*others))


def test_a_spread_does_not_excuse_where_only_the_count_is_accepted() -> None:
    found = compare_paper(TABLE, [drawn(MIDDLE, [MIDDLE - 0.1, MIDDLE + 0.1, MIDDLE + 0.02])], accept="exact")
    assert [c.verdict for c in found if c.system == SYSTEM and c.figure == FIGURE] != ["no difference shown"]
