"""The results of `compare` and `gate` as tables of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.analysis.adjusted import AdjustedP
from evalkit.analysis.compare import RunComparison, p_values
from evalkit.analysis.paired import Paired
from evalkit.analysis.run_scores import RunScores, clusters_in_words
from evalkit.core.format import interval, percent, shown_metric
from evalkit.reports.sheet import Cell, Row, Sheet

COMPARED = (
    "model", "run_id", "reference_model", "reference_run_id", "task", "split", "metric", "higher_is_better",
    "reference", "value", "reference_worst_case", "value_worst_case", "difference", "low", "high", "p_holm", "n",
    "n_clusters", "n_worse", "n_better",
)  # fmt: skip
GATED = (
    "task", "split", "metric", "verdict", "baseline", "candidate", "difference", "low", "high", "margin", "n_worse",
    "n_better", "n", "n_images", "smallest_margin",
)  # fmt: skip
# A difference with a p value below it is bold.
ALPHA = 0.05


def comparison_sheet(results: Sequence[RunComparison], first: RunScores) -> Sheet:
    """The paired differences of runs from the first one: a row a run and metric, significant ones bold."""
    rows: list[Row | None] = []
    records: list[Mapping[str, object]] = []
    for result, adjusted in zip(results, p_values(first, results), strict=True):
        rows += [None] if rows else []
        for p, q in zip(result.pairs, adjusted, strict=True):
            rows.append(_compared_row(result.run, p, q))
            records.append(_compared_record(first, result.run, p, q))
    header = first.header
    return Sheet(
        header=("Model", "Metric", header.model, "Model's value", "Difference", "p", "Worse", "Better", "n"),
        rows=tuple(rows),
        caption=f"Paired differences from {header.model} ({header.run_id}) on {header.task} ({header.split}).",
        label=f"tab:differences-{header.task}",
        notes=_compared_notes(results, first),
        columns=COMPARED,
        records=tuple(records),
    )


def _compared_row(run: RunScores, p: Paired, q: AdjustedP) -> Row:
    one, two = p.table_values
    name = f"{shown_metric(str(p.key))}{p.direction}"
    difference = Cell(
        text=percent(p.difference, signed=True),
        small=interval(p.interval.low, p.interval.high, signed=True),
        is_bold=q.value < ALPHA,
    )
    ends = (q.text.removeprefix("="), str(p.n_worse), str(p.n_better), str(p.n))
    starts = (run.header.model, name, percent(one), percent(two))
    return (*(Cell(text=t) for t in starts), difference, *(Cell(text=t) for t in ends))


def _compared_record(first: RunScores, run: RunScores, p: Paired, q: AdjustedP) -> dict[str, object]:
    one, two = p.table_values
    values = (
        run.header.model, run.header.run_id, first.header.model, first.header.run_id, first.header.task,
        first.header.split, str(p.key), p.higher_is_better, one, two, p.first, p.second, p.difference, p.interval.low,
        p.interval.high, q.value, p.n, p.n_clusters, p.n_worse, p.n_better,
    )  # fmt: skip
    return dict(zip(COMPARED, values, strict=True))


def _compared_notes(results: Sequence[RunComparison], first: RunScores) -> tuple[str, ...]:
    notes = [
        f"Percent, with the 95 % interval of the difference, clustered by {first.cluster}; p by sign flips of whole "
        f"clusters, Holm over all runs and metrics that are shown; bold: p < {ALPHA:g}.",
    ]
    if any(p.worst_case_differs for r in results for p in r.pairs):
        notes.append("Unscored rows count as the worst score in the differences, and may be left out of the values.")
    images = {run.header.image for run in (first, *(r.run for r in results))}
    if images != {"original"}:
        shown = "; ".join(f"{r.header.model}: {r.header.image}" for r in (first, *(c.run for c in results)))
        notes.append(f"Images: {shown}.")
    return tuple(notes)


def gate_sheet(content: Mapping[str, Any]) -> Sheet:
    """The verdicts of a gate (the content of gate.json): a row a task and metric."""
    comparisons = content["comparisons"]
    rows, records = [], []
    for c in comparisons:
        for m in c["metrics"]:
            rows.append(_gated_row(c, m))
            shown = {**m, "task": c["task"], "split": c["split"]}
            records.append({name: shown[name] for name in GATED})
    names = dict.fromkeys(f"{c['candidate']['model']} against {c['baseline']['model']}" for c in comparisons)
    clusters = " and ".join(dict.fromkeys(clusters_in_words(c["cluster"]) for c in comparisons))
    level = percent(content["interval_level"], 0)
    notes = [
        f"Percent, with the {level} % interval of the difference, over {clusters}; unscored rows as the worst score."
    ]
    if content["exact"]:
        changed = "; ".join(f"{c['n_moved']} of {c['n']} on {c['task']}" for c in comparisons)
        notes.append(f"The verdict is about equal texts (exact=true); answers that differ: {changed}.")
    return Sheet(
        header=("Task", "Metric", "Verdict", "Baseline", "Candidate", "Difference", "Margin", "Worse", "Better", "n"),
        rows=tuple(rows),
        caption=f"Gate, {content['verdict']}: {'; '.join(names)}.",
        label="tab:gate",
        notes=tuple(notes),
        columns=GATED,
        records=tuple(records),
    )


def _gated_row(c: Mapping[str, Any], m: Mapping[str, Any]) -> Row:
    name = shown_metric(m["metric"]) + ("" if m["higher_is_better"] else ", lower is better")
    starts = (f"{c['task']} ({c['split']})", name, m["verdict"], percent(m["baseline"]), percent(m["candidate"]))
    difference = Cell(text=percent(m["difference"], signed=True), small=interval(m["low"], m["high"], signed=True))
    ends = (percent(m["margin"]), str(m["n_worse"]), str(m["n_better"]), str(m["n"]))
    return (*(Cell(text=t) for t in starts), difference, *(Cell(text=t) for t in ends))
