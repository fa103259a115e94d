"""Generate with model= on task=, score, print the table (the default).

A run that was interrupted goes on where it stopped when the same command is given again.  engine.shard=i/n answers
one part of the questions; `evalkit merge` joins the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import (
    FROM_CONFIG,
    ModelMaker,
    load_for_model,
    make_analysis_settings,
    make_protocols,
    make_settings,
    make_task,
    table_title,
    with_letters,
    with_sample,
)
from evalkit.cli.leaderboard import add_to_leaderboard, check_row
from evalkit.core import console
from evalkit.core.errors import Partial

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.pipeline.conclude import Conclusion
    from evalkit.pipeline.shards import Shard
    from evalkit.runs.schema import Summary

HELP_ORDER = 0


def main(config: Config) -> int:
    """Generate, score, print; write the leaderboard row; for a suite, task after task."""
    if config.get("suite") is not None:
        from evalkit.cli.suite import run_suite

        return run_suite(config, run_task)
    run_task(config, lambda engine: engine)
    return 0


def run_task(config: Config, through: Callable[[Engine], Engine]) -> Summary | None:
    """Run one task and print its table; see `answer_task`.  None for a dry run and for a part of a run."""
    from evalkit.pipeline.conclude import show
    from evalkit.pipeline.shards import Shard

    conclusion = answer_task(config, through)
    if conclusion is None:
        return None
    if (summary := conclusion.summary) is None:
        shard = Shard.parse(config["engine"].get("shard"))
        assert shard is not None, "a whole run has a summary"
        report_part(conclusion, shard)
        return None
    show(conclusion, table_title(summary))
    return summary


def answer_task(
    config: Config, through: Callable[[Engine], Engine], maker: ModelMaker = FROM_CONFIG
) -> Conclusion | None:
    """Answer and score one task and add its row to the leaderboard; without the printed table.

    Args:
        through: a function that the engine passes first.
        maker: where the model is from.

    Returns:
        The conclusion, without a summary for a part of a run; None for a dry run.
    """
    from evalkit.pipeline.evaluate import evaluate
    from evalkit.pipeline.train_split import TrainSplit

    config = with_sample(with_letters(config))
    check_row(config)
    settings = make_settings(config)
    protocols = make_protocols(config)
    task = make_task(config)
    maker.check(config, settings.model)
    checked = load_for_model(config, task)
    train = TrainSplit(task)
    conclusion = evaluate(
        task,
        checked.loaded,
        checked.digests,
        through(maker.engine(config, settings.model, train)),
        protocols,
        settings,
        config,
        template=maker.template(config, settings.model),
        analysis=make_analysis_settings(config["task"], train),
    )
    if conclusion is not None and conclusion.summary is not None:
        add_to_leaderboard(config, conclusion, limit=settings.limit, model=config["model"])
    return conclusion


def report_part(conclusion: Conclusion, shard: Shard) -> None:
    """Report a finished part of a run, which has no score of its own.

    Raises:
        Partial: some of its samples failed.
    """
    console.note(
        f"part {shard.index} of {shard.of}: {conclusion.n_failed} failed; `evalkit merge runs=[...]` joins the parts"
    )
    console.out(str(conclusion.folder))
    if conclusion.n_failed:
        raise Partial(
            f"{conclusion.n_failed} samples of part {shard.index}/{shard.of} failed. Finished answers are kept; the "
            "same command asks the failed samples again."
        )
