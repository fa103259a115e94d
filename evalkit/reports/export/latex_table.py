"""A run's numbers as a LaTeX table, ready to paste."""

from __future__ import annotations

from pathlib import Path

from evalkit.core.files import write_whole
from evalkit.core.format import shown_metric
from evalkit.core.types import MetricValue
from evalkit.reports.export.run import FinishedRun, name_of
from evalkit.reports.latex import table
from evalkit.reports.numbers import interval_text, value_text
from evalkit.runs.store import run_name


def write_latex(run: FinishedRun, out: Path) -> list[Path]:
    """Write RUN.tex: value and interval in percent, n, unscored; failures and conditions as notes."""
    s, sliced = run.summary, any(n.slice != "all" for n in run.numbers)
    slice_column = ["Slice"] if sliced else []
    header = ["Protocol", "Metric", *slice_column, "Value", "95 % interval", "n", "Unscored", "Worst case"]
    rows: list[list[str] | None] = []
    last = ""
    for number in run.numbers:
        if last and number.protocol != last:
            rows.append(None)
        rows.append(_row(number, sliced, first=number.protocol != last))
        last = number.protocol
    text = table(
        header,
        rows,
        align="ll" + "l" * sliced + "r" * 5,
        caption=f"{s.model} on {run.task}, {s.split}",
        label=f"tab:{s.run_id}",
        notes=_notes(run),
    )
    path = out / f"{run_name(s.run_id)}.tex"
    write_whole(path, text)
    return [path]


def _row(number: MetricValue, sliced: bool, *, first: bool) -> list[str]:
    return [
        number.protocol if first else "",
        shown_metric(number.metric),
        *([number.slice] if sliced else []),
        value_text(number, number.value),
        interval_text(number),
        str(number.n),
        str(number.n_unscored),
        _worst_case(number),
    ]


def _worst_case(number: MetricValue) -> str:
    if not number.n_unscored or number.value_worst_case is None:
        return ""
    low, high = number.low_worst_case, number.high_worst_case
    bounds = "" if low is None else f" [{value_text(number, low)}, {value_text(number, high)}]"
    return value_text(number, number.value_worst_case) + bounds


def _notes(run: FinishedRun) -> list[str]:
    s = run.summary
    notes = [
        f"{s.n} samples on {s.n_images} images; failed {s.n_failed}, empty {s.n_empty}, truncated {s.n_truncated}. "
        "Values in percent (points for scores on a scale) over the scored rows; Worst case: each unscored row counts "
        "as the worst score. Intervals: 95 %, clustered by image.",
        f"Run {s.run_id}: prompt {s.prompt}, {s.generation}, image {s.image}, closed by {s.closed_rule}, data "
        f"{s.data_sha256[:8]}, evalkit {s.evalkit}.",
    ]
    return notes + [f"{name_of(n)}: no value: {run.problem(n)}." for n in run.missing if n.n]
