"""One table of models on tasks: as texts for a terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evalkit.analysis.compare import PROMPT_PARTS
from evalkit.analysis.paired import incompatibilities
from evalkit.analysis.run_scores import RunScores, read_run_scores
from evalkit.core.files import safe_name, write_whole
from evalkit.core.format import MISSING, interval, percent, shown_metric, worst_case
from evalkit.core.types import MetricKey, MetricValue
from evalkit.reports import latex, markdown
from evalkit.reports.csv_text import csv_text
from evalkit.reports.leaderboard.ranking import HEADLINES
from evalkit.reports.leaderboard.stored_scores import Pool, StoredScores, align
from evalkit.runs.schema import Summary
from evalkit.stats import rank_models
from evalkit.stats.fraction_interval import normal_quantile
from evalkit.stats.intervals import LEVEL
from evalkit.stats.random_effects import MIN_SETS, RandomEffects, random_effects

CSV_COLUMNS = (
    "model", "task", "split", "protocol", "metric", "value", "low", "high", "n", "n_unscored", "value_worst_case",
    "n_samples", "n_failed", "n_empty", "n_truncated", "tied_with_best", "run_id", "signature", "metric_label",
)  # fmt: skip
HOW_TO_READ = (
    "Percent with the 95 % interval; unscored rows are left out of a value, unless its protocol counts them as wrong."
)
# What two runs of a model on a task can differ in, besides the weights.
CONDITIONS = ("prompt", "generation", "image", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """A finished run of a suite and its folder."""

    summary: Summary
    folder: Path


class Place(NamedTuple):
    """A cell of the table."""

    key: MetricKey
    row: str
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTable:
    """Values by metric, row and task.

    rows: models, with what tells runs apart where a model has several on a task.  best: cells that are the best of
    their metric and task, or not distinguishable from it by the sign-flip test that `compare` uses; empty for one row.
    runs: of (row, task).  notes: failures and samples of each run, and what could not be compared.
    """

    name: str
    rows: tuple[str, ...]
    tasks: tuple[str, ...]
    values: Mapping[Place, MetricValue]
    runs: Mapping[tuple[str, str], Summary]
    best: frozenset[Place] = frozenset()
    notes: tuple[str, ...] = field(default=())

    @property
    def keys(self) -> list[MetricKey]:
        """The metrics in order of first use."""
        return list(dict.fromkeys(place.key for place in self.values))

    @property
    def title(self) -> str:
        """The model, or how many there are, and the number of tasks."""
        models = self.rows[0] if len(self.rows) == 1 else f"{len(self.rows)} models"
        return f"{models} on {len(self.tasks)} task{'s' if len(self.tasks) > 1 else ''}"


def suite_table(name: str, runs: Sequence[SuiteRun]) -> SuiteTable:
    """The table of finished runs: every metric over all samples of each task's rows.

    Raises:
        StoreError: a run's files are damaged.
    """
    runs = list({run.summary.run_id: run for run in runs}.values())
    labels = run_labels([run.summary for run in runs])
    placed = {(labels[run.summary.run_id], run.summary.task): run for run in runs}
    values = {
        Place(m.key, row, task): m
        for (row, task), run in placed.items()
        for m in run.summary.metrics
        if m.slice == "all" and m.n
    }
    rows = tuple(dict.fromkeys(row for row, _ in placed))
    best, problems = _best(placed, values) if len(rows) > 1 else (frozenset[Place](), ())
    several = len(rows) > 1
    return SuiteTable(
        name=name,
        rows=rows,
        tasks=tuple(dict.fromkeys(task for _, task in placed)),
        values=values,
        runs={place: run.summary for place, run in placed.items()},
        best=best,
        notes=(*(_about(f"{row}, " if several else "", run.summary) for (row, _), run in placed.items()), *problems),
    )


def run_labels(summaries: Sequence[Summary]) -> dict[str, str]:
    """Run id -> row: the model, with the conditions that its runs on a task differ in, else with the run's digest."""
    found = {}
    for s in summaries:
        others = [o for o in summaries if (o.model, o.task) == (s.model, s.task)]
        differ = [c for c in CONDITIONS if any(getattr(o, c) != getattr(s, c) for o in others)]
        mine = [getattr(s, c) for c in differ]
        if any(o is not s and [getattr(o, c) for c in differ] == mine for o in others):
            differ, mine = ["run"], [s.run_id.rpartition("-")[2]]
        told = ", ".join(f"{c} {value}" for c, value in zip(differ, mine, strict=True))
        found[s.run_id] = f"{s.model} ({told})" if told else s.model
    return found


def _about(row: str, s: Summary) -> str:
    return (
        f"{row}{s.task} ({s.split}): {s.n} samples on {s.n_images} images; failed {s.n_failed}, empty {s.n_empty}, "
        f"truncated {s.n_truncated}."
    )


