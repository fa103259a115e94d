"""The leaderboard row of a finished run, for the verbs that write one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, checked_choice

if TYPE_CHECKING:
    from evalkit.pipeline.summary import Outcome


def add_to_leaderboard(
    config: Config, outcome: Outcome, *, limit: int | None, model: Mapping[str, Any] | None = None
) -> None:
    """Add a run's row to the leaderboard folder of the configuration and rebuild its tables.

    Nothing is written without a folder (leaderboard=null) or for a run over the first `limit` samples only.

    Args:
        model: the model's YAML, whose `trained_on` gives the training exposure; None for answers of unknown origin,
            where the setting `regime` does.
    """
    if not config["leaderboard"] or limit is not None:
        return
    from evalkit.published.table import REGIMES
    from evalkit.reports.leaderboard import add, standing

    if model is None:
        exposure = {"role": "model", "regime": checked_choice(config["regime"], REGIMES, "regime"), "train": ""}
    else:
        exposure = standing(model, outcome.summary["task"], outcome.summary["split"])
    add(Path(config["leaderboard"]), outcome.summary, outcome.folder, exposure)
