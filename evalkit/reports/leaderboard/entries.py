"""Rows of a leaderboard: what a run or a paper says, in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from evalkit.analysis.run_scores import Scored, signature_parts
from evalkit.core.console import percent
from evalkit.core.errors import StoreError
from evalkit.published import Figure, PublishedTable, System
from evalkit.published.table import COUNTED
from evalkit.stats import wilson

Summary = Mapping[str, Any]

# The metrics that are ranked and shown first: means of values in [0, 1], higher is better.
HEADLINES = ("closed_accuracy", "open_recall", "exact_match", "accuracy", "mean_iou", "judged_accuracy")
# Parts of a signature that belong to the row and not to the column: the model, and what it was asked and shown.
OF_THE_ROW = frozenset({"prompt", "image", "gen", "answers", "limit", "v"})
# Parts that say what a column is over; the others say how it is counted.
OF_THE_DATA = frozenset({"task", "n", "slice", "data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number.

    value, low, high: fractions; None where there is none.  shown: the value as a percentage; a paper's as it printed
    it.  order: the value by which rows are put in order: every unscored row counts as wrong.  interval: how the bounds
    were made: "clustered by image", "as printed", or "Wilson" (rows taken as independent); "" without bounds.
    source: an address, of a file beside the tables or a page.  where: what stands there.
    """

    value: float | None
    shown: str
    order: float | None
    signature: str
    source: str
    where: str
    low: float | None = None
    high: float | None = None
    interval: str = ""
    n: int | None = None
    n_unscored: int = 0
    faults: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row: a model's numbers under one protocol on the same data.

    kind: run, paper, baseline (answers without looking at the image) or control (a model that was shown no or other
    images).  Only runs are ranked.  details: how it was trained and asked.  cells: column -> cell.  short: `where` in a
    few words.  scored: its answers' scores, where they are stored.  notes: what a reader of the row must know.
    """

    id: str
    name: str
    kind: str
    regime: str
    cells: Mapping[str, Cell]
    source: str
    where: str
    short: str
    details: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scored: Scored | None = None


def column(metric: str, slice_name: str) -> str:
    """The name of a column."""
    return metric if slice_name == "all" else f"{metric}, {slice_name}"


def run_cell(result: Summary, metric: Mapping[str, Any]) -> Cell:
    """A cell of a run's metric."""
    has_bounds = metric["low"] is not None and metric["value"] is not None
    return Cell(
        value=metric["value"],
        shown=percent(metric["value"]),
        order=metric["value_unscored_wrong"],
        signature=metric["signature"],
        source=result_address(result),
        where=f"run {result['run_id']}",
        low=metric["low"] if has_bounds else None,
        high=metric["high"] if has_bounds else None,
        interval="clustered by image" if has_bounds else "",
        n=metric["n"],
        n_unscored=metric["n_unscored"],
    )


def result_address(result: Summary) -> str:
    """Where a result lies, as an address relative to the tables."""
    return f"results/{quote(str(result['run_id']), safe='')}.json"


def run_line(result: Summary, metrics: Iterable[Mapping[str, Any]], scored: Scored | None) -> Line:
    """A row from a run's result: these metrics of it."""
    kind = "baseline" if result.get("role") == "baseline" else "run" if result["image"] == "original" else "control"
    suffix = "" if result["image"] == "original" else f", {result['image']} images"
    train = [f"trained on {result['train']}"] if result.get("train") else []
    return Line(
        id=str(result["run_id"]),
        name=f"{result['model']}{suffix}",
        kind=kind,
        regime=str(result.get("regime", "unknown")),
        cells={column(m["metric"], m["slice"]): run_cell(result, m) for m in metrics},
        source=result_address(result),
        where=f"run {result['run_id']}",
        short=str(result["run_id"]),
        details=(
            *train,
            f"prompt {result['prompt']}",
            str(result.get("generation", "")),
            f"evalkit {result['evalkit']}",
        ),
        notes=_failures(result),
        scored=scored,
    )


def _failures(result: Summary) -> tuple[str, ...]:
    counts = ((result.get("n_failed", 0), "failed"), (result.get("n_truncated", 0), "were cut at the token limit"))
    return tuple(f"{n} of {result['n']} answers {what}" for n, what in counts if n)


