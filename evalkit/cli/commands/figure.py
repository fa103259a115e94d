"""A figure for a paper, SVG or PDF in a column's width: runs=[A,B] metric='PROTOCOL METRIC' to=FILE.svg."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import as_list
from evalkit.core import console

HELP_ORDER = 106
EXAMPLES = (
    "evalkit figure runs=[RUN,RUN] metric='strict closed_accuracy' to=slices.svg",
    "evalkit figure runs=[RUN] kind=protocols metric=closed_accuracy to=protocols.pdf",
)


def main(config: Config) -> int:
    """Draw the slices of a metric, or its spread over the protocols."""
    from evalkit.reports.figures import KINDS, WIDTHS, protocol_data, slice_data, write_figure
    from evalkit.reports.paper_table import read_table_runs

    kind = checked_choice(config["kind"], KINDS, "kind")
    width = checked_choice(config["width"], list(WIDTHS), "width")
    runs = read_table_runs([Path(p) for p in as_list(config["runs"])])
    metric, target = str(config["metric"]), Path(config["to"])
    data = protocol_data(runs, metric) if kind == "protocols" else slice_data(runs, metric, as_list(config["tags"]))
    write_figure(data, target, width)
    console.out(str(target))
    return 0
