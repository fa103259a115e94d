"""Which rows cannot be told from the best, and how small a difference the rows could show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.analysis.paired import aligned
from evalkit.published.table import COUNTED
from evalkit.reports.leaderboard.entries import HEADLINES, Line
from evalkit.stats import (
    design_effect,
    paired_minimum_detectable_effect,
    rank_models,
    unpaired_minimum_detectable_effect,
)

# The share of answers that change between two models, where no two runs are there to show it.
ASSUMED_DISCORDANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A run's place in a column, among the runs of a table whose answers' scores are stored.

    low, high: 95 % interval of the rank.  tied: cannot be told from the first.  best: is the first, and all others
    can be told from it.
    """

    low: int
    high: int
    tied: bool
    best: bool

    @property
    def places(self) -> str:
        """The interval of the rank: 1, or 1–3."""
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


def metric_key(protocol: str, column: str) -> str:
    """A column's name among stored scores."""
    return f"{protocol} {column}"


def rivals(protocol: str, column: str, lines: Sequence[Line]) -> list[Line]:
    """The runs that can be ranked in a column."""
    key = metric_key(protocol, column)
    return [x for x in lines if x.kind == "run" and column in x.cells and x.scored and x.scored.rows.get(key)]


def standings(protocol: str, column: str, lines: Sequence[Line]) -> dict[str, Standing]:
    """Line id -> place, by paired comparison of the scores of the same answers; empty for fewer than two runs.

    Unscored rows count as wrong.  Raises DataError: stored scores are over other rows.
    """
    if column not in HEADLINES or len(mine := rivals(protocol, column, lines)) < 2:
        return {}
    scores, clusters = _scores(protocol, column, mine)
    found = rank_models(scores, clusters)
    alone = sum(rank.tied for rank in found) == 1
    return {
        rank.name: Standing(low=rank.low, high=rank.high, tied=rank.tied, best=rank.tied and alone) for rank in found
    }


def _scores(protocol: str, column: str, lines: Sequence[Line]) -> tuple[dict[str, list[float]], list[str]]:
    """Line id -> scores in the first line's order of rows, and the rows' images."""
    key = metric_key(protocol, column)
    first = lines[0].scored
    assert first is not None
    scores: dict[str, list[float]] = {}
    clusters: list[str] = []
    for line in lines:
        assert line.scored is not None
        scores[lines[0].id], scores[line.id], clusters = aligned(first, line.scored, key)
    return scores, clusters


def detectable(protocol: str, column: str, lines: Sequence[Line]) -> str:
    """How small a true difference a column can show, in words; "" where it cannot be said."""
    cells = [(line, line.cells[column]) for line in lines if column in line.cells and line.kind in ("run", "paper")]
    known = [(line, cell) for line, cell in cells if cell.n and cell.order is not None]
    if column not in HEADLINES or not known:
        return ""
    best, cell = max(known, key=lambda pair: pair[1].order or 0.0)
    n, p = cell.n or 1, cell.order or 0.0
    mine = rivals(protocol, column, lines)
    said = []
    if any(line.kind == "run" for line, _ in cells):
        said.append(_paired(protocol, column, mine, n))
    if any(line.kind == "paper" for line, _ in cells) or not said:
        effect, how = _of_mean(protocol, column, best)
        points = 100 * unpaired_minimum_detectable_effect(n, p, design_effect=effect)
        # A mean of values in [0, 1] varies at most as much as a share of hits.
        bound = "" if column in COUNTED else "up to "
        said.append(f"{bound}{points:.1f} points, a figure of a paper against another row, unpaired, {how}")
    return f"{column}, {n} rows: {'; '.join(said)}"


def _paired(protocol: str, column: str, mine: Sequence[Line], n: int) -> str:
    if len(mine) > 1:
        scores, clusters = _scores(protocol, column, mine)
        order = sorted(scores, key=lambda name: (-math.fsum(scores[name]), name))
        deltas = [b - a for a, b in zip(scores[order[0]], scores[order[1]], strict=True)]
        squares = math.fsum(d * d for d in deltas) / len(deltas)
        if squares:
            effect = design_effect(deltas, clusters) or 1.0
            points = 100 * paired_minimum_detectable_effect(len(deltas), squares, design_effect=effect)
            changed = sum(map(bool, deltas)) / len(deltas)
            return (
                f"{points:.1f} points, two runs, paired, as the first two differ on {100 * changed:.1f} % of the rows"
            )
    points = 100 * paired_minimum_detectable_effect(n, ASSUMED_DISCORDANCE)
    return f"{points:.1f} points, two runs, paired, where they differ on {100 * ASSUMED_DISCORDANCE:.0f} % of the rows"


def _of_mean(protocol: str, column: str, line: Line) -> tuple[float, str]:
    """The design effect of a row's mean, and how it is known."""
    if line in rivals(protocol, column, [line]):
        assert line.scored is not None
        values, _, clusters = aligned(line.scored, line.scored, metric_key(protocol, column))
        if effect := design_effect(values, clusters):
            return effect, f"design effect {effect:.2f} of the best row"
    return 1.0, "rows taken as independent"


def best_of_all(column: str, line: Line, lines: Sequence[Line], places: Mapping[str, Standing]) -> bool:
    """Whether a run may be printed bold: told from all other runs, and no row that it was not tested against is higher.

    Rows of papers, and runs without stored scores, are outside of the test.
    """
    mine = places.get(line.id)
    if mine is None or not mine.best:
        return False
    others = [x.cells[column].order for x in lines if x.id not in places and column in x.cells]
    own = line.cells[column].order
    return own is not None and all(own > (other or 0.0) for other in others)
