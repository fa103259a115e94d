"""Ranking within a table: ties with the best run, and the smallest difference that the rows could show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.analysis.paired import ASSUMED_DISCORDANCE
from evalkit.core.types import MetricKey, worst_score
from evalkit.published.table import COUNTED
from evalkit.reports.leaderboard.entries import Cell, Entry
from evalkit.reports.leaderboard.stored_scores import AlignedRuns, align
from evalkit.stats import (
    design_effect,
    exact_sum,
    paired_minimum_detectable_effect,
    rank_models,
    unpaired_minimum_detectable_effect,
)

# The metrics that are ranked and shown first: means of scores in [0, 1].
HEADLINES = (
    "closed_accuracy",
    "open_recall",
    "exact_match",
    "accuracy",
    "mean_iou",
    "judged_accuracy",
    "choice_accuracy",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run's place in a column, among the runs of a table whose answers' scores are stored.

    low, high: interval of the rank; those of a column hold together with 95 %.  tied: no run is significantly better.
    best: significantly better than all others.
    """

    low: int
    high: int
    tied: bool
    best: bool

    @property
    def text(self) -> str:
        """The interval of the rank: 1, or 1–3."""
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def column_direction(column: str, entries: Iterable[Entry]) -> bool | None:
    """Whether higher is better in a column; None where it is not known or the entries disagree.

    The runs decide where there are any: papers do not state directions.
    """
    cells = [(entry.kind, entry.cells[column].number.higher_is_better) for entry in entries if column in entry.cells]
    of_runs = {direction for kind, direction in cells if kind != "paper"}
    found = of_runs or {direction for _, direction in cells}
    return found.pop() if len(found) == 1 else None


def sort_value(cell: Cell | None, higher_is_better: bool) -> float:
    """The value that entries are sorted by, ascending: best first, missing values last."""
    if cell is None or cell.order is None:
        return math.inf
    return -cell.order if higher_is_better else cell.order


def ranked_runs(key: MetricKey, entries: Sequence[Entry]) -> list[Entry]:
    """The runs that can be ranked by a metric: those with stored scores."""
    return [e for e in entries if e.kind == "run" and key.metric in e.cells and e.scores and e.scores.covers(key)]


def places(key: MetricKey, entries: Sequence[Entry]) -> dict[str, Place]:
    """Entry id -> place, by paired comparison of the scores of the same answers.

    Empty for fewer than two runs, for a metric that is not ranked, and for one without a direction.  Unscored rows
    count as the worst score.

    Raises:
        DataError: the stored scores of two runs cover different rows.
    """
    higher_is_better = column_direction(key.metric, entries)
    runs = ranked_runs(key, entries)
    if key.metric not in HEADLINES or higher_is_better is None or len(runs) < 2:
        return {}
    scores = _aligned_scores(key, runs)
    ranks = rank_models(scores.values, scores.clusters, higher_is_better=higher_is_better, resamples=0)
    return {rank.name: Place(low=rank.low, high=rank.high, tied=rank.tied, best=rank.high == 1) for rank in ranks}


def _aligned_scores(key: MetricKey, entries: Sequence[Entry]) -> AlignedRuns:
    """The scores by entry id, in the first entry's order of rows."""
    return align(key, {entry.id: entry.scores for entry in entries if entry.scores is not None})


def detectable_effect(key: MetricKey, entries: Sequence[Entry]) -> str:
    """The smallest true difference that a column can show, in words; empty where it is not known."""
    column = key.metric
    higher_is_better = column_direction(column, entries)
    cells = [(e, e.cells[column]) for e in entries if column in e.cells and e.kind in ("run", "paper")]
    known = [(e, cell) for e, cell in cells if cell.n and cell.order is not None]
    if column not in HEADLINES or higher_is_better is None or not known:
        return ""
    best, cell = min(known, key=lambda pair: sort_value(pair[1], higher_is_better))
    n, share = cell.n or 1, cell.order or 0.0
    texts = []
    if any(e.kind == "run" for e, _ in cells):
        texts.append(_paired_effect(key, ranked_runs(key, entries), n, higher_is_better))
    independent = not any(e.dependent for e, _ in cells)
    if independent and (any(e.kind == "paper" for e, _ in cells) or not texts):
        texts.append(_unpaired_effect(key, best, n, share))
    return f"{column}, {n} rows: {'; '.join(texts)}" if texts else ""


def _paired_effect(key: MetricKey, runs: Sequence[Entry], n: int, higher_is_better: bool) -> str:
    if len(runs) > 1:
        scores = _aligned_scores(key, runs)
        sign = -1.0 if higher_is_better else 1.0
        totals = {name: exact_sum(values) for name, values in scores.values.items()}
        best, next_best, *_ = sorted(totals, key=lambda name: (sign * totals[name], name))
        deltas = (scores.values[next_best] - scores.values[best]).tolist()
        squares = math.fsum(d * d for d in deltas) / len(deltas)
        if squares:
            effect = design_effect(deltas, scores.clusters) or 1.0
            points = 100 * paired_minimum_detectable_effect(len(deltas), squares, design_effect=effect)
            changed = 100 * sum(map(bool, deltas)) / len(deltas)
            return f"{points:.1f} points, two runs, paired, as the first two differ on {changed:.1f} % of the rows"
    points = 100 * paired_minimum_detectable_effect(n, ASSUMED_DISCORDANCE)
    return f"{points:.1f} points, two runs, paired, where they differ on {100 * ASSUMED_DISCORDANCE:.0f} % of the rows"


def _unpaired_effect(key: MetricKey, best: Entry, n: int, share: float) -> str:
    effect, basis = 1.0, "rows taken as independent"
    if ranked_runs(key, [best]):
        scores = _aligned_scores(key, [best])
        if found := design_effect(scores.values[best.id].tolist(), scores.clusters):
            effect, basis = found, f"design effect {found:.2f} of the best row"
    points = 100 * unpaired_minimum_detectable_effect(n, share, design_effect=effect)
    # A mean of scores in [0, 1] varies at most as much as a share of hits.
    bound = "" if key.metric in COUNTED else "up to "
    return f"{bound}{points:.1f} points, a figure of a paper against another row, unpaired, {basis}"


def is_best_of_all(column: str, entry: Entry, entries: Sequence[Entry], found: Mapping[str, Place]) -> bool:
    """Whether a run is printed bold: best among the runs, and better than every row that was not tested against it.

    Rows of papers, and runs without stored scores, are outside of the test.
    """
    place = found.get(entry.id)
    value = entry.cells[column].order if column in entry.cells else None
    if place is None or not place.best or value is None:
        return False
    higher_is_better = column_direction(column, entries)
    if higher_is_better is None:
        return False
    worst = worst_score(higher_is_better)
    untested = [e.cells[column].order for e in entries if e.id not in found and column in e.cells]
    others = [worst if other is None else other for other in untested]
    return all(value > other if higher_is_better else value < other for other in others)
