"""The table of a paper: models in rows, data sets and metrics in columns, beside the rows of a published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.analysis.run_folders import find_runs
from evalkit.core.errors import ConfigError, StoreError, did_you_mean
from evalkit.core.format import MISSING, shown_metric
from evalkit.core.types import MetricKey, MetricValue
from evalkit.judge.results import judged_numbers
from evalkit.published import PublishedTable
from evalkit.reports.leaderboard.ranking import HEADLINES
from evalkit.reports.numbers import few_text, interval_text, is_in_percent, value_text
from evalkit.reports.published_rows import published_rows
from evalkit.reports.reproduction.layout import Column, headings
from evalkit.reports.sheet import Cell, Row, Sheet
from evalkit.reports.suite_table import CSV_COLUMNS, Place, SuiteRun, SuiteTable, csv_records, suite_table
from evalkit.runs.schema import Summary
from evalkit.runs.verify import open_run

INTERVALS = ("small", "plus-minus", "none")
# What a note says of runs, each by its field of the summary.
CONDITIONS = {
    "prompt": "prompt",
    "generation": "decoding",
    "image": "images",
    "limit": "first samples",
    "evalkit": "evalkit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """What a table shows.  Empty tasks and metrics: every task, and the headline metrics.

    tasks: names of tasks.  metrics: `PROTOCOL METRIC`, or the metric alone for every protocol that has it.  intervals:
    one of INTERVALS.  digits: after the decimal point of a percentage.
    """

    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    intervals: str = "small"
    digits: int = 2


def read_table_runs(paths: Sequence[Path]) -> list[SuiteRun]:
    """The finished runs that paths name, checked, with the numbers of their judges.

    Raises:
        StoreError: a path is no finished run, or its files were changed.
    """
    found = []
    for folder in find_runs(paths):
        if not folder.is_dir():
            raise StoreError(f"{folder} is a file; a table needs the folders of runs, whose summaries have the values.")
        run = open_run(folder)
        run.check()
        judged = [m for judge in judged_numbers(folder, run.summary) for m in judge.metrics]
        found.append(SuiteRun(summary=replace(run.summary, metrics=(*run.summary.metrics, *judged)), folder=folder))
    return found


def paper_table(runs: Sequence[SuiteRun], settings: TableSettings, published: PublishedTable | None = None) -> Sheet:
    """The table of finished runs, beside a paper's rows.

    Raises:
        ConfigError: no run has a wanted task or metric, or the paper has no figure for any column.
        StoreError: a run's files are damaged.
    """
    runs = _of_tasks(runs, settings.tasks)
    keys = _wanted_keys(runs, settings.metrics)
    sets = _set_names([run.summary for run in runs])
    narrowed = [_narrowed(run, keys, sets) for run in runs]
    kept = [run for run in narrowed if any(m.slice == "all" and m.n for m in run.summary.metrics)]
    left_out = [run.summary.run_id for run in narrowed if run not in kept]
    table = suite_table("table", kept)
    columns = _columns(table, keys)
    own = _own_rows(table, columns, settings)
    paper = None if published is None else published_rows(published, list(columns), _row_counts(table, columns))
    heads = headings(list(columns))
    rows: list[Row | None] = [] if paper is None else [*paper.rows, None]
    records = [{**record, "source": "run"} for record in csv_records(table)] + ([] if paper is None else paper.records)
    return Sheet(
        header=("Model", *heads.values()),
        rows=(*rows, *own),
        caption=_caption(table, columns, published),
        label="tab:results" if published is None else f"tab:results-{published.name}",
        notes=(
            *_how_to_read(table, settings, published),
            *_conditions(table),
            *([f"Left out, without any of these metrics: {', '.join(left_out)}."] if left_out else []),
            *_gaps(table, settings.digits),
            *(paper.notes if paper else ()),
        ),
        columns=(*CSV_COLUMNS, "source"),
        records=tuple(records),
    )


def _of_tasks(runs: Sequence[SuiteRun], tasks: Sequence[str]) -> list[SuiteRun]:
    known = list(dict.fromkeys(run.summary.task for run in runs))
    for task in tasks:
        if task not in known:
            raise ConfigError(f"tasks: no run is on {task!r}. {did_you_mean(task, known)}")
    order = list(dict.fromkeys(tasks)) or known
    return [run for task in order for run in runs if run.summary.task == task]


def _wanted_keys(runs: Sequence[SuiteRun], metrics: Sequence[str]) -> list[MetricKey]:
    """The metrics to show, in the order in which they were given."""
    values = (m for run in runs for m in run.summary.metrics if m.slice == "all" and m.n)
    known = list(dict.fromkeys(m.key for m in values))
    if not known:
        if not runs:
            raise ConfigError("runs= names no run; expected folders of runs.")
        raise ConfigError("The runs have no number over all of their samples, so there is nothing to put into a table.")
    if not metrics:
        return [key for key in known if key.metric in HEADLINES] or known
    found: list[MetricKey] = []
    for name in metrics:
        matching = [key for key in known if name in (str(key), key.metric)]
        if not matching:
            names = [*map(str, known), *(key.metric for key in known)]
            raise ConfigError(f"metrics: no run has {name!r}. {did_you_mean(name, list(dict.fromkeys(names)))}")
        found += matching
    return list(dict.fromkeys(found))


def _set_names(summaries: Sequence[Summary]) -> dict[tuple[str, str], str]:
    """(task, split) -> the name of the column's rows: the task, with the split where the runs have several of it."""
    places = dict.fromkeys((s.task, s.split) for s in summaries)
    return {(t, s): t if sum(other == t for other, _ in places) == 1 else f"{t} {s}" for t, s in places}


