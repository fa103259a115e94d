"""The verdict on each cell of a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.reproduction.config import Mapped

REPRODUCED = "reproduced"
WITHIN = "within the interval"
DEVIATES = "deviates"
NOT_COMPARABLE = "not comparable"
IRREPRODUCIBLE = "known not to be reproducible"
NOT_RUN = "not run"
VERDICTS = (REPRODUCED, WITHIN, DEVIATES, NOT_COMPARABLE, IRREPRODUCIBLE, NOT_RUN)

ACCEPT = ("auto", "exact", "interval")

Summary = Mapping[str, Any]
Metric = Mapping[str, Any]
Models = Mapping[str, str | Mapped]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One published figure and what one run says of it; run and value are empty where there is none.

    value, low, high: the run's fraction and interval.  k: its right answers, where the published figure has a count.
    counted: how the run's value was counted, where that is not the figure's own protocol.  why: in words.
    """

    system: System
    figure: Figure
    verdict: str
    why: str = ""
    run: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    k: int | None = None
    counted: str = ""

    @property
    def reproduced(self) -> str:
        """The run's value as the paper would print it."""
        return "–" if self.value is None else self.figure.prints(self.value)


def compare_paper(
    published: PublishedTable,
    runs: Sequence[Summary],
    models: Models | None = None,
    *,
    accept: str = "auto",
    beside: Mapping[str, Sequence[str]] | None = None,
) -> list[Cell]:
    """A cell for every figure and every run of its model on its task and split; one without a run where there is none.

    A figure with a count of right answers is reproduced by exactly that count, any other by the value that is printed
    the same.

    Args:
        models: name of a run's model -> the published row.  A row that none names is reproduced by the model of its
            id, and every row by answers from a file that were given its id as their name.
        accept: whether a value whose interval holds the published one is "within the interval": "interval" says
            always, "exact" never, "auto" for answers that were generated anew or judged: answers that come from a
            file are the authors' own or not, and then the count must agree.
        beside: see `Paper`.
    """
    mapped = {name: m if isinstance(m, Mapped) else Mapped(row=m) for name, m in (models or {}).items()}
    cells: list[Cell] = []
    for system in published.systems:
        for figure in system.figures:
            mine = [run for run in runs if _reproduces(run, system, figure, mapped)]
            met = [_cell(published, system, figure, run, accept, beside or {}) for run in mine]
            cells += met or [_without_run(published, system, figure)]
    return cells


def _reproduces(run: Summary, system: System, figure: Figure, mapped: Mapping[str, Mapped]) -> bool:
    if (run["task"], run["split"]) != (figure.task, figure.split):
        return False
    row = mapped.get(run["model"])
    if row is None:
        # A registered model may share a row's name and not be tuned as the row is; answers from a file bear the name
        # that they were given for this.
        named = any(m.row == system.id for m in mapped.values())
        return bool(run["model"] == system.id) and (not named or not _anew(run))
    return row.row == system.id and (not row.tasks or run["task"] in row.tasks)


def _without_run(published: PublishedTable, system: System, figure: Figure) -> Cell:
    if why := cannot_be(published, system, figure):
        return Cell(system=system, figure=figure, verdict=IRREPRODUCIBLE, why=why)
    why = "its weights were never released" if system.public_weights is False else ""
    return Cell(system=system, figure=figure, verdict=NOT_RUN, why=why)


def cannot_be(published: PublishedTable, system: System, figure: Figure) -> str:
    """Why no run can come to a published value; "" where nothing speaks against it.

    Beside what the table says, a share of n rows that no whole number of right answers prints as.
    """
    if why := published.why_not(system, figure):
        return why
    if figure.attainable:
        return ""
    rows = (figure.n or 0) * figure.replicates
    printed = Decimal(figure.value)
    k = int(printed * rows / 100) + 1
    unit = Decimal(1).scaleb(-figure.decimals)
    cut = (Decimal(100 * k) / rows).quantize(unit, ROUND_DOWN) == printed
    told = f"; {k} of {rows} is cut to it instead of rounded" if cut else ""
    return f"no number of right answers among {rows} prints as {figure.value}{told}"


def _cell(
    published: PublishedTable,
    system: System,
    figure: Figure,
    run: Summary,
    accept: str,
    beside: Mapping[str, Sequence[str]],
) -> Cell:
    about: dict[str, Any] = {"system": system, "figure": figure, "run": run["run_id"]}
    metric = find_metric(run, figure.protocol, figure.metric, figure.slice)
    if metric is None:
        return _beside(published, figure, run, about, beside)
    value = float(metric["value"])
    about |= {"value": value, "low": metric.get("low"), "high": metric.get("high"), "n": int(metric["n"])}
    if why := _incomparable(figure, run, metric):
        return Cell(**about, verdict=NOT_COMPARABLE, why=why)
    same, differs = figure.prints(value) == figure.value, ""
    if figure.k is not None:
        about["k"] = round(value * about["n"])
        same = about["k"] == figure.k
        differs = "" if same else f"{about['k']} right, published are {figure.k} of {figure.n}"
    if same:
        return Cell(**about, verdict=REPRODUCED)
    if why := cannot_be(published, system, figure):
        return Cell(**about, verdict=IRREPRODUCIBLE, why=why)
    if _takes_interval(figure, run, accept) and _within(figure, metric):
        return Cell(**about, verdict=WITHIN, why=differs)
    return Cell(**about, verdict=DEVIATES, why=differs)


