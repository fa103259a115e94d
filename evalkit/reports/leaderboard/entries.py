"""Entries of a leaderboard: the numbers of a run, a paper or an image-blind baseline in one form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from evalkit.core.format import percent
from evalkit.core.signature import Signature, plain_parts
from evalkit.core.types import MetricValue
from evalkit.published import Figure, PublishedTable, System
from evalkit.published.table import COUNTED
from evalkit.reports.leaderboard.stored_scores import StoredScores
from evalkit.runs.schema import LeaderboardResult
from evalkit.stats import wilson

EntryKind = Literal["run", "paper", "baseline", "control"]
IntervalKind = Literal["", "clustered by image", "as printed", "Wilson"]

# Metrics of papers of which a higher value is known to be better.  Papers do not state directions: rows are not ordered
# by any other metric, unless a run in the same table has it.
HIGHER_IS_BETTER_IN_PAPERS = COUNTED | {
    "bleu_1", "bleu_2", "bleu_3", "bleu_4", "f1", "judged_accuracy", "mean_iou", "open_f1", "open_precision",
    "open_recall", "overall", "relative_score", "rouge_l",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of an entry.

    number: its n is 0 where a paper does not state it.  shown: the value as a percentage; a paper's as it is printed.
    interval: how the bounds were made ("Wilson" takes rows as independent); empty without bounds.  source: the address
    of a web page or of a file relative to the tables.  where: the place in that source.  faults: known faults.
    why_not: why the value cannot be reproduced; empty where nothing is known against it.
    """

    number: MetricValue
    shown: str
    source: str
    where: str
    interval: IntervalKind = ""
    faults: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def order(self) -> float | None:
        """The value that rows are ordered by: each unscored row counts as the worst score."""
        return self.number.value_worst_case

    @property
    def n(self) -> int | None:
        """The number of rows; None where a paper does not state it."""
        return None if self.number.value is not None and self.number.n == 0 else self.number.n


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRow:
    """The numbers that an entry had before, newest of them first in its history.

    added, answers: see `LeaderboardResult`; empty where they are not known.  recipe: the settings of the protocol where
    they were others than today's, else empty.  cells: column -> cell.
    """

    added: str
    evalkit: str
    answers: str
    recipe: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of a table: the numbers of a model under one protocol on the same data.

    kind: "baseline" answers without looking at the image, "control" is a model that was shown no or other images.  Only
    runs are ranked.  details: training, prompt and decoding.  cells: column -> cell.  short: `where` in a few words.
    scores: the scores of its answers, where they are stored.  notes: failed and truncated answers.  dependent: see
    `PublishedTable`.  evalkit, added, answers: see `LeaderboardResult`; empty where they are not known.  history:
    earlier results of the same run, newest first.
    """

    id: str
    name: str
    kind: EntryKind
    regime: str
    cells: Mapping[str, Cell]
    source: str
    where: str
    short: str
    details: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scores: StoredScores | None = None
    dependent: str = ""
    evalkit: str = ""
    added: str = ""
    answers: str = ""
    history: tuple[EarlierRow, ...] = ()


def column_name(metric: str, slice_name: str) -> str:
    """The name of a column."""
    return metric if slice_name == "all" else f"{metric}, {slice_name}"


def run_cell(result: LeaderboardResult, metric: MetricValue) -> Cell:
    """The cell of a run's metric."""
    number = metric if metric.value is not None else replace(metric, low=None, high=None)
    return Cell(
        number=number,
        shown=percent(number.value),
        source=result_address(result),
        where=f"run {result.run_id}",
        interval="" if number.low is None else "clustered by image",
    )


def result_address(result: LeaderboardResult) -> str:
    """The address of a result's file, relative to the tables."""
    return f"results/{quote(result.run_id, safe='')}.json"


