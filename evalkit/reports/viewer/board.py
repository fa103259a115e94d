"""The leaderboard of a folder of runs, made from the runs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from evalkit.analysis.run_scores import RunScores
from evalkit.core.errors import EvalkitError
from evalkit.reports.leaderboard.entries import result_address
from evalkit.reports.leaderboard.exposure import TrainingExposure
from evalkit.reports.leaderboard.folder import leaderboard_result, read_published, scores_to_rank
from evalkit.reports.leaderboard.overview import overviews
from evalkit.reports.leaderboard.page import page
from evalkit.reports.leaderboard.tables import board
from evalkit.runs.schema import LeaderboardResult
from evalkit.runs.verify import StoredRun, open_run


def board_of(folders: Sequence[Path], exposure: Callable[[StoredRun], TrainingExposure | None]) -> str:
    """The page of the board, with evalkit's own figures of papers for the tasks of the runs.

    Args:
        folders: of finished runs.
        exposure: the training exposure of a run's model; None for a run that no board has.

    A run that was changed after it ended is left out; the page says so.
    """
    results: dict[str, LeaderboardResult] = {}
    names: dict[str, str] = {}
    scores: dict[str, RunScores] = {}
    problems: list[str] = []
    for folder in folders:
        try:
            run = open_run(folder)
            exposed = exposure(run)
            if exposed is None or run.summary.run_id in results:  # a copy of a run is no second row
                continue
            result = leaderboard_result(run.summary, exposed)
            found = scores_to_rank(result, folder)
        except EvalkitError as problem:
            problems.append(f"{folder.name} is left out: {str(problem).replace(f'{folder.parent}/', '')}")
            continue
        results[result.run_id] = result
        names[result.run_id] = folder.name
        if found is not None:
            scores[result.run_id] = found
    tasks = sorted({r.task for r in results.values()})
    published = read_published(folders[0].parent, set(tasks)) if tasks else []
    boards = [board(task, [r for r in results.values() if r.task == task], scores, published) for task in tasks]
    links = [(result_address(r), names[r.run_id]) for r in results.values()]
    return _linked(page(boards, overviews(boards)), links, problems)


def _linked(text: str, runs: Sequence[tuple[str, str]], problems: Sequence[str]) -> str:
    """The page with links to the pages of runs, where a leaderboard has links to the files of results.

    runs: the address of a result, and the name of its run's folder.
    """
    said = "".join(f'\n<p class="about">{escape(problem)}</p>' for problem in problems)
    text = text.replace("<main>", f"<main>{said}", 1)
    text = text.replace("<header>", '<header>\n<nav aria-label="Pages"><a href="index.html">all runs</a></nav>', 1)
    for address, name in runs:
        there = f"run.html?{urlencode({'run': name})}"
        # Quotes in names are escaped, so that an attribute cannot be part of one.
        text = text.replace(f'href="{escape(address)}"', f'href="{there}"')
    return text
