"""The verdict on each cell of a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from evalkit.analysis.adjusted import check_equivalence_margin
from evalkit.core.types import MetricKey, MetricValue
from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.reproduction.config import ModelRow
from evalkit.reports.reproduction.spread import Spread, draws_of, spread_of
from evalkit.runs.schema import Summary
from evalkit.tasks.draws import task_without_draws

REPRODUCED = "reproduced"
EQUIVALENT = "equivalent"
# The same questions on both sides: the sampling of questions, which the interval is about, explains no difference, so
# that this is no evidence that the figure was reproduced.
WITHIN = "no difference shown"
DEVIATES = "deviates"
NOT_COMPARABLE = "not comparable"
IRREPRODUCIBLE = "known not to be reproducible"
NOT_RUN = "not run"
VERDICTS = (REPRODUCED, EQUIVALENT, WITHIN, DEVIATES, NOT_COMPARABLE, IRREPRODUCIBLE, NOT_RUN)

ACCEPT = ("auto", "exact", "interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproducedCell:
    """A published figure and a run's value for it.

    run: empty without a run.  value: the run's value; None where it has none.  k: the run's number of right answers,
    where the published figure has a count.  proxy: the metrics that were used where the figure's own protocol cannot be
    computed; empty else.  why: the reason for the verdict, in words.
    """

    system: System
    figure: Figure
    verdict: str
    why: str = ""
    run: str = ""
    value: MetricValue | None = None
    k: int | None = None
    proxy: str = ""

    @property
    def fraction(self) -> float | None:
        """The run's value as a fraction; None where there is none."""
        return None if self.value is None else self.value.value

    @property
    def printed(self) -> str:
        """The run's value as the paper would print it."""
        return "–" if self.fraction is None else self.figure.prints(self.fraction)


def compare_paper(
    published: PublishedTable,
    runs: Sequence[Summary],
    models: Mapping[str, str | ModelRow] | None = None,
    *,
    accept: str = "auto",
    proxy_metrics: Mapping[str, Sequence[str]] | None = None,
    equivalence: float | None = None,
) -> list[ReproducedCell]:
    """One cell for every figure and every run of its model on its task and split; without such a run one without it.

    A figure with a count of right answers is reproduced by exactly that count, any other by a value that prints the
    same.

    Args:
        models: name of a run's model -> the published row.  A row without an entry is reproduced by the model of the
            row's id, and every row by answers from a file that are named by the row's id.
        accept: when a value whose interval holds the published one is "no difference shown": "interval" always, "exact"
            never, "auto" for answers that evalkit generated or a judge scored.  Answers from a file are either the
            authors' own, and then the count must agree, or not.
        proxy_metrics: see `Paper`.
        equivalence: the largest difference that counts as none, as a fraction: a generated or judged value whose whole
            interval is within it of the published one is "equivalent" (two one-sided tests at 2.5 %).

    Raises:
        ConfigError: `equivalence` is not a fraction between 0 and 1.
    """
    check_equivalence_margin(equivalence)
    rows = {name: m if isinstance(m, ModelRow) else ModelRow(row=m) for name, m in (models or {}).items()}
    cells: list[ReproducedCell] = []
    for system in published.systems:
        for figure in system.figures:
            matching = [run for run in runs if _reproduces(run, system, figure, rows)]
            found = [
                _cell(
                    published,
                    system,
                    figure,
                    run,
                    accept,
                    proxy_metrics or {},
                    equivalence,
                    spread_of(run, figure, matching),
                )
                for run in matching
            ]
            cells += found or [_cell_without_run(published, system, figure)]
    return cells


def _reproduces(run: Summary, system: System, figure: Figure, rows: Mapping[str, ModelRow]) -> bool:
    if (task_without_draws(run.task), run.split) != (figure.task, figure.split):
        return False
    row = rows.get(run.model)
    if row is None:
        # A registered model may share a row's name without being tuned like it; answers from a file get the name from
        # the user.
        has_model = any(m.row == system.id for m in rows.values())
        return run.model == system.id and (not has_model or not _is_generated(run))
    return row.row == system.id and (not row.tasks or run.task in row.tasks)


def _cell_without_run(published: PublishedTable, system: System, figure: Figure) -> ReproducedCell:
    if why := why_irreproducible(published, system, figure):
        return ReproducedCell(system=system, figure=figure, verdict=IRREPRODUCIBLE, why=why)
    why = "its weights were never released" if system.public_weights is False else ""
    return ReproducedCell(system=system, figure=figure, verdict=NOT_RUN, why=why)


def why_irreproducible(published: PublishedTable, system: System, figure: Figure) -> str:
    """Reason why no run can have a published value; empty where nothing is known against it.

    The reason in the table, else that no whole number of right answers among n prints as the value.
    """
    if why := published.why_not(system, figure):
        return why
    if figure.attainable:
        return ""
    rows = (figure.n or 0) * figure.replicates
    printed = Decimal(figure.value)
    k = int(printed * rows / 100) + 1
    unit = Decimal(1).scaleb(-figure.decimals)
    is_cut = (Decimal(100 * k) / rows).quantize(unit, ROUND_DOWN) == printed
    remark = f"; {k} of {rows} is cut to it instead of rounded" if is_cut else ""
    return f"no number of right answers among {rows} prints as {figure.value}{remark}"


