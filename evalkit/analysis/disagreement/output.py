"""A comparison of protocols as text, lens.json and lens.csv."""

from __future__ import annotations

import csv
import io
from typing import Any

from evalkit.analysis.disagreement.causes import CAUSES
from evalkit.analysis.disagreement.matrix import Cell, Difference, ProtocolComparison, spread
from evalkit.core.format import interval, percent
from evalkit.core.plain_text import spreadsheet_cell
from evalkit.core.types import MetricValue

# So many of the most frequent causes of a difference are printed; lens.json has all of them.
SHOWN_CAUSES = 3
# Multiple choice has protocols of its own: its column is compared with this one where the reference is none of them.
CHOICE_COLUMN, CHOICE_REFERENCE = "choice", "choice-strict"


def spread_record(comparison: ProtocolComparison, column: str) -> dict[str, Any] | None:
    """The spread for summary.json: lowest and highest, each with its protocol, metric and value."""
    ends = spread(comparison, column)
    if ends is None:
        return None
    return {
        end: {"protocol": v.protocol, "metric": v.metric, "value": v.value} for end, v in ends._asdict().items()
    }  # fmt: skip


def to_json(comparison: ProtocolComparison) -> dict[str, Any]:
    """The content of lens.json."""
    return {
        "columns": list(comparison.columns),
        "rows": [_row(comparison, p) for p in comparison.protocols],
        "spread": {c: spread_record(comparison, c) for c in comparison.columns},
        "components": {c: part._asdict() for c, part in comparison.components.items()},
        "causes": {c: text for c, text in CAUSES.items() if any(c in d.causes for d in comparison.differences)},
        "alike": {c: [list(g) for g in groups] for c, groups in comparison.alike.items()},
        "differences": [_difference(d) for d in comparison.differences],
    }


def _row(comparison: ProtocolComparison, protocol: str) -> dict[str, Any]:
    cells = {c: comparison.cells.get(Cell(protocol, c)) for c in comparison.columns}
    fields = ("metric", "value", "low", "high", "n", "n_unscored")
    return {
        "protocol": protocol,
        **{c: {k: getattr(v, k) for k in fields} for c, v in cells.items() if v is not None},
    }


def _difference(d: Difference) -> dict[str, Any]:
    return {
        "column": d.column,
        "first": d.first,
        "second": d.second,
        "n": d.n,
        "gain": d.gain,
        "low": d.interval.low if d.interval else None,
        "high": d.interval.high if d.interval else None,
        "causes": [{"cause": c, "n": n, "examples": list(d.examples[c])} for c, n in d.causes.items()],
    }


def to_csv(comparison: ProtocolComparison) -> str:
    """The text of lens.csv: one line per protocol and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "column", "metric", "value", "low", "high", "n", "n_unscored"])
    for (protocol, column), v in comparison.cells.items():
        cells = (protocol, column, v.metric, v.value, v.low, v.high, v.n, v.n_unscored)
        writer.writerow(map(spreadsheet_cell, cells))
    return text.getvalue()


def render(comparison: ProtocolComparison, reference: str) -> str:
    """The matrix in percent, the spread of each column, and why the other protocols differ from `reference`."""
    width = max(len(p) for p in comparison.protocols)
    lines = [" " * width + "".join(f"{c:>15}" for c in comparison.columns)]
    for protocol in comparison.protocols:
        cells = [comparison.cells.get(Cell(protocol, c)) for c in comparison.columns]
        lines.append(f"{protocol:<{width}}" + "".join(f"{'' if v is None else _cell(v):>15}" for v in cells))
    ends = [spread(comparison, c) for c in comparison.columns]
    shown = ["" if e is None else f"{percent(e.lowest.value)}–{percent(e.highest.value)}" for e in ends]
    lines += [f"{'spread':<{width}}" + "".join(f"{s:>15}" for s in shown), "* some rows unscored, see the table above"]
    lines += [_components_line(comparison, c) for c in comparison.columns if c in comparison.components]
    for column in comparison.columns:
        lines += _against(comparison, column, reference)
    return "\n".join(lines)


def _components_line(comparison: ProtocolComparison, column: str) -> str:
    part = comparison.components[column]
    return (
        f"{column}: the protocol moves the value by {percent(part.protocol, 1)} points (standard deviation over "
        f"{part.n_protocols} that differ), the draw of the questions by {percent(part.sampling, 1)}"
    )


def _cell(v: MetricValue) -> str:
    return percent(v.value) + ("*" if v.n_unscored else " ")


def _gain(d: Difference, head: str) -> str:
    """The difference of the other protocol's value from that of `head`, with its interval."""
    if d.gain is None:
        return ""
    sign = 1 if d.first == head else -1
    text = percent(sign * d.gain, 1, signed=True)
    if d.interval is None or d.interval.low is None or d.interval.high is None:
        return f"{text} points, "
    low, high = sorted((sign * d.interval.low, sign * d.interval.high))
    return f"{text} {interval(low, high, 1, signed=True)} points, "


def _against(comparison: ProtocolComparison, column: str, reference: str) -> list[str]:
    """The most frequent causes of each protocol's difference from the reference in a column."""
    group_of = {p: g for g in comparison.alike[column] for p in g}
    if column == CHOICE_COLUMN and reference not in group_of:
        reference = CHOICE_REFERENCE
    if reference not in group_of:
        return []
    head = group_of[reference][0]
    lines = []
    for d in comparison.differences:
        if d.column == column and head in (d.first, d.second):
            other = d.second if d.first == head else d.first
            causes = ", ".join(f"{n} {cause}" for cause, n in list(d.causes.items())[:SHOWN_CAUSES])
            rest = len(d.causes) - SHOWN_CAUSES
            more = f", {rest} more kinds" if rest > 0 else ""
            lines.append(f"  {', '.join(group_of[other])}: {_gain(d, head)}{d.n} rows: {causes}{more}")
    return [f"{column}, counted differently from {', '.join(group_of[reference])}:", *lines] if lines else []
