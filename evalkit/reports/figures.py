"""Figures for papers as SVG and PDF, in a journal's column width: values with intervals by slice or by protocol.

`risk_figure` has the risk-coverage curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey, MetricValue
from evalkit.reports.numbers import is_in_percent
from evalkit.reports.suite_table import SuiteRun, run_labels

KINDS = ("slices", "protocols", "risk")
SUFFIXES = (".svg", ".pdf")
# Inches: one column and two columns of most journals (85 mm and 174 mm).
WIDTHS = {"single": 3.35, "double": 6.85}
# Okabe and Ito's colours, which people with colour blindness can tell apart; each has a shape of its own, too.
SERIES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#000000", "v"), ("#E69F00", "P"),
)  # fmt: skip
ROW_INCHES, FRAME_INCHES = 0.22, 0.9
# More rows do not fit on a page.
MOST_ROWS = 60


class Drawable(Protocol):
    """The content of a figure that draws itself."""

    def drawn(self, width: float) -> Any:
        """The figure, drawn with matplotlib.  width: in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value with its interval; on the scale that is shown."""

    row: str
    series: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureData:
    """The content of a figure: points by row and series, and the words at its axis."""

    points: tuple[Point, ...]
    axis: str

    @property
    def rows(self) -> list[str]:
        """The rows from top to bottom."""
        return list(dict.fromkeys(p.row for p in self.points))

    @property
    def series(self) -> list[str]:
        """The series in order of first use."""
        return list(dict.fromkeys(p.series for p in self.points))

    def drawn(self, width: float) -> Any:
        """The figure, drawn with matplotlib.  width: in inches."""
        return _drawn(self, width)


def parsed_key(metric: str) -> MetricKey:
    """The key that `PROTOCOL METRIC` names.  Raises ConfigError for another text."""
    try:
        return MetricKey.parse(metric)
    except ValueError as problem:
        raise ConfigError(f"metric: {problem}.") from None


def check_series(n: int) -> None:
    """Refuse more series than there are colours."""
    if n > len(SERIES):
        raise ConfigError(f"{n} runs cannot be told apart in one figure; give up to {len(SERIES)}.")


def slice_data(runs: Sequence[SuiteRun], metric: str, tags: Sequence[str]) -> FigureData:
    """A metric over all samples and in each slice, a series a run.

    Args:
        metric: `PROTOCOL METRIC`.
        tags: those whose slices are shown; empty: every tag.

    Raises:
        ConfigError: no run has the metric, or no slice by a tag.
    """
    key = parsed_key(metric)
    labels = run_labels([run.summary for run in runs])
    values = [(labels[r.summary.run_id], m) for r in runs for m in r.summary.metrics if m.key == key]
    if not values:
        known = sorted({str(m.key) for r in runs for m in r.summary.metrics})
        raise ConfigError(f"metric: no run has {metric!r}. {did_you_mean(metric, known)}")
    there = sorted({m.slice.partition("=")[0] for _, m in values if m.slice != "all"})
    for tag in tags:
        if tag not in there:
            raise ConfigError(f"tags: no run has slices of {metric} by {tag!r}. {did_you_mean(tag, there)}")
    wanted = set(tags or there)
    shown = [(name, m) for name, m in values if m.slice == "all" or m.slice.partition("=")[0] in wanted]
    ordered = sorted(shown, key=lambda pair: (pair[1].slice != "all", pair[1].slice))
    return _data([(_row_of(m), name, m) for name, m in ordered], str(key))


def _row_of(m: MetricValue) -> str:
    return f"all (n={m.n})" if m.slice == "all" else f"{m.slice} (n={m.n})"


def protocol_data(runs: Sequence[SuiteRun], metric: str) -> FigureData:
    """A metric over all samples under every protocol that has it, a series a run, highest protocol first.

    Raises:
        ConfigError: fewer than two protocols have the metric.
    """
    labels = run_labels([run.summary for run in runs])
    values = [
        (m.protocol, labels[r.summary.run_id], m)
        for r in runs
        for m in r.summary.metrics
        if m.metric == metric and m.slice == "all"
    ]
    protocols = {name for name, _, _ in values}
    if len(protocols) < 2:
        known = sorted({m.metric for r in runs for m in r.summary.metrics})
        raise ConfigError(
            f"metric={metric} is there under {len(protocols)} protocols, and a spread needs two: score with "
            f"protocol=all, or give the metric alone. {did_you_mean(metric, known)}"
        )
    best = {name: max((m.value or 0.0) for p, _, m in values if p == name) for name in protocols}
    return _data(sorted(values, key=lambda v: (-best[v[0]], v[0])), metric)


def _data(values: Sequence[tuple[str, str, MetricValue]], name: str) -> FigureData:
    points = []
    for row, series, m in values:
        if m.value is None:
            continue
        scale = 100 if is_in_percent(m) else 1
        low, high = (None if bound is None else scale * bound for bound in (m.low, m.high))
        points.append(Point(row=row, series=series, value=scale * m.value, low=low, high=high))
    unit = ", percent" if points and is_in_percent(values[0][2]) else ""
    found = FigureData(points=tuple(points), axis=f"{shown_metric(name)}{unit}")
    if not points:
        raise ConfigError(f"{name} has no value in any run, so there is nothing to draw.")
    if len(found.rows) > MOST_ROWS:
        raise ConfigError(f"{name} has {len(found.rows)} rows, more than fit on a page ({MOST_ROWS}): choose tags=[…].")
    check_series(len(found.series))
    return found


def write_figure(data: Drawable, target: Path, width: str) -> None:
    """Write a figure as SVG or PDF; the same data give the same bytes.

    Raises:
        ConfigError: matplotlib is missing, or the suffix is another one.
    """
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"to={target} has an unknown suffix; expected one of {', '.join(SUFFIXES)}.")
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigError("Figures need matplotlib: pip install 'evalkit-medvqa[figures]'.") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    # Names of models are texts: a dollar sign in one is no formula.  Fonts go into the PDF as text, not as drawings.
    settings: dict[str, Any] = {
        "text.parse_math": False, "font.size": 8, "pdf.fonttype": 42, "svg.hashsalt": "evalkit", "svg.fonttype": "none",
        "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        undated = {"Date": None} if target.suffix == ".svg" else {"CreationDate": None}
        data.drawn(WIDTHS[width]).savefig(target, bbox_inches=None, metadata=undated)


def _drawn(data: FigureData, width: float) -> Any:
    """The figure, drawn with matplotlib."""
    from matplotlib.figure import Figure

    rows, series = data.rows, data.series
    step = ROW_INCHES * max(1.0, 0.6 * len(series))
    figure = Figure(figsize=(width, FRAME_INCHES + step * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(series):
        colour, mark = SERIES[number]
        shift = 0.0 if len(series) == 1 else 0.6 * (number / (len(series) - 1) - 0.5)
        mine = [p for p in data.points if p.series == name]
        places = [rows.index(p.row) + shift for p in mine]
        below = [0.0 if p.low is None else p.value - p.low for p in mine]
        above = [0.0 if p.high is None else p.high - p.value for p in mine]
        axes.errorbar(
            [p.value for p in mine], places, xerr=(below, above), fmt=mark, color=colour, markersize=3.5,
            linewidth=1, capsize=1.5, label=name,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(data.axis)
    axes.grid(visible=True, axis="x", linewidth=0.4, color="#cccccc")
    axes.set_axisbelow(True)
    if len(series) > 1:
        add_legend(figure, width)
    return figure


def add_legend(figure: Any, width: float) -> None:
    """Name the series above the figure."""
    figure.legend(loc="outside upper left", frameon=False, ncols=1 if width < WIDTHS["double"] else 3)
