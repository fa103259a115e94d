"""Risk-coverage curves for papers: the share that is wrong among the most confident answers, a curve a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.core import console
from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey
from evalkit.reports.figures import SERIES, add_legend, check_series, parsed_key
from evalkit.reports.suite_table import SuiteRun, run_labels

# Height over width.
SHAPE = 0.8
# A curve begins where so many answers are covered: the risk of fewer is 0 or 100 % by chance.
MIN_COVERED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskSeries:
    """The curve of a run, in percent.

    curve: (coverage, risk), coverage increasing.  marks: (coverage, risk, low, high) with the 95 % interval where it is
    known.  aurc: the area under the curve.
    """

    name: str
    curve: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float, float | None, float | None], ...]
    aurc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskData:
    """The content of a figure of risk-coverage curves."""

    series: tuple[RiskSeries, ...]
    metric: str

    def drawn(self, width: float) -> Any:
        """The figure, drawn with matplotlib.  width: in inches."""
        return _drawn(self, width)


def risk_data(runs: Sequence[SuiteRun], metric: str) -> RiskData:
    """The risk-coverage curves of a metric, one a run whose answers have a confidence.

    A run without one is named in a warning and left out.

    Args:
        metric: `PROTOCOL METRIC`.

    Raises:
        ConfigError: no run has a curve of the metric.
    """
    key = parsed_key(metric)
    labels = run_labels([run.summary for run in runs])
    blocks = {labels[r.summary.run_id]: r.summary.sanity_checks.get("confidence") or {} for r in runs}
    known = {MetricKey(m["protocol"], m["metric"]) for b in blocks.values() for m in b.get("metrics", ())}
    if not known:
        raise ConfigError("No run has a confidence of its answers: run with confidence=true or scoring=loglikelihood.")
    if key not in known:
        names = sorted(map(str, known))
        raise ConfigError(f"metric: no run has a risk-coverage curve of {metric!r}. {did_you_mean(metric, names)}")
    series, without = [], []
    for name, block in blocks.items():
        found = [m for m in block.get("metrics", ()) if MetricKey(m["protocol"], m["metric"]) == key]
        series += [_series(name, m) for m in found]
        without += [] if found else [name]
    if without:
        console.warn(f"left out, without a confidence for {metric}: {', '.join(without)}")
    check_series(len(series))
    return RiskData(series=tuple(series), metric=shown_metric(str(key)))


def _series(name: str, record: Mapping[str, Any]) -> RiskSeries:
    """The series of a metric's record in the block `confidence` of a summary; risk is 1 minus the mean score."""
    least = MIN_COVERED / record["n_answered"] - 1e-6
    curve = [(100 * c, 100 * r) for c, r in record["curve"]]
    marks = [
        (100 * s["coverage"], 100 * (1 - s["value"]), *(_turned(s[bound]) for bound in ("high", "low")))
        for s in record["selective"]
    ]
    kept = [point for point in curve if point[0] >= 100 * least] or curve[-1:]
    return RiskSeries(name=name, curve=tuple(kept), marks=tuple(marks), aurc=100 * record["aurc"]["value"])


def _turned(value: float | None) -> float | None:
    return None if value is None else 100 * (1 - value)


def _drawn(data: RiskData, width: float) -> Any:
    """The figure, drawn with matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, SHAPE * width), layout="constrained")
    axes = figure.add_subplot()
    for number, one in enumerate(data.series):
        colour, mark = SERIES[number]
        label = f"{one.name} (AURC {one.aurc:.1f})"
        axes.plot(*zip(*one.curve, strict=True), color=colour, linewidth=1)
        # Marks of several runs at one coverage stand beside each other.
        shift = 0.9 * (number - (len(data.series) - 1) / 2)
        below = [0.0 if low is None else risk - low for _, risk, low, _ in one.marks]
        above = [0.0 if high is None else high - risk for _, risk, _, high in one.marks]
        places, risks = [c + shift for c, *_ in one.marks], [risk for _, risk, *_ in one.marks]
        axes.errorbar(
            places, risks, yerr=(below, above), fmt=mark, color=colour, markersize=3.5, linewidth=1, capsize=1.5,
            label=label,
        )  # fmt: skip
    axes.set_xlim(0, 103)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage, percent of the answers with a confidence")
    axes.set_ylabel(f"risk, percent ({data.metric})")
    axes.grid(visible=True, linewidth=0.4, color="#cccccc")
    axes.set_axisbelow(True)
    add_legend(figure, width)
    return figure
