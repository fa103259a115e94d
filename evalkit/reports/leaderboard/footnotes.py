"""What the marks in a table mean, of those that can be in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.reports.leaderboard.entries import Line
from evalkit.reports.leaderboard.ranking import Standing

PLACES = (
    "Places are among the runs whose answers' scores are stored, by paired comparison on the same answers (95 %, "
    "clustered by image, Holm): ≈ cannot be told from the best; bold: can be told from every other such run."
)
BESIDE_RUNS = (
    "Rows of papers stand by the printed value, without their answers: neither a tie nor a win is claimed for or "
    "against them. They are over as many rows of a split of that name; that the rows are the same cannot be checked."
)
PAPERS = "Rows of papers stand by the printed value, without their answers: ties cannot be known."
UNSTORED = "Runs without stored scores of their answers have no place: ties cannot be known."
WILSON = (
    "~ marks Wilson's interval of the printed value over n rows, as if they were independent: it is too narrow where "
    "rows share an image."
)


def how_to_read(lines: Sequence[Line], places: Mapping[str, Mapping[str, Standing]], reason: str) -> list[str]:
    """Footnotes of a table.  places: as in `Table`.  reason: why it is no ranking, "" where it is one."""
    runs = [line for line in lines if line.kind == "run"]
    said = [PLACES] if any(places.values()) else []
    if len(runs) > 1 and not reason and any(line.scored is None for line in runs):
        said.append(UNSTORED)
    if any(line.kind == "paper" for line in lines):
        said.append(BESIDE_RUNS if runs and not reason else PAPERS)
    if any(cell.interval == "Wilson" for line in lines for cell in line.cells.values()):
        said.append(WILSON)
    return said
