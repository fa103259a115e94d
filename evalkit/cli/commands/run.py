"""Generate with model= on task=, score, print the table (the default).

A run that was interrupted goes on where it stopped when the same command is given again.  engine.shard=i/n answers
one part of the questions; `evalkit merge` joins the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import (
    make_engine,
    make_prompt_record,
    make_protocols,
    make_task,
    model_name,
    require_weights,
    table_title,
)
from evalkit.cli.leaderboard import add_to_leaderboard
from evalkit.cli.task_settings import baseline_protocols, reference_protocol
from evalkit.core import console
from evalkit.core.errors import Partial

if TYPE_CHECKING:
    from evalkit.core.types import ImageRef
    from evalkit.pipeline.shards import Shard
    from evalkit.pipeline.summary import Outcome

HELP_ORDER = 0


def main(config: Config) -> int:
    """Generate, score, print; write the leaderboard row."""
    from evalkit.core.files import write_whole
    from evalkit.pipeline.evaluate import IMAGE_MODES, Settings, evaluate, limited
    from evalkit.pipeline.shards import Shard
    from evalkit.pipeline.summary import show
    from evalkit.runs.prompt_record import NAME, content
    from evalkit.tasks.image_check import check_images

    settings = Settings(
        model=model_name(config),
        image=checked_choice(config["image"], IMAGE_MODES, "image"),
        limit=config["limit"],
        out=Path(config["out"]),
        resume=bool(config["resume"]),
        dry_run=bool(config["dry_run"]),
        shard=Shard.parse(config["engine"].get("shard")),
    )
    protocols = make_protocols(config)
    task = make_task(config)
    sees_images = config["model"].get("kind") == "checkpoint"
    if sees_images:
        require_weights(config, settings.model)
    loaded = task.load(images=sees_images)
    digests: Mapping[ImageRef, str] = {}
    if sees_images:
        loaded, digests = check_images(loaded, on_missing=config["task"].get("on_missing_image", "error"))
    engine = make_engine(config, settings.model, task)
    outcome = evaluate(
        task, loaded, digests, engine, protocols, settings, config,
        baseline_protocols=baseline_protocols(config["task"]),
        reference_protocol=reference_protocol(config["task"]),
    )  # fmt: skip
    if outcome is None:
        return 0
    record = make_prompt_record(
        config, task, limited(loaded, settings.limit), digests,
        model=settings.model, image=settings.image, limit=settings.limit, generation=engine.generation,
    )  # fmt: skip
    assert outcome.folder is not None
    write_whole(outcome.folder / NAME, content(record))
    if settings.shard is not None:
        report_part(outcome, settings.shard)
        return 0
    add_to_leaderboard(config, outcome, limit=settings.limit, model=config["model"])
    show(outcome, table_title(outcome.summary))
    return 0


def report_part(outcome: Outcome, shard: Shard) -> None:
    """Report a finished part of a run, which has no score of its own.

    Raises:
        Partial: some of its samples failed.
    """
    console.note(
        f"part {shard.index} of {shard.of}: {outcome.n_failed} failed; `evalkit merge runs=[...]` joins the parts"
    )
    console.out(str(outcome.folder))
    if outcome.n_failed:
        raise Partial(
            f"{outcome.n_failed} samples of part {shard.index}/{shard.of} failed. Finished answers are kept; the same "
            "command asks the failed samples again."
        )
