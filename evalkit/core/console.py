"""Terminal output: notes and progress on standard error, tables on standard output.

A caller of the Python interface gets the notes as data (`captured`), and the table as an object.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from evalkit.core.errors import EvalkitError
from evalkit.core.metric_table import metric_table, natural_width
from evalkit.core.plain_text import ENCODING_ERRORS, one_line, visible
from evalkit.core.types import MetricValue

if TYPE_CHECKING:
    from rich.table import Table

# 128 + SIGPIPE: the reader of the output has gone.
PIPE_EXIT_CODE = 141
NOT_WRITTEN = "standard output cannot be written: %s. What was computed is kept in its files."
WARNING = "warning: "
# Columns of a table where no terminal says how many there are.
WIDTH = 120
# Between two plain progress lines where the output is not a terminal.
SECONDS_BETWEEN_LINES = 10.0


@dataclass(slots=True)
class Captured:
    """What was said while output was captured.

    notes, warnings: in order, without their prefixes.  lines: all of them as they would be printed.
    is_shown: they are printed too, and so is progress.
    """

    is_shown: bool
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Keep a line of `note`."""
        self.lines.append(text)
        if text.startswith(WARNING):
            self.warnings.append(text.removeprefix(WARNING))
        else:
            self.notes.append(text.removeprefix("note: "))


# Of this thread (or task): another thread that computes at the same time has its own.
_captured: ContextVar[Captured | None] = ContextVar("captured", default=None)


@contextmanager
def captured(*, is_shown: bool) -> Iterator[Captured]:
    """Keep notes and warnings of this thread, and print them and the progress only where `is_shown`."""
    token = _captured.set(found := Captured(is_shown))
    try:
        yield found
    finally:
        _captured.reset(token)


class Advance(Protocol):
    """Callback that receives the number of samples that were just answered."""

    def __call__(self, n: int) -> None:
        """Advance the progress."""
        ...


def prepare_streams() -> None:
    """Make both output streams usable whatever they are: any encoding, or closed from the start."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # Occupied, or the next file that is opened would get the number, and with it what libraries print.
            if (opened := os.open(os.devnull, os.O_WRONLY)) != number:
                os.dup2(opened, number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ENCODING_ERRORS)


def discard_output() -> None:
    """Send what is still printed to nowhere, where the reader of the output has gone; Python flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def flushed(code: int) -> int:
    """Write out what was printed; the exit code, or one that says that the output could not be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return code or PIPE_EXIT_CODE
    except OSError as problem:
        note(f"evalkit: {NOT_WRITTEN % problem.strerror}")
        discard_output()
        return code or EvalkitError.exit_code
    return code


def note(text: str) -> None:
    """Print information that a reader of the numbers needs."""
    if (keeper := _captured.get()) is not None:
        keeper.add(text)
        if not keeper.is_shown:
            return
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Print a problem that does not stop the run."""
    note(f"{WARNING}{text}")


def out(text: str) -> None:
    """Print a result."""
    _write(f"{visible(text)}\n")


def _write(text: str) -> None:
    """Write to standard output.

    Raises:
        EvalkitError: it cannot be written (a full disk); a pipe without a reader is a BrokenPipeError.
    """
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as problem:
        discard_output()
        raise EvalkitError(NOT_WRITTEN % problem.strerror) from problem


@contextmanager
def progress(total: int, done: int, what: str, status: Callable[[], str] = lambda: "") -> Iterator[Advance]:
    """Progress bar with samples, rate and time left on a terminal; a plain line every ten seconds elsewhere.

    status: a short text that is shown behind them, such as the cost so far.
    """
    if (keeper := _captured.get()) is not None and not keeper.is_shown:
        yield _nothing
    elif sys.stderr.isatty():
        with _bar(total, done, what, status) as advance:
            yield advance
    else:
        yield _lines(total, done, what, status)


def _nothing(n: int) -> None:
    """Show no progress."""


def _lines(total: int, done: int, what: str, status: Callable[[], str]) -> Advance:
    state = {"done": done, "printed": time.monotonic(), "started": time.monotonic()}

    def advance(n: int) -> None:
        state["done"] += n
        now = time.monotonic()
        if now - state["printed"] < SECONDS_BETWEEN_LINES and state["done"] < total:
            return
        state["printed"] = now
        rate = (state["done"] - done) / max(now - state["started"], 1e-9)
        left = (total - state["done"]) / rate if rate else 0.0
        said = f"; {text}" if (text := status()) else ""
        note(f"{what}: {int(state['done'])}/{total} samples, {rate:.1f}/s, {left:.0f} s left{said}")

    return advance


