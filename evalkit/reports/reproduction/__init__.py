"""A paper's table next to the values of runs: one verdict a cell, for a terminal, as Markdown, CSV and LaTeX."""

from collections.abc import Callable, Sequence

from evalkit.published import PublishedTable
from evalkit.reports.reproduction.config import ModelRow, Paper, parse_paper, read_summaries
from evalkit.reports.reproduction.csv_table import csv_text
from evalkit.reports.reproduction.latex_table import latex
from evalkit.reports.reproduction.layout import ExtraRow, extra_rows
from evalkit.reports.reproduction.markdown import markdown, show, tally
from evalkit.reports.reproduction.missing_runs import MissingRun, missing_runs
from evalkit.reports.reproduction.verdict import (
    ACCEPT,
    DEVIATES,
    EQUIVALENT,
    IRREPRODUCIBLE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    VERDICTS,
    WITHIN,
    ReproducedCell,
    compare_paper,
)

Format = Callable[[PublishedTable, Sequence[ReproducedCell], Sequence[ExtraRow]], str]
# Suffix of the written file -> the function that makes its text.
FORMATS: dict[str, Format] = {".md": markdown, ".csv": csv_text, ".tex": latex}

__all__ = [
    "ACCEPT",
    "DEVIATES",
    "EQUIVALENT",
    "FORMATS",
    "IRREPRODUCIBLE",
    "NOT_COMPARABLE",
    "NOT_RUN",
    "REPRODUCED",
    "VERDICTS",
    "WITHIN",
    "ExtraRow",
    "MissingRun",
    "ModelRow",
    "Paper",
    "ReproducedCell",
    "compare_paper",
    "csv_text",
    "extra_rows",
    "latex",
    "markdown",
    "missing_runs",
    "parse_paper",
    "read_summaries",
    "show",
    "tally",
]
