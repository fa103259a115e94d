"""Tables of a task: which rows are in one table, in which order, and which are not ranked.

Runs share a table when they are over the same data, scored under the same protocol with the same settings.  A paper's
row joins them when split, protocol and every n agree; more cannot be checked.  Regimes never share a table.  Rows that
are not comparable are listed with the reason, in no order of merit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from evalkit.analysis.run_scores import RunScores
from evalkit.analysis.sanity_checks.lift import CHANCE, LETTER
from evalkit.core.types import MetricKey
from evalkit.published import Figure, PublishedTable
from evalkit.reports.leaderboard.entries import (
    Entry,
    baseline_entries,
    baseline_metrics,
    paper_entry,
    run_entry,
    web_address,
)
from evalkit.reports.leaderboard.exposure import RANKED_REGIMES
from evalkit.reports.leaderboard.footnotes import how_to_read, order_notes
from evalkit.reports.leaderboard.groups import (
    FOREIGN_PROTOCOL,
    ComparableGroup,
    data_groups,
    paper_rows,
    why_not_comparable,
)
from evalkit.reports.leaderboard.ranking import (
    HEADLINES,
    Place,
    column_direction,
    detectable_effect,
    places,
    sort_value,
)
from evalkit.reports.leaderboard.stored_scores import Pool, StoredScores
from evalkit.runs.schema import LeaderboardResult

# Image-blind baselines that every table should have.
BASELINES = ("lookup", "majority")
# Those of multiple choice, which only tables with such rows have.
CHOICE_BASELINES = (CHANCE, LETTER)
UNKNOWN_REGIME = "the training data of the model is not known"
PAPERS_ONLY = "figures of papers"
NO_RUN = "No run among the results covers as many rows under the same protocol."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that are comparable, or, with a `reason`, rows that are not.

    recipe: the settings of the protocol.  columns: the first one orders the rows.  higher_is_better: column ->
    direction, None where it is not known.  places: column -> entry id -> place among the runs whose answers' scores
    are stored.  effect: the minimum detectable effect, in words.  notes: the other footnotes.
    """

    protocol: str
    recipe: str
    heading: str
    reason: str
    columns: tuple[str, ...]
    higher_is_better: Mapping[str, bool | None]
    entries: tuple[Entry, ...]
    places: Mapping[str, Mapping[str, Place]]
    effect: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The tables over the same data, with a heading and remarks about the data."""

    heading: str
    about: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperNotes:
    """A paper whose figures are in the tables, and the caveats that hold for all of them."""

    name: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The leaderboard of a task."""

    task: str
    sections: tuple[Section, ...]
    papers: tuple[PaperNotes, ...]


class _NotComparable(NamedTuple):
    """The split, the protocol and the reason of rows of papers that are comparable with nothing."""

    split: str
    protocol: str
    reason: str


def board(
    task: str,
    results: Sequence[LeaderboardResult],
    scores: Mapping[str, RunScores | StoredScores],
    published: Sequence[PublishedTable],
) -> Board:
    """The leaderboard of a task.

    Args:
        results: of this task.
        scores: run id -> scores of its answers, where they are stored.
    """
    pool: Pool = {}
    stored = {r.run_id: StoredScores.of(scores[r.run_id], pool) for r in results if r.run_id in scores}
    papers = [t for t in sorted(published, key=lambda t: t.name) if any(_figures(task, t))]
    return Board(
        task=task,
        sections=tuple(_sections(task, results, stored, papers)),
        papers=tuple(_paper_notes(task, table) for table in papers),
    )


def _figures(task: str, table: PublishedTable) -> Iterable[Figure]:
    return (f for s in table.systems for f in s.figures if f.task == task)


def _paper_notes(task: str, table: PublishedTable) -> PaperNotes:
    trains = dict.fromkeys(f.train for f in _figures(task, table) if f.train)
    return PaperNotes(
        name=f"{table.paper}, {table.version}",
        source=web_address(table.url),
        notes=(*table.notes, *(f"{train}: {table.trains[train]}" for train in trains)),
    )


def _sections(
    task: str,
    results: Sequence[LeaderboardResult],
    scores: Mapping[str, StoredScores],
    published: Sequence[PublishedTable],
) -> list[Section]:
    """First the tables with runs, then the figures that only papers have."""
    data = data_groups(results)
    papers_alone: list[ComparableGroup] = []
    outside: dict[_NotComparable, list[Entry]] = {}
    for row in paper_rows(task, published):
        entry, figure = paper_entry(row.table, row.system, row.figures), row.figures[0]
        if reason := why_not_comparable(row):
            regime = RANKED_REGIMES.get(entry.regime, UNKNOWN_REGIME)
            entry = replace(entry, details=(regime, *entry.details))
            outside.setdefault(_NotComparable(figure.split, figure.protocol, reason), []).append(entry)
            continue
        with_runs = [group for found in data for group in found.groups]
        group = _group_for(entry, figure, [*with_runs, *papers_alone])
        if group is None:
            group = ComparableGroup(split=figure.split, protocol=figure.protocol, recipe="")
            papers_alone.append(group)
        group.add_paper(entry)
    found = [
        Section(
            heading=d.heading,
            about=d.about,
            tables=_baselines_last([t for group in d.groups for t in _group_tables(group, scores)]),
        )
        for d in data
    ]
    splits = sorted({g.split for g in papers_alone} | {key.split for key in outside})
    by_name = {t.name: t for t in published}
    return found + [_papers_section(split, papers_alone, outside, by_name) for split in splits]


