"""The block `sanity_checks` of summary.json as a few lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.analysis.sanity_checks.lift import CHANCE, LETTER
from evalkit.core.format import MISSING, interval, percent, shown_metric
from evalkit.scoring.choice_protocol import METRIC as CHOICE_METRIC

DIGITS = 1


def render(block: Mapping[str, Any], protocol_name: str) -> str:
    """The block as lines of a heading and values; of the baselines and slices those under one protocol."""
    lines = _baseline_lines(block["baselines"], protocol_name)
    lines.append(_blank_line(block["blank"]))
    if (answers := block["yes_no"]) and answers["n_read"]:
        lines.append(_yes_no_line(answers))
    if pairs := block["consistency"]:
        text = (
            f"same answer to {_percent(pairs['same_answer'])}{_bounds(pairs['interval'])} of {pairs['n_pairs']} pairs, "
            f"both right {_percent(pairs['both_right'])}"
        )
        lines.append(_line("rewordings", text))
    lines += _slice_lines(block["parts"], protocol_name)
    shares = {k: v for k, v in block["rates"].items() if k != "words" and v is not None}
    lines.append(_line("rates, percent", ", ".join(f"{k} {_percent(v)}" for k, v in shares.items())))
    return "\n".join(lines)


def _line(heading: str, text: str) -> str:
    return f"{heading:<20}{text}"


def _baseline_lines(baselines: Mapping[str, Any], protocol_name: str) -> list[str]:
    lines = []
    metrics = baselines.get("metrics", ())
    # Multiple choice has protocols of its own; the first of them is shown.
    choice = next((m["protocol"] for m in metrics if m["metric"] == CHOICE_METRIC), protocol_name)
    for name in ("majority", "lookup", CHANCE, LETTER):
        shown = [
            _lift(m)
            for m in metrics
            if m["baseline"] == name and m["protocol"] == (choice if m["metric"] == CHOICE_METRIC else protocol_name)
        ]
        answer = next((f"always {m['answer']}: " for m in metrics if m["baseline"] == name and "answer" in m), "")
        if shown:
            no_image = " (no image)" if name in ("majority", "lookup") else ""
            lines.append(_line(f"{name}{no_image}", answer + ", ".join(shown)))
    if unknown := baselines.get("unknown"):
        lines.append(_line("majority, lookup", f"not known: {unknown}"))
    return lines


def _blank_line(blank: Mapping[str, Any]) -> str:
    metrics = blank.get("metrics")
    if not metrics:
        reason = blank.get("unknown", "the run with blank images was not scored under the same protocols")
        return _line("blank image", f"not known: {reason}")
    shown = [_lift(m) for m in metrics if m["protocol"] == metrics[0]["protocol"]]
    return _line("blank image", f"{', '.join(shown)} ({blank['run_id']})")


def _yes_no_line(answers: Mapping[str, Any]) -> str:
    return _line(
        "yes/no answers",
        f"{answers['n_read']} of {answers['n']} read; yes {_percent(answers['yes_said'])} "
        f"(reference {_percent(answers['yes_gold'])}), sensitivity {_percent(answers['sensitivity'])}"
        f"{_bounds(answers['sensitivity_interval'])}, specificity {_percent(answers['specificity'])}"
        f"{_bounds(answers['specificity_interval'])}",
    )


def _slice_lines(slices: Sequence[Mapping[str, Any]], protocol_name: str) -> list[str]:
    by_slice: dict[str, list[str]] = defaultdict(list)
    for m in slices:
        if m["protocol"] == protocol_name:
            text = f"{shown_metric(m['metric'])} {_percent(m['value'])}{_bounds([m['low'], m['high']])} (n {m['n']})"
            by_slice[m["part"]].append(text)
    return [_line(name, ", ".join(shown)) for name, shown in by_slice.items()]


def _lift(m: Mapping[str, Any]) -> str:
    bounds = _bounds([m["low"], m["high"]], signed=True)
    lift = percent(m["lift"], DIGITS, signed=True)
    unscored = f"; the {m['n_unscored']} unscored count as the worst case" if m.get("n_unscored") else ""
    return f"{m['protocol']} {shown_metric(m['metric'])} {_percent(m['value'])} (lift {lift}{bounds}{unscored})"


def _percent(value: float | None) -> str:
    return percent(value, DIGITS)


def _bounds(bounds: Sequence[float | None], *, signed: bool = False) -> str:
    """An interval with a space before it; empty where there is none."""
    low, high = bounds
    text = interval(low, high, DIGITS, signed=signed)
    return "" if text == MISSING else f" {text}"