def _cell(
    published: PublishedTable,
    system: System,
    figure: Figure,
    run: Summary,
    accept: str,
    proxy_metrics: Mapping[str, Sequence[str]],
    equivalence: float | None,
    spread: Spread | None,
) -> ReproducedCell:
    value = find_value(run, MetricKey(figure.protocol, figure.metric), figure.slice)
    if value is None or value.value is None:
        return _proxy_cell(published, system, figure, run, proxy_metrics)
    k: int | None = None

    def cell(verdict: str, why: str = "") -> ReproducedCell:
        said = "; ".join(text for text in (why, spread.text(figure) if spread else "") if text)
        return ReproducedCell(system=system, figure=figure, verdict=verdict, why=said, run=run.run_id, value=value, k=k)

    if why := why_not_comparable(figure, run, value) or _other_judge(published, figure, value):
        return cell(NOT_COMPARABLE, why)
    same, difference = figure.prints(value.value) == figure.value, ""
    if figure.k is not None and draws_of(run) == 1:
        k = round(value.value * value.n)
        same = k == figure.k
        difference = "" if same else f"{k} right, published are {figure.k} of {figure.n}"
    if same:
        return cell(REPRODUCED)
    if why := why_irreproducible(published, system, figure):
        return cell(IRREPRODUCIBLE, why)
    if _accepts_interval(figure, run, accept):
        if equivalence is not None and _is_within(figure, value, equivalence):
            return cell(EQUIVALENT, difference)
        if _interval_holds(figure, value) or (spread is not None and spread.holds(figure)):
            return cell(WITHIN, difference)
    return cell(DEVIATES, difference)


def find_value(run: Summary, key: MetricKey, slice_name: str) -> MetricValue | None:
    """A run's value of a metric over a slice; None where the run has none."""
    found = run.find(key.protocol, key.metric, slice_name)
    return found if found is not None and found.value is not None else None


def why_not_comparable(figure: Figure, run: Summary, value: MetricValue) -> str:
    """Reason why a run's value is not over the rows and images of a published figure; empty where it is."""
    if run.image != "original":
        return f"the model saw {run.image} images"
    if run.limit:
        return f"over the first {run.limit} samples only"
    if figure.n is not None and value.n != figure.n * draws_of(run):
        return f"over {value.n} rows, published over {figure.n}"
    if value.n_unscored:
        return f"{value.n_unscored} of {value.n} rows are unscored"
    return ""


def _other_judge(published: PublishedTable, figure: Figure, value: MetricValue) -> str:
    """Reason why a judged value is not by the model that judged the published one; empty where it is, or is unknown."""
    model = published.judges.get(figure.protocol)
    judge = (value.signature.get("judge") if value.signature is not None else None) or ""
    if model is None or not judge or model in judge:
        return ""
    return f"judged by {judge.removeprefix(figure.protocol.removeprefix('judge:') + '.')}, published by {model}"


def _accepts_interval(figure: Figure, run: Summary, accept: str) -> bool:
    varies = _is_generated(run) or figure.protocol.startswith("judge:")
    return accept == "interval" or (accept == "auto" and varies)


def _is_generated(run: Summary) -> bool:
    """Whether evalkit generated the answers; the decoding of answers from a file is unknown."""
    return run.generation != "unknown"


def _interval_holds(figure: Figure, value: MetricValue) -> bool:
    """Whether the run's interval holds the published value, within the rounding of its digits."""
    if value.low is None or value.high is None:
        return False
    rounding = float(Decimal(5).scaleb(-figure.decimals - 1)) / figure.scale
    return value.low - rounding <= figure.fraction <= value.high + rounding


def _is_within(figure: Figure, value: MetricValue, margin: float) -> bool:
    """Whether the run's whole interval is less than the margin from the published value."""
    if value.low is None or value.high is None:
        return False
    return figure.fraction - margin < value.low and value.high < figure.fraction + margin


def _proxy_cell(
    published: PublishedTable,
    system: System,
    figure: Figure,
    run: Summary,
    proxy_metrics: Mapping[str, Sequence[str]],
) -> ReproducedCell:
    """The cell of a run without a value under the figure's protocol, with the first proxy metric that the run has."""

    def cell(why: str, value: MetricValue | None = None, proxy: str = "") -> ReproducedCell:
        return ReproducedCell(
            system=system, figure=figure, verdict=NOT_COMPARABLE, why=why, run=run.run_id, value=value, proxy=proxy
        )

    is_judged = figure.protocol.startswith("judge:")
    if figure.protocol not in published.foreign and not (is_judged and figure.protocol in proxy_metrics):
        slice_name = "" if figure.slice == "all" else f" for {figure.slice}"
        return cell(f"the run has no {figure.protocol} {figure.metric}{slice_name}")
    for terms in proxy_metrics.get(figure.protocol, ()):
        if value := _joined(run, terms, figure.slice):
            rows = "" if value.n == figure.n else f" over {value.n} rows"
            return cell(f"published by {figure.protocol}, here by {terms}{rows}", value, terms)
    if figure.protocol not in published.foreign:
        return cell(f"the run has no judgments by {figure.protocol.removeprefix('judge:')}")
    return cell(f"evalkit cannot compute {figure.protocol}")


def _joined(run: Summary, terms: str, slice_name: str) -> MetricValue | None:
    """The mean over all rows of metrics that cover different rows, or of one metric; None where one is missing."""
    keys = [MetricKey.parse(term) for term in terms.split(" + ")]
    parts = [part for key in keys if (part := find_value(run, key, slice_name)) is not None and not part.n_unscored]
    rows = sum(part.n for part in parts)
    if len(parts) < len(keys) or (len(parts) > 1 and slice_name == "all" and rows != run.n):
        return None
    directions = {part.higher_is_better for part in parts}
    return MetricValue(
        protocol=" + ".join(key.protocol for key in keys),
        metric=" + ".join(key.metric for key in keys),
        slice=slice_name,
        value=sum((part.value or 0.0) * part.n for part in parts) / rows,
        n=rows,
        higher_is_better=directions.pop() if len(directions) == 1 else None,
    )