def find_metric(run: Summary, protocol: str, metric: str, slice_name: str) -> Metric | None:
    """A run's number, or None where it has none."""
    for found in run["metrics"]:
        if (found["protocol"], found["metric"], found["slice"]) == (protocol, metric, slice_name):
            return found if found["value"] is not None else None
    return None


def _incomparable(figure: Figure, run: Summary, metric: Metric) -> str:
    """Why the run's number is not over what the figure is over; "" where it is."""
    if run["image"] != "original":
        return f"the model saw {run['image']} images"
    if run.get("limit"):
        return f"over the first {run['limit']} samples only"
    if figure.n is not None and metric["n"] != figure.n:
        return f"over {metric['n']} rows, published over {figure.n}"
    if metric["n_unscored"]:
        return f"{metric['n_unscored']} of {metric['n']} rows are unscored"
    return ""


def _takes_interval(figure: Figure, run: Summary, accept: str) -> bool:
    anew = _anew(run) or figure.protocol.startswith("judge:")
    return accept == "interval" or (accept == "auto" and anew)


def _anew(run: Summary) -> bool:
    """Whether evalkit generated the answers; of answers from a file it does not know how they came about."""
    return bool(run.get("generation", "unknown") != "unknown")


def _within(figure: Figure, metric: Metric) -> bool:
    """Whether the run's interval holds the published value, as far as its digits tell."""
    low, high = metric.get("low"), metric.get("high")
    if low is None or high is None:
        return False
    rounding = float(Decimal(5).scaleb(-figure.decimals - 1)) / figure.scale
    return bool(low - rounding <= figure.fraction <= high + rounding)


def _beside(
    published: PublishedTable,
    figure: Figure,
    run: Summary,
    about: dict[str, Any],
    beside: Mapping[str, Sequence[str]],
) -> Cell:
    """The cell of a run that has no number under the figure's protocol, with the nearest one that it has."""
    if figure.protocol not in published.foreign:
        why = f"the run has no {figure.protocol} {figure.metric}"
        if figure.slice != "all":
            why += f" for {figure.slice}"
        return Cell(**about, verdict=NOT_COMPARABLE, why=why)
    for terms in beside.get(figure.protocol, ()):
        if found := _joined(run, terms, figure.slice):
            value, n = found
            why = f"published by {figure.protocol}, here by {terms}"
            if n != figure.n:
                why += f" over {n} rows"
            return Cell(**about, verdict=NOT_COMPARABLE, why=why, value=value, n=n, counted=terms)
    return Cell(**about, verdict=NOT_COMPARABLE, why=f"evalkit does not count by {figure.protocol}")


def _joined(run: Summary, terms: str, slice_name: str) -> tuple[float, int] | None:
    """The mean over all rows of metrics that cover different rows, or of one metric; None where one is missing."""
    parts = []
    for term in terms.split(" + "):
        protocol, _, metric = term.partition(" ")
        found = find_metric(run, protocol, metric, slice_name)
        if found is None or found["n_unscored"]:
            return None
        parts.append((float(found["value"]), int(found["n"])))
    rows = sum(n for _, n in parts)
    if len(parts) > 1 and slice_name == "all" and rows != run.get("n"):
        return None
    return sum(value * n for value, n in parts) / rows, rows


Column = tuple[str, str, str, str, str]


def column_of(figure: Figure) -> Column:
    """What a column of the table is over."""
    return figure.task, figure.split, figure.protocol, figure.metric, figure.slice


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """A row of the user's: a model that the paper has not.  cells: column -> (value, low, high, n, run)."""

    model: str
    cells: Mapping[Column, tuple[float, float | None, float | None, int, str]]


def own_rows(published: PublishedTable, runs: Sequence[Summary], models: Sequence[str]) -> list[OwnRow]:
    """Rows for models of one's own, under the columns that they have comparable numbers for.

    A number over other rows than the paper's, of other images or with unscored rows is left out.
    """
    figures = {column_of(f): f for s in published.systems for f in s.figures}
    rows = []
    for model in models:
        cells: dict[Column, tuple[float, float | None, float | None, int, str]] = {}
        for run in (r for r in runs if r["model"] == model):
            for column, figure in figures.items():
                metric = find_metric(run, *column[2:])
                if (run["task"], run["split"]) != column[:2] or metric is None or _incomparable(figure, run, metric):
                    continue
                value = float(metric["value"]), metric.get("low"), metric.get("high"), int(metric["n"]), run["run_id"]
                cells.setdefault(column, value)
        rows.append(OwnRow(model=model, cells=cells))
    return rows
