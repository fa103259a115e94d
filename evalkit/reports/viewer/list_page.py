"""The list of runs as a page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey
from evalkit.reports.run_page.data import POINTS
from evalkit.reports.run_page.page import embedded, resource, site_policy
from evalkit.reports.viewer.run_list import ListedRun


def list_page(records: dict[str, Any]) -> str:
    """The page.  Names are data, never markup."""
    from jinja2 import Environment, StrictUndefined

    code = f'"use strict";{{\n{resource("helpers.js")}\n{script("list.js")}\n}}'
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(script("list.html.j2"))
    style = resource("page.css") + script("list.css")
    return template.render(
        folder=records["folder"], style=style, script=code, policy=site_policy(code), data=embedded(records)
    )


def run_records(runs: Sequence[ListedRun]) -> dict[str, Any]:
    """The lines of the list, JSON-ready; each metric is named once, in `keys`.

    values: position in `keys` -> [value, low, high, n, number of unscored samples].
    """
    place: dict[MetricKey, int] = {}
    lower: set[MetricKey] = set()
    lines = []
    for run in runs:
        values = {}
        for m in run.metrics:
            key = MetricKey(m.protocol, m.metric)
            if m.higher_is_better is False:
                lower.add(key)
            values[place.setdefault(key, len(place))] = [m.value, m.low, m.high, m.n, m.n_unscored]
        names = ("name", "state", "changed", "problem", "model", "task", "split", "data", "n", "n_answered", "n_failed")
        lines.append({**{n: getattr(run, n) for n in names}, "tags": list(run.tags), "values": values})
    keys = [[key.protocol, key.metric, key.metric in POINTS, key in lower, shown_metric(key.metric)] for key in place]
    return {"keys": keys, "runs": lines}


def script(name: str) -> str:
    """A script, style or template of the viewer."""
    return files("evalkit.reports.viewer").joinpath(name).read_text(encoding="utf-8")
