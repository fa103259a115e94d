"""Groups of runs and figures that are comparable: the same data, scored under the same protocol and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from evalkit.core.types import MetricValue
from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.leaderboard.entries import Entry
from evalkit.runs.schema import LeaderboardResult

FOREIGN_PROTOCOL = "its protocol cannot be computed by evalkit"


class DataKey(NamedTuple):
    """The fields that two results must share to be in one table."""

    task: str
    split: str
    data_sha256: str
    closed_rule: str

    @classmethod
    def of(cls, result: LeaderboardResult) -> DataKey:
        """The key of a result."""
        return cls(result.task, result.split, result.data_sha256, result.closed_rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """A run's result and those of its metrics that belong to one group."""

    result: LeaderboardResult
    metrics: tuple[MetricValue, ...]


@dataclass(slots=True, kw_only=True)
class ComparableGroup:
    """Runs, and rows of papers, under one protocol with the same settings on the same rows; filled step by step.

    recipe: the settings of the protocol; empty for papers alone.  sizes: column -> number of rows.
    """

    split: str
    protocol: str
    recipe: str
    runs: list[RunMetrics] = field(default_factory=list)
    papers: list[Entry] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def accepts(self, entry: Entry) -> bool:
        """Whether no column of a paper's entry has another number of rows here."""
        return all(self.sizes.get(c, cell.n) == cell.n for c, cell in entry.cells.items())

    def add_paper(self, entry: Entry) -> None:
        """Add a paper's entry."""
        self.papers.append(entry)
        for name, cell in entry.cells.items():
            assert cell.n is not None
            self.sizes.setdefault(name, cell.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataGroup:
    """The results over the same data: a heading, remarks about the data, and the comparable groups."""

    heading: str
    about: tuple[str, ...]
    groups: tuple[ComparableGroup, ...]


def data_groups(results: Sequence[LeaderboardResult]) -> list[DataGroup]:
    """The results by the data that they are over."""
    found: dict[DataKey, list[LeaderboardResult]] = {}
    for result in sorted(results, key=lambda r: (r.model, r.run_id)):
        found.setdefault(DataKey.of(result), []).append(result)
    return [_data_group(found[key]) for key in sorted(found)]


def _data_group(results: Sequence[LeaderboardResult]) -> DataGroup:
    first = results[0]
    notes = sorted({text for result in results for text in result.notes})
    return DataGroup(
        heading=f"{first.split}, {first.n} samples, closed by {first.closed_rule}",
        about=(f"Data sha256 {first.data_sha256[:16]}, {first.n_images} images.", *notes),
        groups=_comparable_groups(results),
    )


def _comparable_groups(results: Sequence[LeaderboardResult]) -> tuple[ComparableGroup, ...]:
    """The groups of results over the same data, in the order in which the results name the protocols."""
    groups: dict[tuple[str, str], ComparableGroup] = {}
    order = list(dict.fromkeys(m.protocol for r in results for m in r.metrics))
    for result in results:
        by_recipe: dict[tuple[str, str], list[MetricValue]] = {}
        for metric in result.metrics:
            assert metric.signature is not None
            by_recipe.setdefault((metric.protocol, metric.signature.recipe), []).append(metric)
        for (protocol, recipe), metrics in by_recipe.items():
            group = groups.setdefault(
                (protocol, recipe), ComparableGroup(split=result.split, protocol=protocol, recipe=recipe)
            )
            group.runs.append(RunMetrics(result=result, metrics=tuple(metrics)))
            group.sizes |= {m.metric: m.n for m in metrics}
    return tuple(groups[key] for key in sorted(groups, key=lambda k: (order.index(k[0]), k[1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """Figures of one row of a paper that share split, protocol and regime."""

    table: PublishedTable
    system: System
    figures: tuple[Figure, ...]


def paper_rows(task: str, published: Sequence[PublishedTable]) -> Iterable[PaperRow]:
    """The rows of a task in every paper, divided by split, protocol, regime and whether n is stated."""
    for table in published:
        for system in table.systems:
            divided: dict[tuple[str, str, str, bool], list[Figure]] = {}
            for figure in system.figures:
                if figure.task == task:
                    key = (figure.split, figure.protocol, figure.regime, figure.n is None)
                    divided.setdefault(key, []).append(figure)
            for figures in divided.values():
                yield PaperRow(table=table, system=system, figures=tuple(figures))


def why_not_comparable(row: PaperRow) -> str:
    """Reason why a paper's figures are comparable with nothing here; empty where they are."""
    figure = row.figures[0]
    if figure.protocol in row.table.foreign:
        return f"{FOREIGN_PROTOCOL} ({row.table.name})"
    if figure.split == "unknown":
        return "the split is not known"
    return "the paper does not state the number of rows" if figure.n is None else ""
