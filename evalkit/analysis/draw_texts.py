"""What is printed about several answers of each sample: the spread of re-decoding beside the sampling interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evalkit.core.format import percent
from evalkit.core.types import MetricKey, MetricValue

# Further metrics are in summary.json.
SHOWN = 6


def draw_texts(
    record: Mapping[str, Any] | None, values: Sequence[MetricValue], secondary: Collection[MetricKey]
) -> tuple[str, ...]:
    """Lines about the spread between draws, one a metric; empty for a run with one answer a sample.

    Args:
        record: `draws` of the summary's sanity checks.
        secondary: metrics that are left out.
    """
    if not record:
        return ()
    whole = {v.key: v for v in values if v.slice == "all"}
    lines = [f"draws               {record['n']} answers of each sample; a run under another seed is one draw"]
    keys = [(MetricKey(entry["protocol"], entry["metric"]), entry) for entry in record["metrics"] if entry["draws"]]
    entries = [entry for key, entry in keys if key not in secondary]
    for entry in entries[:SHOWN]:
        value = whole.get(MetricKey(entry["protocol"], entry["metric"]))
        lines.append(f"                    {_line(entry, value)}")
    if len(entries) > SHOWN:
        lines.append(f"                    and {len(entries) - SHOWN} more, in summary.json (sanity_checks.draws)")
    return ("\n".join(lines) + "\n",)


def _line(entry: Mapping[str, Any], value: MetricValue | None) -> str:
    """The spread of one metric, its interval and its variances."""
    draws, sd, parts = entry["draws"], entry["sd"], entry["variance"]
    interval = "" if value is None or value.low is None else f", interval {percent(value.low)} to {percent(value.high)}"
    shares = ", ".join(f"{name} {'–' if part is None else f'{part:.4f}'}" for name, part in parts.items())
    spread = "" if sd is None else f" (sd {percent(sd)})"
    named = f"{entry['protocol']} {entry['metric']}"
    return f"{named}: draws {percent(min(draws))} to {percent(max(draws))}{spread}{interval}; variance between {shares}"
