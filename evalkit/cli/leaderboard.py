"""The leaderboard row of a finished run, for the verbs that write one.

A leaderboard that another process holds too long loses nothing: the row is not stored, the run is on disk and its
numbers are printed, and the exit code is 3 at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import selects_rows
from evalkit.core import console
from evalkit.core.errors import Partial

if TYPE_CHECKING:
    from evalkit.pipeline.conclude import Conclusion


def check_row(config: Config) -> None:
    """Check, before anything is generated or scored, that the row can go on the leaderboard that is asked for.

    Raises:
        DataError: the task cannot have a table.
    """
    if config["leaderboard"] and config["limit"] is None and not selects_rows(config):
        from evalkit.reports.leaderboard import check_task_name

        check_task_name(str(config["task"].get("name")))


def add_to_leaderboard(
    config: Config, conclusion: Conclusion, *, limit: int | None, model: Mapping[str, Any] | None = None
) -> Conclusion:
    """Add a run's row to the leaderboard folder of the configuration and rebuild its tables.

    Returns the conclusion, with the reason where the row could not be stored.

    Nothing is written without a folder (leaderboard=null) or for a run over a part of the samples (`limit`, `sample`,
    `task.where`, rows without options under scoring=loglikelihood) or in several orders of its options.

    Args:
        model: the model's YAML, whose `trained_on` gives the training exposure, unless the setting `regime` does; None
            for answers of unknown origin, where only the setting does.
    """
    if not config["leaderboard"] or limit is not None or selects_rows(config):
        return conclusion
    from evalkit.published.table import REGIMES
    from evalkit.reports.leaderboard import TrainingExposure, add, training_exposure

    summary = conclusion.summary
    assert summary is not None, "a part of a run has no row"
    if summary.task.endswith("]"):  # other rows than those of the set, or each more than once
        return conclusion
    if model is None:
        exposure = TrainingExposure(regime=checked_choice(config["regime"], REGIMES, "regime"))
    else:
        exposure = training_exposure(model, summary.task, summary.split)
        if config.get("regime") is not None:
            regime = checked_choice(config["regime"], REGIMES, "regime")
            exposure = TrainingExposure(role=exposure.role, regime=regime)
    try:
        add(Path(config["leaderboard"]), summary, conclusion.folder, exposure)
    except Partial as problem:
        console.warn(f"the row of {summary.run_id} is not on the leaderboard: {problem}.")
        return replace(conclusion, unstored=str(problem))
    return conclusion


def check_stored(conclusions: Sequence[Conclusion | None]) -> None:
    """Check that the row of every run was stored, after everything was printed and written.

    Raises:
        Partial: one was not.
    """
    reasons = [c.unstored for c in conclusions if c is not None and c.unstored is not None]
    if reasons:
        raise Partial(
            f"The numbers above are complete, and the rows of {len(reasons)} run(s) are not on the leaderboard: "
            f"{reasons[0]}. Then the same command adds them, without asking the model."
        )
