"""The leaderboard of a folder of runs, made from the runs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

from evalkit.analysis.run_scores import RunScores
from evalkit.core.errors import EvalkitError, StoreError
from evalkit.reports.leaderboard.entries import result_address
from evalkit.reports.leaderboard.exposure import TrainingExposure
from evalkit.reports.leaderboard.folder import leaderboard_result, read_published, scores_to_rank
from evalkit.reports.leaderboard.history import answers_sha256, following
from evalkit.reports.leaderboard.index_page import pages
from evalkit.reports.leaderboard.overview import overviews
from evalkit.reports.leaderboard.page import Link, Surroundings, twins
from evalkit.reports.leaderboard.tables import board
from evalkit.runs.read import result_at
from evalkit.runs.schema import LeaderboardResult
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import StoredRun, open_run

INDEX = "board.html"
# Of the names of the pages of tasks.
PREFIX = "board-"
# Where `run` and `score` store rows unless told otherwise, below the folder of runs.
STORED = ("leaderboards", "results")


def board_of(folders: Sequence[Path], exposure: Callable[[StoredRun], TrainingExposure | None]) -> dict[str, str]:
    """Address -> page of the board, `INDEX` first, with evalkit's own figures of papers for the tasks of the runs.

    Args:
        folders: of finished runs.
        exposure: the training exposure of a run's model; None for a run that no board has.

    A run that was changed after it ended is left out; the pages say so.  Rows have the history that the leaderboard
    beside the runs has of them.
    """
    results: dict[str, LeaderboardResult] = {}
    names: dict[str, str] = {}  # run id -> name of its folder
    scores: dict[str, RunScores] = {}
    problems: list[str] = []
    stored = {path.stem: path for path in stored_results(folders[0].parent)} if folders else {}
    for folder in folders:
        try:
            run = open_run(folder)
            exposed = exposure(run)
            if exposed is None or run.summary.run_id in results:  # a copy of a run is no second row
                continue
            result = leaderboard_result(run.summary, exposed)
            found = scores_to_rank(result, folder)
            if found is None:  # a baseline or a control: its scores were not read, which checks them
                run.check(RunFolder(folder).predictions.name, RunFolder(folder).scores.name)
            digest = None if found is None else answers_sha256(folder, found)
            result = following(replace(result, answers=digest), _stored(stored.get(result.run_id), problems), None)
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
    around = Surroundings(
        index=INDEX,
        prefix=PREFIX,
        twins=twins(tasks),
        links=(Link("index.html", "all runs"),),
        notes=tuple(problems),
        addresses={
            result_address(r): f"run.html?{urlencode({'run': names[r.run_id]}, errors='surrogatepass')}"
            for r in results.values()
        },
    )
    return pages(boards, overviews(boards), around)


def stored_results(root: Path) -> list[Path]:
    """The results of the leaderboard in a folder of runs; none where links lead out of it."""
    folder = root.joinpath(*STORED)
    return sorted(p for p in folder.glob("*.json") if p.is_file() and p.resolve().is_relative_to(root.resolve()))


def _stored(path: Path | None, problems: list[str]) -> LeaderboardResult | None:
    """The stored result of a run; None where there is none, or none that can be read, which is a problem then."""
    if path is None:
        return None
    try:
        return result_at(path)
    except StoreError as problem:
        shown = str(problem).replace(f"{path.parent.parent.parent}/", "")
        problems.append(f"{path.stem} is shown without its history: {shown}")
        return None