def _group_for(entry: Entry, figure: Figure, groups: Iterable[ComparableGroup]) -> ComparableGroup | None:
    """The group that a paper's entry joins; None where no group has its split, protocol and numbers of rows."""
    wanted = (figure.split, figure.protocol)
    return next((g for g in groups if (g.split, g.protocol) == wanted and g.accepts(entry)), None)


def _baselines_last(tables: Sequence[Table]) -> tuple[Table, ...]:
    """The tables in order, those with nothing but baselines last."""
    return tuple(sorted(tables, key=lambda t: all(entry.kind == "baseline" for entry in t.entries)))


def _papers_section(
    split: str,
    papers_alone: Sequence[ComparableGroup],
    outside: Mapping[_NotComparable, Sequence[Entry]],
    by_name: Mapping[str, PublishedTable],
) -> Section:
    tables = [t for group in papers_alone if group.split == split for t in _group_tables(group, {})]
    for key in sorted(outside):
        if key.split == split:
            entries = outside[key]
            foreign = by_name[entries[0].id.partition(":")[0]].foreign
            explained = key.protocol in foreign and key.reason.startswith(FOREIGN_PROTOCOL)
            notes = [f"{key.protocol}: {foreign[key.protocol]}"] if explained else []
            group = ComparableGroup(split=split, protocol=key.protocol, recipe="")
            tables.append(_table(group, entries, reason=key.reason, notes=notes))
    return Section(heading=f"{split}, {PAPERS_ONLY}", about=(NO_RUN,), tables=tuple(tables))


def _group_tables(group: ComparableGroup, scores: Mapping[str, StoredScores]) -> list[Table]:
    """A group's tables, one for each regime; the image-blind baselines are in each of them."""
    runs = [run_entry(r.result, r.metrics, scores.get(r.result.run_id)) for r in group.runs]
    entries = runs + group.papers
    baselines = [entry for entry in entries if entry.kind == "baseline"]
    absent = {*BASELINES, *CHOICE_BASELINES} - {entry.name for entry in baselines}
    source = next((r.result for r in group.runs if baseline_metrics(r.result)), None)
    if source is not None and absent:
        baselines += baseline_entries(source, group.protocol, absent)
    notes = _absent_note(group, baselines)
    tables = []
    for regime in (*RANKED_REGIMES, "unknown"):
        if members := [entry for entry in entries if entry.kind != "baseline" and entry.regime == regime]:
            reason = "" if regime in RANKED_REGIMES else UNKNOWN_REGIME
            heading = RANKED_REGIMES.get(regime, "")
            tables.append(_table(group, [*members, *baselines], heading=heading, reason=reason, notes=notes))
    if not tables and baselines:
        tables.append(_table(group, baselines, heading="image-blind baselines only", notes=notes))
    return tables


def _absent_note(group: ComparableGroup, baselines: Sequence[Entry]) -> list[str]:
    """A note on the baselines and controls that the results lack."""
    names = {entry.name for entry in baselines}
    missing = [name for name in BASELINES if name not in names]
    if not any(r.result.image == "blank" for r in group.runs):
        missing.append("a model on blank images")
    return [f"Not among the results on these rows: {', '.join(missing)}."] if missing else []


def _table(
    group: ComparableGroup,
    entries: Sequence[Entry],
    *,
    heading: str = "",
    reason: str = "",
    notes: Sequence[str] = (),
) -> Table:
    columns = list(dict.fromkeys(name for entry in entries for name in entry.cells))
    columns.sort(key=lambda name: (HEADLINES.index(name) if name in HEADLINES else len(HEADLINES), ", " in name))
    directions = {name: column_direction(name, entries) for name in columns}
    keys = [MetricKey(group.protocol, name) for name in columns] if not reason else []
    with ThreadPoolExecutor(2) as pool:  # sorting thousands of resamples leaves the interpreter free
        placed = pool.map(partial(places, entries=entries), keys)
        found = {key.metric: by_entry for key, by_entry in zip(keys, placed, strict=True)}
    effects = [text for key in keys if (text := detectable_effect(key, entries))]
    order = [] if reason else order_notes(columns[0], directions[columns[0]])
    return Table(
        protocol=group.protocol,
        recipe=group.recipe,
        heading=heading,
        reason=reason,
        columns=tuple(columns),
        higher_is_better=directions,
        entries=tuple(_by_name(entries) if reason else _best_first(entries, columns[0], directions[columns[0]])),
        places={name: by_entry for name, by_entry in found.items() if by_entry},
        effect=f"Minimum detectable effect (power 80 %, two-sided 5 %): {'. '.join(effects)}." if effects else "",
        notes=tuple(dict.fromkeys([*how_to_read(entries, found, reason), *order, *notes])),
    )


def _best_first(entries: Sequence[Entry], column: str, higher_is_better: bool | None) -> list[Entry]:
    """The entries by a column, best first; by name where the column has no direction."""
    if higher_is_better is None:
        return _by_name(entries)
    return sorted(entries, key=lambda e: (sort_value(e.cells.get(column), higher_is_better), e.name, e.id))


def _by_name(entries: Sequence[Entry]) -> list[Entry]:
    """The entries by name, which is no order of merit."""
    return sorted(entries, key=lambda e: (e.name, e.id))
