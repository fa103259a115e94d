"""The leaderboard of a folder of runs, made from the runs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evalkit.analysis.run_scores import RunScores
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

    Raises:
        StoreError: a run was changed after it ended.
    """
    results: dict[str, LeaderboardResult] = {}
    scores: dict[str, RunScores] = {}
    for folder in folders:
        run = open_run(folder)
        exposed = exposure(run)
        if exposed is None or run.summary.run_id in results:  # a copy of a run is no second row
            continue
        result = leaderboard_result(run.summary, exposed)
        results[result.run_id] = result
        if (found := scores_to_rank(result, folder)) is not None:
            scores[result.run_id] = found
    tasks = sorted({r.task for r in results.values()})
    published = read_published(folders[0].parent, set(tasks)) if tasks else []
    boards = [board(task, [r for r in results.values() if r.task == task], scores, published) for task in tasks]
    return page(boards, overviews(boards))
