"""A figure for a paper, SVG or PDF in a column's width: runs=[A,B] metric='PROTOCOL METRIC' to=FILE.svg."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import as_list
from evalkit.core import console

HELP_ORDER = 106
EXAMPLES = (
    "evalkit figure runs=[RUN,RUN] metric='strict closed_accuracy' to=slices.svg",
    "evalkit figure runs=[RUN] kind=protocols metric=closed_accuracy to=protocols.pdf",
    "evalkit figure runs=[RUN,RUN] kind=risk metric='strict closed_accuracy' to=risk.pdf",
)


def main(config: Config) -> int:
    """Draw the slices of a metric, its spread over the protocols, or its risk-coverage curves."""
    from evalkit.reports.figures import KINDS, WIDTHS, Drawable, protocol_data, slice_data, write_figure
    from evalkit.reports.paper_table import read_table_runs
    from evalkit.reports.risk_figure import risk_data

    kind = checked_choice(config["kind"], KINDS, "kind")
    width = checked_choice(config["width"], list(WIDTHS), "width")
    runs = read_table_runs([Path(p) for p in as_list(config["runs"])])
    metric, target = str(config["metric"]), Path(config["to"])
    kinds: dict[str, Callable[[], Drawable]] = {
        "slices": lambda: slice_data(runs, metric, as_list(config["tags"])),
        "protocols": lambda: protocol_data(runs, metric),
        "risk": lambda: risk_data(runs, metric),
    }
    data = kinds[kind]()
    write_figure(data, target, width)
    console.out(str(target))
    return 0