def _narrowed(run: SuiteRun, keys: Sequence[MetricKey], sets: Mapping[tuple[str, str], str]) -> SuiteRun:
    """The run with the wanted metrics alone, its task named as the column: splits are columns of their own."""
    s = run.summary
    kept = tuple(m for m in s.metrics if m.key in keys)
    return replace(run, summary=replace(s, task=sets[s.task, s.split], metrics=kept))


def _columns(table: SuiteTable, keys: Sequence[MetricKey]) -> dict[Column, tuple[str, MetricKey]]:
    """The columns that have a value, with the set and the metric of each."""
    found = {}
    for name in table.tasks:
        split = next(s.split for (_, task), s in table.runs.items() if task == name)
        task = name.removesuffix(f" {split}")
        for key in keys:
            if any(Place(key, row, name) in table.values for row in table.rows):
                found[Column(task, split, key.protocol, key.metric, "all")] = (name, key)
    return found


def _own_rows(table: SuiteTable, columns: Mapping[Column, tuple[str, MetricKey]], settings: TableSettings) -> list[Row]:
    rows = []
    for row in table.rows:
        places = [Place(key, row, name) for name, key in columns.values()]
        if any(place in table.values for place in places):
            rows.append((Cell(text=row), *(_cell(table, place, settings) for place in places)))
    return rows


def _cell(table: SuiteTable, place: Place, settings: TableSettings) -> Cell:
    m = table.values.get(place)
    if m is None:
        return Cell(text=MISSING)
    text = value_text(m, m.value, settings.digits)
    mark = "*" if m.n_unscored else ""
    return Cell(text=text + mark, small=_interval(m, settings), is_bold=place in table.best)


def _interval(m: MetricValue, settings: TableSettings) -> str:
    if settings.intervals == "none" or m.value is None or m.low is None or m.high is None:
        return ""
    if settings.intervals == "small":
        return interval_text(m, settings.digits)
    return f"± {value_text(m, max(m.value - m.low, m.high - m.value), settings.digits)}{few_text(m)}"


