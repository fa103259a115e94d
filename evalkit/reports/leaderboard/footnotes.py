"""Footnotes of a table: an explanation of each sign that occurs in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.reports.leaderboard.entries import Entry
from evalkit.reports.leaderboard.ranking import Place

PLACES = (
    "Places are among the runs whose answers' scores are stored, by paired comparison on the same answers (95 %, "
    "clustered by image, all pairs of runs at once by sign flips): ≈ not significantly different from the best, no run "
    "is significantly better; bold: significantly better than every other such run."
)
NEXT_TO_RUNS = (
    "Rows of papers are ordered by the printed value, without their answers: neither a tie nor a win is claimed for or "
    "against them. They are over as many rows of a split of the same name; whether the rows are the same cannot be "
    "checked."
)
PAPERS = "Rows of papers are ordered by the printed value, without their answers: ties are not known."
UNSTORED = "Runs without stored scores of their answers have no place: ties are not known."
WILSON = (
    "~ marks Wilson's interval of the printed value over n rows, as if they were independent: it is too narrow where "
    "rows share an image."
)
LOWER_FIRST = "Lower is better for {column}: the lowest value comes first."
BY_NAME = "Rows are listed by name: whether a higher {column} is better is not known."


def how_to_read(entries: Sequence[Entry], places: Mapping[str, Mapping[str, Place]], reason: str) -> list[str]:
    """Footnotes of a table.

    Args:
        places: as in `Table`.
        reason: why the rows are not ranked; empty where they are.
    """
    runs = [entry for entry in entries if entry.kind == "run"]
    notes = [PLACES] if any(places.values()) else []
    if len(runs) > 1 and not reason and any(entry.scores is None for entry in runs):
        notes.append(UNSTORED)
    if any(entry.kind == "paper" for entry in entries):
        notes.append(NEXT_TO_RUNS if runs and not reason else PAPERS)
    if any(cell.interval == "Wilson" for entry in entries for cell in entry.cells.values()):
        notes.append(WILSON)
    if found := dict.fromkeys(entry.dependent for entry in entries if entry.dependent):
        notes += [f"Rows of papers have no interval: {why}." for why in found]
    return notes


def order_notes(column: str, higher_is_better: bool | None) -> list[str]:
    """The footnote on the order of the rows, where it is not highest first."""
    if higher_is_better:
        return []
    return [(BY_NAME if higher_is_better is None else LOWER_FIRST).format(column=column)]
