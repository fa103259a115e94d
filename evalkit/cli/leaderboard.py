"""The leaderboard row of a finished run, for the verbs that write one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import selects_rows

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
) -> None:
    """Add a run's row to the leaderboard folder of the configuration and rebuild its tables.

    Nothing is written without a folder (leaderboard=null) or for a run over a part of the samples (`limit`, `sample`,
    `task.where`, rows without options under scoring=loglikelihood) or in several orders of its options.

    Args:
        model: the model's YAML, whose `trained_on` gives the training exposure, unless the setting `regime` does; None
            for answers of unknown origin, where only the setting does.
    """
    if not config["leaderboard"] or limit is not None or selects_rows(config):
        return
    from evalkit.published.table import REGIMES
    from evalkit.reports.leaderboard import TrainingExposure, add, training_exposure

    summary = conclusion.summary
    assert summary is not None, "a part of a run has no row"
    if summary.task.endswith("]"):  # other rows than those of the set, or each more than once
        return
    if model is None:
        exposure = TrainingExposure(regime=checked_choice(config["regime"], REGIMES, "regime"))
    else:
        exposure = training_exposure(model, summary.task, summary.split)
        if config.get("regime") is not None:
            regime = checked_choice(config["regime"], REGIMES, "regime")
            exposure = TrainingExposure(role=exposure.role, regime=regime)
    add(Path(config["leaderboard"]), summary, conclusion.folder, exposure)