def floor_lines(result: Summary, protocol: str, absent: Iterable[str]) -> list[Line]:
    """Rows of image-blind baselines that have no run of their own, from what a run's result says of them."""
    found = (result.get("worth") or {}).get("baselines", {}).get("metrics", [])
    sizes = {m["metric"]: m for m in result["metrics"] if m["protocol"] == protocol}
    lines = []
    for name in sorted(absent):
        cells = {
            m["metric"]: Cell(
                value=m["value"],
                shown=percent(m["value"]),
                order=m["value"],
                signature=column_signature(sizes[m["metric"]]["signature"]),
                source=result_address(result),
                where=f"the baselines beside run {result['run_id']}",
                n=sizes[m["metric"]]["n"],
            )
            for m in found
            if m["baseline"] == name and m["protocol"] == protocol and m["metric"] in sizes
        }
        short = f"beside {result['run_id']}"
        line = Line(
            id=f"{name} {short}",
            name=name,
            kind="baseline",
            regime="",
            cells=cells,
            source=result_address(result),
            where=f"the baselines beside run {result['run_id']}",
            short=short,
            details=("unscored answers count as wrong",),
        )
        lines += [line] * bool(cells)
    return lines


def paper_cell(table: PublishedTable, system: System, figure: Figure) -> Cell:
    """A cell of a figure in a paper."""
    low, high, interval = _bounds(table, figure)
    source = table.sources[figure.source]
    parts = [figure.metric, f"task:{figure.task}.{figure.split}", f"n:{figure.n or 'unknown'}", f"slice:{figure.slice}"]
    return Cell(
        value=figure.fraction,
        shown=shown(figure),
        order=figure.fraction,
        signature="|".join([*parts, f"protocol:{figure.protocol}", f"paper:{table.name}"]),
        source=safe_address(table.url),
        where=f"{place(table, system)}; read in: {source.read} (confidence: {source.confidence})",
        low=low,
        high=high,
        interval=interval,
        n=figure.n,
        faults=tuple(table.faults[key] for key in figure.faults),
        why_not=table.why_not(system, figure),
    )


def _bounds(table: PublishedTable, figure: Figure) -> tuple[float | None, float | None, str]:
    if figure.low:
        low, high = (float(Decimal(text) / figure.scale) for text in (figure.low, figure.high))
        return low, high, "as printed"
    if figure.n and figure.metric in COUNTED and figure.unit != "relative" and figure.protocol not in table.foreign:
        hits = round(figure.fraction * figure.n) if figure.k is None else figure.k
        found = wilson(hits, figure.n)
        return found.low, found.high, "Wilson"
    return None, None, ""


def shown(figure: Figure) -> str:
    """The printed value as a percentage, with the digits that the paper prints.

    >>> from types import SimpleNamespace as N
    >>> shown(N(value="94.50", unit="percent")), shown(N(value="0.535", unit="fraction"))
    ('94.50', '53.5')
    """
    return figure.value if figure.unit != "fraction" else format(Decimal(figure.value).scaleb(2), "f")


def place(table: PublishedTable, system: System) -> str:
    """Where a paper prints a row."""
    return f"{table.paper}, {system.table or table.table}, {table.version}"


def safe_address(url: str) -> str:
    """The address when it is one of the web, else nothing: a link must never run anything."""
    return url if url.startswith(("https://", "http://")) else ""


def paper_line(table: PublishedTable, system: System, figures: Sequence[Figure]) -> Line:
    """A row from a paper: these figures of it."""
    trains = dict.fromkeys((f.train, f.epochs) for f in figures if f.train)
    details = [f"trained on {train}{f', {epochs} epochs' if epochs else ''}" for train, epochs in trains]
    details += ["LoRA"] * bool(system.lora) + ["extra training data"] * bool(system.extra_data)
    details += [f"mean of {count} runs" for count in dict.fromkeys(f.replicates for f in figures) if count > 1]
    # What is said of every figure of a row is said once, of the row.
    common = [key for key in figures[0].faults if len(figures) > 1 and all(key in f.faults for f in figures)]
    own = [replace(f, faults=tuple(key for key in f.faults if key not in common)) for f in figures]
    return Line(
        id=f"{table.name}:{system.id}",
        name=system.label if system.model in system.label else f"{system.model} ({system.label})",
        kind="paper",
        regime=figures[0].regime,
        cells={column(f.metric, f.slice): paper_cell(table, system, f) for f in own},
        source=safe_address(table.url),
        where=place(table, system),
        short=f"{table.name}, {(system.table or table.table).split(',')[0]}",
        details=tuple(details),
        faults=tuple(table.faults[key] for key in dict.fromkeys((*system.faults, *common))),
    )


def recipe(signature: str, where: str) -> str:
    """How a number is counted: its signature without what it is over and without the row's own parts.

    Raises:
        StoreError: it is no signature.
    """
    try:
        parts = signature_parts(signature)
    except ValueError as problem:
        raise StoreError(f"{where}: {signature!r} is not a signature; make the result again.") from problem
    return "|".join(f"{k}:{v}" for k, v in parts.items() if k not in OF_THE_ROW | OF_THE_DATA)


def column_signature(signature: str) -> str:
    """What every row of a column shares: the signature without the row's own parts."""
    return "|".join(p for p in signature.split("|") if p.split(":", 1)[0] not in OF_THE_ROW)
