"""A run's numbers as a LaTeX table, ready to paste."""

from __future__ import annotations

from pathlib import Path

from evalkit.core.console import percent
from evalkit.core.files import write_whole
from evalkit.reports.export.run import FinishedRun, Number
from evalkit.reports.latex import table


def write_latex(run: FinishedRun, out: Path) -> list[Path]:
    """Write RUN.tex: value and interval in percent, n, unscored; what failed and what it holds for as notes."""
    s, sliced = run.summary, any(n.slice != "all" for n in run.numbers)
    header = [
        "Protocol",
        "Metric",
        *(["Slice"] if sliced else []),
        "Value",
        "95 % interval",
        "n",
        "Unscored",
        "If wrong",
    ]
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
        caption=f"{s['model']} on {run.task}, {s['split']}",
        label=f"tab:{s['run_id']}",
        notes=_notes(run),
    )
    path = out / f"{s['run_id']}.tex"
    write_whole(path, text)
    return [path]


def _row(number: Number, sliced: bool, *, first: bool) -> list[str]:
    # Scores on a judge's scale are points, everything else is shown in percent.
    show = percent if number.bounds == (0.0, 1.0) or number.metric.startswith("relative") else _points
    interval = "–" if number.low is None else f"[{show(number.low)}, {show(number.high)}]"
    return [
        number.protocol if first else "",
        number.metric,
        *([number.slice] if sliced else []),
        show(number.value),
        interval,
        str(number.n),
        str(number.n_unscored),
        show(number.value_unscored_wrong) if number.n_unscored and number.value_unscored_wrong is not None else "",
    ]


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _notes(run: FinishedRun) -> list[str]:
    s = run.summary
    notes = [
        f"{s['n']} samples on {s['n_images']} images; failed {s['n_failed']}, empty {s['n_empty']}, truncated "
        f"{s['n_truncated']}. Values in percent (points for scores on a scale) over the scored rows; If wrong: with "
        "every unscored row counted as wrong. Intervals: 95 %, clustered by image.",
        f"Run {s['run_id']}: prompt {s['prompt']}, {s['generation']}, image {s['image']}, closed by "
        f"{s['closed_rule']}, data {str(s['data_sha256'])[:8]}, evalkit {s['evalkit']}.",
    ]
    return notes + [f"{n.name}: no value: {n.problem}." for n in run.missing if n.n]