def run_entry(result: LeaderboardResult, metrics: Sequence[MetricValue], scores: StoredScores | None) -> Entry:
    """The entry of a run with these of its metrics, which are of one protocol with the same settings."""
    kind: EntryKind = "baseline" if result.role == "baseline" else "run" if result.image == "original" else "control"
    suffix = "" if result.image == "original" else f", {result.image} images"
    train = [f"trained on {result.train}"] if result.train else []
    return Entry(
        id=result.run_id,
        name=f"{result.model}{suffix}",
        kind=kind,
        regime=result.regime,
        cells={column_name(m.metric, m.slice): run_cell(result, m) for m in metrics},
        source=result_address(result),
        where=f"run {result.run_id}",
        short=result.run_id,
        details=(*train, f"prompt {result.prompt}", result.generation, f"evalkit {result.evalkit}"),
        notes=_failures(result),
        scores=scores,
        evalkit=result.evalkit,
        added=result.added or "",
        answers=result.answers or "",
        history=tuple(_earlier_rows(result, metrics)),
    )


def _earlier_rows(result: LeaderboardResult, now: Sequence[MetricValue]) -> Iterator[EarlierRow]:
    """The earlier results of a run beside these of its metrics, one a setting of the protocol.

    Metrics with the settings of another of its tables are in that one.
    """
    recipe, names = _recipe(now[0]), {m.metric for m in now}
    elsewhere = {_recipe(m) for m in result.metrics if m.protocol == now[0].protocol} - {recipe}
    for earlier in result.history:
        by_recipe: dict[str, list[MetricValue]] = {}
        for m in earlier.metrics:
            found = _recipe(m)
            if m.protocol == now[0].protocol and (found == recipe or (m.metric in names and found not in elsewhere)):
                by_recipe.setdefault(found, []).append(m)
        for found, metrics in by_recipe.items():
            yield EarlierRow(
                added=earlier.added or "",
                evalkit=earlier.evalkit,
                answers=earlier.answers or "",
                recipe="" if found == recipe else found,
                cells={column_name(m.metric, m.slice): run_cell(result, m) for m in metrics},
            )


def _recipe(metric: MetricValue) -> str:
    assert metric.signature is not None
    return metric.signature.recipe


def _failures(result: LeaderboardResult) -> tuple[str, ...]:
    counts = ((result.n_failed, "failed"), (result.n_truncated, "were cut at the token limit"))
    return tuple(f"{count} of {result.n} answers {what}" for count, what in counts if count)


def baseline_metrics(result: LeaderboardResult) -> Sequence[Mapping[str, Any]]:
    """The values of image-blind baselines among a result's sanity checks; empty where they were not computed."""
    baselines: Mapping[str, Any] = result.sanity_checks.get("baselines") or {}
    found: Sequence[Mapping[str, Any]] = baselines.get("metrics") or ()
    return found


def baseline_entries(result: LeaderboardResult, protocol: str, absent: Iterable[str]) -> list[Entry]:
    """Entries of image-blind baselines that have no run of their own, from the sanity checks of a run's result."""
    own = {m.metric: m for m in result.metrics if m.protocol == protocol}
    where = f"the baselines next to run {result.run_id}"
    entries = []
    for name in sorted(absent):
        cells = {
            found["metric"]: Cell(
                number=_baseline_number(own[found["metric"]], found["value"]),
                shown=percent(found["value"]),
                source=result_address(result),
                where=where,
            )
            for found in baseline_metrics(result)
            if found["baseline"] == name and found["protocol"] == protocol and found["metric"] in own
        }
        entry = Entry(
            id=f"{name} next to {result.run_id}",
            name=name,
            kind="baseline",
            regime="",
            cells=cells,
            source=result_address(result),
            where=where,
            short=f"next to {result.run_id}",
            details=("unscored answers count as wrong",),
        )
        entries += [entry] * bool(cells)
    return entries


def _baseline_number(own: MetricValue, value: float) -> MetricValue:
    """A baseline's value over the rows of a run's metric."""
    assert own.signature is not None
    return MetricValue(
        slice="all",
        protocol=own.protocol,
        metric=own.metric,
        value=value,
        value_worst_case=value,
        n=own.n,
        higher_is_better=own.higher_is_better,
        # Prompt and decoding are the run's, not the baseline's.
        signature=Signature.parse(own.signature.column),
    )


