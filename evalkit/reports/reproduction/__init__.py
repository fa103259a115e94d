"""A paper's table beside what runs reproduced of it: one verdict a cell, as a table for people and for papers."""

from collections.abc import Callable, Sequence

from evalkit.published import PublishedTable
from evalkit.reports.reproduction.config import Mapped, Paper, parse_paper, read_summaries
from evalkit.reports.reproduction.csv_table import csv_text
from evalkit.reports.reproduction.latex_table import latex
from evalkit.reports.reproduction.markdown import markdown, show, tally
from evalkit.reports.reproduction.missing_runs import Needed, missing_runs
from evalkit.reports.reproduction.verdict import (
    ACCEPT,
    DEVIATES,
    IRREPRODUCIBLE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    VERDICTS,
    WITHIN,
    Cell,
    OwnRow,
    compare_paper,
    own_rows,
)

Format = Callable[[PublishedTable, Sequence[Cell], Sequence[OwnRow]], str]
# Suffix of the file that is asked for -> what writes it.
FORMATS: dict[str, Format] = {".md": markdown, ".csv": csv_text, ".tex": latex}

__all__ = [
    "ACCEPT",
    "DEVIATES",
    "FORMATS",
    "IRREPRODUCIBLE",
    "NOT_COMPARABLE",
    "NOT_RUN",
    "REPRODUCED",
    "VERDICTS",
    "WITHIN",
    "Cell",
    "Mapped",
    "Needed",
    "OwnRow",
    "Paper",
    "compare_paper",
    "csv_text",
    "latex",
    "markdown",
    "missing_runs",
    "own_rows",
    "parse_paper",
    "read_summaries",
    "show",
    "tally",
]