def _best(
    placed: Mapping[tuple[str, str], SuiteRun], values: Mapping[Place, MetricValue]
) -> tuple[frozenset[Place], tuple[str, ...]]:
    """The best cells of each metric and task with all that are tied, and why others could not be compared."""
    best: set[Place] = set()
    problems: dict[str, None] = {}
    for task in dict.fromkeys(task for _, task in placed):
        scores = {row: read_run_scores(run.folder) for (row, of), run in placed.items() if of == task}
        for key in dict.fromkeys(place.key for place in values if place.task == task):
            there = {row: run for row, run in scores.items() if key in run.columns and run.columns[key].n}
            if len(there) < 2:
                continue
            first, *others = there.values()
            if found := [text for other in others for text in incompatibilities(first, other, [key], PROMPT_PARTS)]:
                problems[f"{task}: no best, the runs are not comparable: {found[0]}."] = None
                continue
            tied = {Place(key, row, task) for row in _tied(key, there)}
            best |= {place for place in tied if values[place].value is not None}
    return frozenset(best), tuple(problems)


def _tied(key: MetricKey, runs: Mapping[str, RunScores]) -> list[str]:
    """The best run and those that are not distinguishable from it; unscored rows count as the worst score."""
    pool: Pool = {}
    scores = align(key, {row: StoredScores.of(run, pool) for row, run in runs.items()})
    higher_is_better = next(iter(runs.values())).columns[key].higher_is_better
    ranks = rank_models(scores.values, scores.clusters, higher_is_better=higher_is_better, resamples=0)
    return [rank.name for rank in ranks if rank.tied]


def over_sets(table: SuiteTable) -> list[str]:
    """The random-effects summary of each headline metric and model over the tasks, a sentence each.

    Of metrics with intervals on at least `MIN_SETS` tasks; the standard error of a value is that of its interval.
    """
    found = []
    for key in (key for key in table.keys if key.metric in HEADLINES):
        for row in _rows_of(table, key):
            there = [table.values[place] for task in table.tasks if (place := Place(key, row, task)) in table.values]
            known = [(m.value, e) for m in there if m.value is not None and (e := _standard_error(m))]
            if len(known) >= MIN_SETS:
                summary = random_effects([value for value, _ in known], [error for _, error in known])
                found.append(f"{row}, {key}, {_in_words(summary)}")
    return found


def _standard_error(m: MetricValue) -> float | None:
    """A standard error with which a normal interval is as wide as the printed one; None where there is none.

    The printed one has an exact method or a t quantile: both make this error larger than the estimated one, never
    smaller.  Over the t quantile of two clusters an exact interval would become the error of hundreds.
    """
    if m.low is None or m.high is None or m.high <= m.low:
        return None
    return (m.high - m.low) / 2 / normal_quantile(LEVEL)


def _in_words(s: RandomEffects) -> str:
    bounds = interval(max(0.0, s.low), min(1.0, s.high), 1)
    further = interval(max(0.0, s.predicted_low), min(1.0, s.predicted_high), 1)
    return (
        f"over {s.k} sets: mean {percent(s.value, 1)} {bounds}, standard deviation between sets "
        f"{percent(s.between, 1)} points, I2 {percent(s.i2, 0)} %, a further set {further} (random effects)."
    )


def how_to_read(table: SuiteTable, mark: str) -> str:
    """The caption; mark: how the best cells are marked, in words."""
    if not table.best:
        return HOW_TO_READ
    best = "every model that no other is significantly better than (sign flips of images, all pairs at once, 5 %)"
    return f"{HOW_TO_READ} {mark}: {best}."


class TextTable(NamedTuple):
    """A table of texts; None draws a rule."""

    header: list[str]
    rows: list[list[str] | None]
    caption: str


def for_terminal(table: SuiteTable) -> TextTable:
    """The headline metrics, models in rows; a cell has its interval and its unscored rows on lines of their own."""
    keys = [key for key in table.keys if key.metric in HEADLINES] or table.keys
    rows: list[list[str] | None] = []
    alone = len(table.rows) == 1
    for key in keys:
        if not alone:
            rows += [
                *([None] if rows else []),
                [f"{key.protocol} {shown_metric(key.metric)}", *([""] * len(table.tasks))],
            ]
        for row in _rows_of(table, key):
            cells = [_terminal_cell(table, Place(key, row, task)) for task in table.tasks]
            rows.append([f"{key.protocol} {shown_metric(key.metric)}" if alone else f"  {row}", *cells])
    caption = "\n".join([how_to_read(table, "*"), *over_sets(table)])
    return TextTable(["metric" if alone else "metric, model", *table.tasks], rows, caption)


def _rows_of(table: SuiteTable, key: MetricKey) -> Iterable[str]:
    return (row for row in table.rows if any(Place(key, row, task) in table.values for task in table.tasks))


def _terminal_cell(table: SuiteTable, place: Place) -> str:
    m = table.values.get(place)
    if m is None:
        return ""
    star = "*" if place in table.best else ""
    return "\n".join(
        [
            percent(m.value) + star,
            *_bounds(m),
            *_gaps(m),
        ]
    )