def _row_counts(table: SuiteTable, columns: Mapping[Column, tuple[str, MetricKey]]) -> dict[Column, frozenset[int]]:
    """The numbers of rows that the runs' values of each column are over."""
    return {
        column: frozenset(m.n for place, m in table.values.items() if (place.task, place.key) == of)
        for column, of in columns.items()
    }


def _caption(
    table: SuiteTable, columns: Mapping[Column, tuple[str, MetricKey]], published: PublishedTable | None
) -> str:
    """The models, the sets, and each metric with its protocol and version."""
    versions = {m.key: m.signature["protocol"] if m.signature else m.protocol for m in table.values.values()}
    metrics: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for _, key in columns.values()):
        metrics.setdefault(versions[key], []).append(shown_metric(key.metric))
    under = "; ".join(f"{', '.join(names)} under protocol {version}" for version, names in metrics.items())
    sets = ", ".join(f"{c.task} ({c.split})" for c in _one_a_set(columns))
    beside = f", beside the rows of {published.paper} ({published.table})" if published is not None else ""
    return f"{len(table.rows)} model{'s' if len(table.rows) > 1 else ''} on {sets}: {under}{beside}."


def _one_a_set(columns: Mapping[Column, tuple[str, MetricKey]]) -> list[Column]:
    return list({(c.task, c.split): c for c in columns}.values())


def _how_to_read(table: SuiteTable, settings: TableSettings, published: PublishedTable | None) -> list[str]:
    units = {is_in_percent(m) for m in table.values.values()}
    unit = "Percent" if units == {True} else "Points" if units == {False} else "Percent, and points on a judge's scale"
    clusters = " and ".join(dict.fromkeys(s.cluster for s in table.runs.values()))
    shown = {
        "small": f", with the 95 % interval, clustered by {clusters}",
        "plus-minus": f"; ± is the larger half of the 95 % interval, clustered by {clusters}",
        "none": "",
    }[settings.intervals]
    notes = [f"{unit}{shown}."]
    if table.best:
        best = (
            "the best of its column and all not distinguishable from it (sign flips, unscored rows as worst, Holm, 5 %)"
        )
        untested = "; published rows have no stored answers and are not tested" if published is not None else ""
        notes.append(f"Bold: {best}{untested}.")
    return notes


def _conditions(table: SuiteTable) -> list[str]:
    """The conditions of the runs: once where they are the same, else by run."""
    notes = []
    for name, word in CONDITIONS.items():
        values = {place: getattr(s, name) for place, s in table.runs.items()}
        different = dict.fromkeys(v for v in values.values())
        if list(different) == [None]:
            continue
        if len(different) == 1:
            notes.append(f"{word} {next(iter(different))}")
        else:
            by_value = {v: [" on ".join(p) for p, other in values.items() if other == v] for v in different}
            notes += [f"{word} {'all' if v is None else v} for {', '.join(of)}" for v, of in by_value.items()]
    text = "; ".join(notes)
    return [f"{text[:1].upper()}{text[1:]}."] if text else []


def _gaps(table: SuiteTable, digits: int) -> list[str]:
    """Failures and unscored rows with the worst case, a line a run, and runs that could not be compared."""
    notes = []
    for (row, task), s in table.runs.items():
        parts = [f"of {s.n} samples {s.n_failed} failed, {s.n_empty} empty, {s.n_truncated} truncated"]
        parts = parts if s.n_failed or s.n_empty or s.n_truncated else []
        unscored = [
            f"{shown_metric(str(place.key))} {m.n_unscored} of {m.n} "
            f"({value_text(m, m.value_worst_case, digits)} in the worst case)"
            for place, m in table.values.items()
            if (place.row, place.task) == (row, task) and m.n_unscored
        ]
        parts += [f"rows unscored and left out of the value*: {', '.join(unscored)}"] if unscored else []
        notes += [f"{row} on {task}: {'; '.join(parts)}."] if parts else []
    return [*notes, *(note for note in table.notes if "not comparable" in note)]
