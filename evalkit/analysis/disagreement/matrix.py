"""The matrix of protocols and kinds of numbers, and why two protocols of a column score answers differently.

One row per protocol, one column per kind of number.  Every sample that two protocols of a column treat differently gets
exactly one cause, so the causes of a pair add up to the samples that differ.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis.disagreement.causes import LABEL, NO_SUCH_ROW, OTHER, UNREAD, UNSCORED, Causes
from evalkit.analysis.disagreement.components import Components, components, difference_interval, influences
from evalkit.analysis.disagreement.features import AnswerFeatures, features_of
from evalkit.core.columns import column_values
from evalkit.core.types import MetricKey, MetricValue, Prediction, Sample, Score
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import ScoreTable
from evalkit.stats import Interval, cluster_codes

if TYPE_CHECKING:
    import numpy as np

# Column -> its metric, the first of these that a protocol has.  All are higher-is-better; a protocol whose metric of
# that name is not has no number for the column.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "closed": ("closed_accuracy", "closed_exact_match"),
    "open accuracy": ("open_accuracy", "open_exact_match"),
    "open recall": ("open_recall",),
    "open F1": ("open_f1",),
    "overall": ("accuracy", "quasi_exact_match", "exact_match"),
    "overall F1": ("f1",),
    "choice": ("choice_accuracy",),
}
EXAMPLES = 3
# Scores that are equal to so many decimals are one score: some authors add 1e-8 to a denominator.
DIGITS = 6
ABSENT = "not a row of the metric"


class Cell(NamedTuple):
    """A place in the matrix."""

    protocol: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two protocols in one column: the number n of samples that they treat differently, by cause.

    examples: for each cause up to three records of sample_id, question, reference, answer, and the scores of both.
    gain: how much higher the second's value is, with the interval clustered by image; None where one has no value.
    """

    column: str
    first: str
    second: str
    n: int
    causes: Mapping[str, int]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]
    gain: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolComparison:
    """The matrix.  alike: groups of protocols that treat every sample of a column alike, by column.

    components: by column, how far the values of protocols that differ lie apart beside the sampling error.
    """

    protocols: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[Cell, MetricValue]
    alike: Mapping[str, tuple[tuple[str, ...], ...]]
    differences: tuple[Difference, ...]
    components: Mapping[str, Components] = field(default_factory=dict)


def compare_protocols(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: Sequence[Score] | ScoreTable,
    values: Sequence[MetricValue],
    protocols: Sequence[ScoringProtocol],
) -> ProtocolComparison:
    """Compare every two protocols of every column on the same answers.

    scores, values: of these samples under these protocols.
    """
    names = tuple(p.name for p in protocols)
    cells = _cells(names, values)
    columns = tuple(c for c in COLUMNS if any((p, c) in cells for p in names))
    explainer = _Explainer(samples, predictions, protocols)
    levels = _levels(ScoreTable.of(scores, samples), cells, len(samples))
    images = cluster_codes(samples, tuple(column_values(samples, "image_id")))
    alike: dict[str, tuple[tuple[str, ...], ...]] = {}
    differences: list[Difference] = []
    parts: dict[str, Components] = {}
    for column in columns:
        groups = _alike([p for p in names if (p, column) in cells], levels, column)
        alike[column] = tuple(tuple(g) for g in groups)
        heads = [cells[Cell(g[0], column)] for g in groups]
        pulls = {h.protocol: influences(_counted(h, levels[Cell(h.protocol, column)]), images) for h in heads}
        found = explainer.differences(column, heads, levels)
        differences += [_with_interval(d, cells, pulls) for d in found]
        if part := components(_readable(heads), pulls):
            parts[column] = part
    return ProtocolComparison(
        protocols=names,
        columns=columns,
        cells=cells,
        alike=alike,
        differences=tuple(differences),
        components=parts,
    )


def _readable(values: Iterable[MetricValue]) -> dict[str, float]:
    """Protocol -> value, without protocols that could read fewer than half of their samples."""
    return {v.protocol: v.value for v in values if v.value is not None and 2 * v.n_unscored <= v.n}


def _counted(value: MetricValue, levels: Sequence[float | None]) -> list[float | None]:
    """The levels that make up a value: an unscored sample is None, or 0 where the protocol counts it as wrong."""
    as_wrong = value.n_unscored and value.value == value.value_worst_case
    return [(0.0 if as_wrong else None) if level == UNSCORED else level for level in levels]


def _with_interval(
    d: Difference, cells: Mapping[Cell, MetricValue], pulls: Mapping[str, np.ndarray[Any, Any] | None]
) -> Difference:
    first, second = cells[Cell(d.first, d.column)].value, cells[Cell(d.second, d.column)].value
    if first is None or second is None:
        return d
    gain = second - first
    return replace(d, gain=gain, interval=difference_interval(pulls[d.first], pulls[d.second], gain))


def _cells(protocols: Sequence[str], values: Sequence[MetricValue]) -> dict[Cell, MetricValue]:
    overall = {v.key: v for v in values if v.slice == "all" and v.higher_is_better is not False}
    cells: dict[Cell, MetricValue] = {}
    for protocol in protocols:
        for column, metrics in COLUMNS.items():
            keys = (MetricKey(protocol, m) for m in metrics)
            value = next((overall[k] for k in keys if k in overall), None)
            if value is not None and value.n:
                cells[Cell(protocol, column)] = value
    return cells