def _bounds(m: MetricValue) -> list[str]:
    return [] if m.low is None else [interval(m.low, m.high, effective=m.n_effective)]


def _worst(m: MetricValue) -> str:
    return worst_case(m.value_worst_case, m.low_worst_case, m.high_worst_case)


def _gaps(m: MetricValue) -> list[str]:
    """The number of unscored rows, where there are any."""
    return [f"{m.n_unscored} of {m.n} unscored"] if m.n_unscored else []


def write_tables(table: SuiteTable, stem: str, out: Path) -> list[Path]:
    """Write STEM.md, STEM.csv and STEM.tex with every metric into a folder; the CSV has fractions and signatures."""
    texts = {".md": to_markdown(table), ".csv": to_csv(table), ".tex": to_latex(table)}
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{safe_name(stem)}{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text)
    return paths


def _rest(m: MetricValue) -> list[str]:
    """What follows a value: interval, n, and unscored rows with the value in the worst case."""
    worst = [f"({_gaps(m)[0]}; {_worst(m)} in the worst case)"] if m.n_unscored else []
    return [
        *_bounds(m),
        *(worst or [f"n={m.n}"]),
    ]


def to_markdown(table: SuiteTable) -> str:
    """The table as Markdown, best values bold."""
    md = markdown.escape
    rows = []
    for key in table.keys:
        for row in _rows_of(table, key):
            cells = []
            for task in table.tasks:
                place = Place(key, row, task)
                m = table.values.get(place)
                shown = "" if m is None else md(percent(m.value))
                bold = f"**{shown}**" if place in table.best and shown else shown
                cells.append(" ".join([bold, *map(md, _rest(m))]) if m is not None else MISSING)
            rows.append([md(key.protocol), md(shown_metric(key.metric)), md(row), *cells])
    header = ["protocol", "metric", "model", *map(md, table.tasks)]
    notes = [how_to_read(table, "Bold"), *over_sets(table), *table.notes]
    lines = [f"# {md(table.name)}: {md(table.title)}", "", *markdown.table(header, rows), ""]
    return "\n".join([*lines, *(f"- {md(note)}" for note in notes)]) + "\n"


def to_csv(table: SuiteTable) -> str:
    """Every value, one a line: fractions."""
    return csv_text(CSV_COLUMNS, csv_records(table))


def csv_records(table: SuiteTable) -> list[dict[str, object]]:
    """Every value with the columns of the CSV."""
    records: list[dict[str, object]] = []
    for place, m in table.values.items():
        s = table.runs[place.row, place.task]
        tied = "" if not table.best else "yes" if place in table.best else "no"
        records.append({
            "model": place.row, "task": place.task, "split": s.split, "protocol": m.protocol, "metric": m.metric,
            "value": m.value, "low": m.low, "high": m.high, "n": m.n, "n_unscored": m.n_unscored,
            "value_worst_case": m.value_worst_case, "n_samples": s.n, "n_failed": s.n_failed, "n_empty": s.n_empty,
            "n_truncated": s.n_truncated, "tied_with_best": tied, "run_id": s.run_id, "signature": str(m.signature),
            "metric_label": shown_metric(m.metric),
        })  # fmt: skip
    return records


def to_latex(table: SuiteTable) -> str:
    """The table as LaTeX with booktabs, best values bold, intervals small; three tasks fit on a page."""
    rows: list[list[str] | None] = []
    alone = len(table.rows) == 1
    for key in table.keys:
        rows += [None] if rows and not alone else []
        for number, row in enumerate(_rows_of(table, key)):
            head = [key.protocol, shown_metric(key.metric)] if not number else ["", ""]
            name = [] if alone else [row]  # the caption names a model that is alone
            rows.append([*head, *name, *(_latex_cell(table, Place(key, row, task)) for task in table.tasks)])
    header = ["Protocol", "Metric", *([] if alone else ["Model"]), *table.tasks]
    return latex.table(
        header,
        rows,
        align="l" * len(header),
        dense=True,
        caption=f"{table.name}: {table.title}.",
        label=f"tab:{table.name}",
        notes=[how_to_read(table, "Bold"), *over_sets(table), *table.notes],
    )


def _latex_cell(table: SuiteTable, place: Place) -> str:
    m = table.values.get(place)
    if m is None:
        return MISSING
    shown = latex.escape(percent(m.value))
    value = rf"\textbf{{{shown}}}" if place in table.best else shown
    if not m.n_unscored:
        return latex.Raw(f"{value} {_small(' '.join(_rest(m)))}")
    unscored = (_small(_gaps(m)[0]), _small(f"worst case {_worst(m)}"))
    lines = (" ".join([value, *map(_small, _bounds(m))]), *unscored)
    below = r" \\ ".join(lines)
    return latex.Raw(rf"\shortstack[l]{{{below}}}")


def _small(text: str) -> str:
    return rf"{{\scriptsize {latex.escape(text)}}}"
