"""Table of metric values for a terminal: as many columns as fit, and never a number cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from evalkit.core.format import interval, percent, shown_metric, worst_case
from evalkit.core.plain_text import one_line, visible
from evalkit.core.types import MetricValue

if TYPE_CHECKING:
    from rich.table import Table


class Layout(NamedTuple):
    """How a table is laid out.

    has_worst_case: with the column of the worst case.  is_narrow: protocols are headings in place of a column, and
    long column heads have two lines.
    """

    has_worst_case: bool = True
    is_narrow: bool = False


def metric_table(values: Sequence[MetricValue], title: str, caption: str = "", *, width: int | None = None) -> Table:
    """Protocol, metric, slice, value in percent, 95 % interval, n, unscored, worst case in percent.

    The worst case is left out first where there is not enough room and nothing is unscored, then the column of the
    protocols.

    Args:
        width: columns of the terminal; None: no limit.
    """
    layouts = list(_layouts(values))
    made = (_with_layout(values, title, caption, layout) for layout in layouts)
    last = None
    for view in made:
        last = view
        if width is None or natural_width(view) <= width:
            return view
    assert last is not None, "there is always the full layout"
    return last


def natural_width(view: Table) -> int:
    """The columns that a table needs so that nothing in it is cut."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=10_000, force_jupyter=False, markup=False, emoji=False)
    return Measurement.get(console, console.options, view).maximum


def _layouts(values: Sequence[MetricValue]) -> Iterator[Layout]:
    yield Layout()
    all_scored = not any(value.n_unscored for value in values)
    if all_scored:
        yield Layout(has_worst_case=False)
    yield Layout(has_worst_case=not all_scored, is_narrow=True)


def _with_layout(values: Sequence[MetricValue], title: str, caption: str, layout: Layout) -> Table:
    from rich import box
    from rich.table import Table

    with_slices = any(v.slice != "all" for v in values)
    title, caption = visible(title), visible(caption)
    view = Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0) if layout.is_narrow else (0, 1),
    )
    for heading in (*(() if layout.is_narrow else ("protocol",)), "metric", *(("slice",) if with_slices else ())):
        view.add_column(heading, no_wrap=True)
    numbers = ["value %", "95 % interval", "n", "unscored", *(["worst case %"] if layout.has_worst_case else [])]
    broken = {"unscored": "un-\nscored", "worst case %": "worst\ncase %"} if layout.is_narrow else {}
    for heading in numbers:
        view.add_column(broken.get(heading, heading), justify="right", no_wrap=True)
    last = ""
    for row in values:
        is_first = row.protocol != last
        if last and is_first:
            view.add_section()
        protocol = one_line(row.protocol)
        if layout.is_narrow and is_first:
            view.add_row(protocol)
        view.add_row(*_cells(row, protocol if is_first else "", layout, with_slices=with_slices))
        last = row.protocol
    return view


def _cells(row: MetricValue, protocol: str, layout: Layout, *, with_slices: bool) -> list[str]:
    names = (
        [f"  {one_line(shown_metric(row.metric))}"]
        if layout.is_narrow
        else [protocol, one_line(shown_metric(row.metric))]
    )
    other = worst_case(row.value_worst_case, row.low_worst_case, row.high_worst_case) if row.n_unscored else ""
    return [
        *names,
        *([one_line(row.slice)] if with_slices else []),
        percent(row.value),
        interval(row.low, row.high, effective=row.n_effective),
        str(row.n),
        str(row.n_unscored),
        *([other] if layout.has_worst_case else []),
    ]