# The level of each sample in a cell: its score, UNSCORED, or None where the metric does not cover it.
Levels = Mapping[Cell, Sequence[float | None]]


def _levels(scores: ScoreTable, cells: Mapping[Cell, MetricValue], n: int) -> dict[Cell, list[float | None]]:
    """The levels of every cell, one a sample, rounded so that equal scores are equal."""
    found: dict[Cell, list[float | None]] = {cell: [None] * n for cell in cells}
    for cell, value in cells.items():
        column = scores.metrics.get(value.key)
        if column is not None:
            for place, level in zip(column.places.tolist(), column.values.tolist(), strict=True):
                found[cell][place] = UNSCORED if level != level else round(level, DIGITS)
    return found


def _alike(protocols: Sequence[str], levels: Levels, column: str) -> list[list[str]]:
    groups: dict[tuple[float | None, ...], list[str]] = {}
    for protocol in protocols:
        groups.setdefault(tuple(levels[Cell(protocol, column)]), []).append(protocol)
    return list(groups.values())


class _SampleGroup(NamedTuple):
    """Everything that decides a cause; samples that share it are explained once.

    levels: of each compared protocol.
    """

    answer: AnswerFeatures
    levels: tuple[float | None, ...]


class _Explainer:
    """Finds the differences of protocols in a column and their causes."""

    def __init__(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], protocols: Sequence[ScoringProtocol]
    ) -> None:
        self.samples, self.predictions = samples, predictions
        self.protocols = {p.name: p for p in protocols}
        self.causes = Causes(protocols)
        self.features: dict[int, AnswerFeatures] = {}

    def differences(self, column: str, heads: Sequence[MetricValue], levels: Levels) -> list[Difference]:
        """One difference for every two heads: the column's protocols, one of each group that treats samples alike."""
        if len(heads) < 2:
            return []
        groups: dict[_SampleGroup, list[int]] = defaultdict(list)
        for k, values in enumerate(zip(*(levels[Cell(h.protocol, column)] for h in heads), strict=True)):
            if any(v != values[0] for v in values[1:]):
                if k not in self.features:
                    self.features[k] = features_of(self.samples[k], self.predictions[k].text or "")
                groups[_SampleGroup(self.features[k], values)].append(k)
        return [self._difference(column, heads, a, b, groups) for a, b in combinations(range(len(heads)), 2)]

    def _difference(
        self,
        column: str,
        heads: Sequence[MetricValue],
        a: int,
        b: int,
        groups: Mapping[_SampleGroup, Sequence[int]],
    ) -> Difference:
        counts: Counter[str] = Counter()
        examples: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for (answer, values), members in groups.items():
            if values[a] == values[b]:
                continue
            cause = self._cause(answer, heads[a], heads[b], values[a], values[b], members[0])
            counts[cause] += len(members)
            for k in members[: EXAMPLES - len(examples[cause])]:
                examples[cause].append(self._example(k, values[a], values[b]))
        return Difference(
            column=column,
            first=heads[a].protocol,
            second=heads[b].protocol,
            n=counts.total(),
            causes=dict(counts.most_common()),
            examples=examples,
        )

    def _cause(
        self,
        answer: AnswerFeatures,
        first: MetricValue,
        second: MetricValue,
        one: float | None,
        two: float | None,
        place: int,
    ) -> str:
        """The cause of two different levels of the sample at `place`."""
        if one is None or two is None:
            missing = self.protocols[(first if one is None else second).protocol]
            return NO_SUCH_ROW if missing.is_closed(self.samples[place]) is None else LABEL
        cause = self.causes.cause(answer, first.key, second.key, one > two)
        return UNREAD if cause == OTHER and UNSCORED in (one, two) else cause

    def _example(self, k: int, one: float | None, two: float | None) -> Mapping[str, Any]:
        sample = self.samples[k]
        return {
            "sample_id": sample.id,
            "question": sample.question,
            "reference": sample.references[0],
            "answer": self.predictions[k].text,
            "first": _shown_level(one),
            "second": _shown_level(two),
        }


def _shown_level(level: float | None) -> float | str:
    """A level as a score, or in words where there is none."""
    return ABSENT if level is None else "unscored" if level == UNSCORED else level


class Spread(NamedTuple):
    """The lowest and the highest value of a column."""

    lowest: MetricValue
    highest: MetricValue


def spread(comparison: ProtocolComparison, column: str) -> Spread | None:
    """The spread of a column over protocols; None when fewer than two have a value.

    A protocol that could read fewer than half of its samples is left out: its value is about too few of them.
    """
    cells = [v for cell, v in comparison.cells.items() if cell.column == column]
    readable = _readable(cells)
    found = [v for v in cells if v.protocol in readable]
    if len(found) < 2:
        return None
    by_value = sorted(found, key=lambda v: (v.value or 0.0, v.protocol))
    return Spread(by_value[0], by_value[-1])