def paper_cell(table: PublishedTable, system: System, figure: Figure) -> Cell:
    """The cell of a published figure."""
    bounds = _bounds(table, figure)
    source = table.sources[figure.source]
    parts = {
        "task": f"{figure.task}.{figure.split}",
        "n": str(figure.n or "unknown"),
        "slice": figure.slice,
        "protocol": figure.protocol,
        "paper": table.name,
    }
    return Cell(
        number=MetricValue(
            protocol=figure.protocol,
            metric=figure.metric,
            slice=figure.slice,
            value=figure.fraction,
            value_worst_case=figure.fraction,
            low=bounds.low,
            high=bounds.high,
            n=figure.n or 0,
            higher_is_better=True if figure.metric in HIGHER_IS_BETTER_IN_PAPERS else None,
            signature=Signature.of(figure.metric, plain_parts(parts)),
        ),
        shown=printed_percent(figure),
        source=web_address(table.url),
        where=f"{place_in_paper(table, system)}; read in: {source.read} (confidence: {source.confidence})",
        interval=bounds.kind,
        faults=tuple(table.faults[key] for key in figure.faults),
        why_not=table.why_not(system, figure),
    )


class _Bounds(NamedTuple):
    """The interval of a published figure, as fractions."""

    low: float | None = None
    high: float | None = None
    kind: IntervalKind = ""


def _bounds(table: PublishedTable, figure: Figure) -> _Bounds:
    """The printed interval, else Wilson's for a share of a known number of rows that are nearly independent."""
    if figure.low:
        low, high = (float(Decimal(text) / figure.scale) for text in (figure.low, figure.high))
        return _Bounds(low, high, "as printed")
    if table.dependent:
        return _Bounds()
    if figure.n and figure.metric in COUNTED and figure.unit != "relative" and figure.protocol not in table.foreign:
        hits = round(figure.fraction * figure.n) if figure.k is None else figure.k
        found = wilson(hits, figure.n)
        return _Bounds(found.low, found.high, "Wilson")
    return _Bounds()


def printed_percent(figure: Figure) -> str:
    """The printed value as a percentage, with the digits that the paper prints.

    >>> from types import SimpleNamespace as N
    >>> printed_percent(N(value="94.50", unit="percent")), printed_percent(N(value="0.535", unit="fraction"))
    ('94.50', '53.5')
    """
    return figure.value if figure.unit != "fraction" else format(Decimal(figure.value).scaleb(2), "f")


def place_in_paper(table: PublishedTable, system: System) -> str:
    """The paper, table and version that print a row."""
    return f"{table.paper}, {system.table or table.table}, {table.version}"


def web_address(url: str) -> str:
    """The address when it is one of the web, else empty: a link must never run anything."""
    return url if url.startswith(("https://", "http://")) else ""


def paper_entry(table: PublishedTable, system: System, figures: Sequence[Figure]) -> Entry:
    """The entry of a row of a paper with these of its figures."""
    trains = dict.fromkeys((f.train, f.epochs) for f in figures if f.train)
    details = [f"trained on {train}{f', {epochs} epochs' if epochs else ''}" for train, epochs in trains]
    details += ["LoRA"] * bool(system.lora) + ["extra training data"] * bool(system.extra_data)
    details += [f"mean of {count} runs" for count in dict.fromkeys(f.replicates for f in figures) if count > 1]
    # Faults of every figure of a row are listed once, at the row.
    common = [key for key in figures[0].faults if len(figures) > 1 and all(key in f.faults for f in figures)]
    remaining = [replace(f, faults=tuple(key for key in f.faults if key not in common)) for f in figures]
    return Entry(
        id=f"{table.name}:{system.id}",
        name=system.label if system.model in system.label else f"{system.model} ({system.label})",
        kind="paper",
        regime=figures[0].regime,
        cells={column_name(f.metric, f.slice): paper_cell(table, system, f) for f in remaining},
        source=web_address(table.url),
        where=place_in_paper(table, system),
        short=f"{table.name}, {(system.table or table.table).split(',')[0]}",
        details=tuple(details),
        faults=tuple(table.faults[key] for key in dict.fromkeys((*system.faults, *common))),
        dependent=table.dependent,
    )