@contextmanager
def _bar(total: int, done: int, what: str, status: Callable[[], str]) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}/s", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="–", status="")
        count = 0

        def advance(n: int) -> None:
            nonlocal count
            count += n
            rate = count / max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=n, rate=f"{rate:.1f}", status=visible(status()))

        yield advance


def table(values: Sequence[MetricValue], title: str, caption: str = "") -> None:
    """Print metric values: protocol, metric, slice, value in percent, 95 % interval, n, unscored."""
    _write(metrics_text(values, title, caption, _terminal_width() or WIDTH, is_terminal=sys.stdout.isatty()))


def metrics_text(
    values: Sequence[MetricValue], title: str, caption: str, width: int, *, is_terminal: bool = False
) -> str:
    """The table of metric values as text, at least as wide as its numbers need."""
    view = metric_table(values, title, caption, width=width)
    return rendered(view, max(width, natural_width(view)), is_terminal=is_terminal)


def grid(header: Sequence[str], rows: Sequence[Sequence[str] | None], title: str, caption: str = "") -> None:
    """Print a table of texts, the first column left; None draws a rule.  A cell may have several lines.

    A row whose cells are all empty but for the first is the heading of those up to the next rule.
    Columns that do not fit next to each other follow in further tables, the first column repeated.  On a terminal the
    width is the terminal's, elsewhere 80 characters.
    """
    from rich import box
    from rich.table import Table

    width = _terminal_width() or 80
    for number, columns in enumerate(_that_fit(header, rows, width)):
        first = not number
        view = Table(title=visible(title) if first else None, box=box.SIMPLE_HEAD, title_justify="left")
        for column in columns:
            view.add_column(one_line(header[column]), justify="right" if column else "left", overflow="fold")
        for group in _filled_groups(rows, columns):
            for row in group:
                view.add_row(*(_lines_of(row[column]) for column in columns))
            view.add_section()
        _print(view, width)
    for line in caption.split("\n") if caption else ():
        out(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False))


def _filled_groups(rows: Sequence[Sequence[str] | None], columns: Sequence[int]) -> Iterator[list[Sequence[str]]]:
    """The rows between the rules that have a cell in these columns, with the headings of their groups."""
    group: list[Sequence[str]] = []
    for row in (*rows, None):
        if row is not None:
            group.append(row)
            continue
        kept = [r for r in group if not any(r[1:]) or any(r[column] for column in columns[1:])]
        if any(any(r[column] for column in columns[1:]) for r in kept):
            yield kept
        group = []


def _that_fit(header: Sequence[str], rows: Sequence[Sequence[str] | None], width: int) -> list[list[int]]:
    """The columns of each table, the first column in all of them."""
    texts = [header, *(row for row in rows if row is not None)]
    # Two spaces around each column.
    widths = [2 + max(len(line) for row in texts for line in row[k].split("\n")) for k in range(len(header))]
    found: list[list[int]] = []
    for column in range(1, len(header)):
        if not found or sum(widths[k] for k in found[-1]) + widths[column] > width:
            found.append([0])
        found[-1].append(column)
    return found


def _lines_of(cell: str) -> str:
    # A leading space is an indent.
    return "\n".join(" " * (len(line) - len(line.lstrip())) + one_line(line) for line in cell.split("\n"))


def _terminal_width() -> int | None:
    """The width of the terminal; None where the output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _print(view: Table, width: int) -> None:
    """Print a table of rich, at the terminal's width or, elsewhere, at `width`."""
    _write(rendered(view, _terminal_width() or width, is_terminal=sys.stdout.isatty()))


def rendered(view: Table, width: int | None, *, is_terminal: bool = False) -> str:
    """A table of rich as text, in colour for a terminal.

    Into a text first, because rich ends the process with code 1 where a pipe has no reader.  Without markup and emoji:
    a name like [bold] or :smile: is a name.  Without rich's own display in notebooks, which would replace the text.
    """
    from rich.console import Console

    text = io.StringIO()
    printer = Console(
        file=text, width=width, force_terminal=is_terminal, force_jupyter=False, markup=False, emoji=False
    )
    printer.print(view)
    return text.getvalue()
