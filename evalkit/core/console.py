"""What a person sees: notes and progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from evalkit.core.types import Row

# Between two plain progress lines where the output is no terminal.
SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Called with the number of samples that were just answered."""

    def __call__(self, n: int) -> None:
        """Advance the progress."""
        ...


def note(text: str) -> None:
    """Something that a reader of the numbers should know."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Something that is wrong but does not stop the run."""
    note(f"warning: {text}")


def out(text: str) -> None:
    """A result."""
    sys.stdout.write(f"{text}\n")


@contextmanager
def progress(total: int, done: int, what: str) -> Iterator[Advance]:
    """A bar with samples, rate and time left on a terminal; a plain line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        with _bar(total, done, what) as advance:
            yield advance
    else:
        yield _lines(total, done, what)


def _lines(total: int, done: int, what: str) -> Advance:
    state = {"done": done, "said": time.monotonic(), "started": time.monotonic()}

    def advance(n: int) -> None:
        state["done"] += n
        now = time.monotonic()
        if now - state["said"] < SECONDS_BETWEEN_LINES and state["done"] < total:
            return
        state["said"] = now
        rate = (state["done"] - done) / max(now - state["started"], 1e-9)
        left = (total - state["done"]) / rate if rate else 0.0
        note(f"{what}: {int(state['done'])}/{total} samples, {rate:.1f}/s, {left:.0f} s left")

    return advance


@contextmanager
def _bar(total: int, done: int, what: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="–")
        count = 0

        def advance(n: int) -> None:
            nonlocal count
            count += n
            rate = count / max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=n, rate=f"{rate:.1f}")

        yield advance


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; – where there is none.

    >>> percent(0.5), percent(None)
    ('50.00', '–')
    """
    return "–" if value is None else f"{100 * value:.2f}"


def interval(row: Row) -> str:
    """The 95 % interval in percent; – where it is not defined."""
    if row.low is None or row.high is None:
        return "–"
    return f"[{100 * row.low:.2f}, {100 * row.high:.2f}]"


def table(rows: Sequence[Row], title: str, caption: str = "") -> None:
    """Print rows: protocol, metric, slice, value in percent, 95 % interval, n, unscored."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    with_slices = any(r.slice != "all" for r in rows)
    view = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for heading in ("protocol", "metric", *(["slice"] if with_slices else [])):
        view.add_column(heading, no_wrap=True)
    for heading in ("value %", "95 % interval", "n", "unscored", "if wrong %"):
        view.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for row in rows:
        if last and row.protocol != last:
            view.add_section()
        other = percent(row.value_unscored_wrong) if row.n_unscored else ""
        view.add_row(
            row.protocol if row.protocol != last else "",
            row.metric,
            *([row.slice] if with_slices else []),
            percent(row.value),
            interval(row),
            str(row.n),
            str(row.n_unscored),
            other,
        )
        last = row.protocol
    width = None if sys.stdout.isatty() else 120
    Console(file=sys.stdout, width=width).print(view)
