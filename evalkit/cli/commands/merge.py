"""Join the parts of a run made with engine.shard=i/n: runs=[DIR,DIR,...]."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import as_list, make_protocols, make_task, table_title, task_config_of
from evalkit.cli.leaderboard import add_to_leaderboard
from evalkit.cli.task_settings import baseline_protocols, reference_protocol
from evalkit.core import console

HELP_ORDER = 10


def main(config: Config) -> int:
    """Join the parts of a run (engine.shard=i/n) into the whole run, and score it."""
    from evalkit.core.files import write_json
    from evalkit.pipeline.evaluate import conclude, limited
    from evalkit.pipeline.rescore import context_of
    from evalkit.pipeline.shards import (
        copy_where_equal,
        find_parts,
        joined,
        joined_manifest,
        read_parts,
        replace_predictions,
    )
    from evalkit.pipeline.summary import show
    from evalkit.runs.prompt_record import NAME
    from evalkit.runs.store import RunFolder

    parts = read_parts(find_parts([Path(p) for p in as_list(config["runs"])]))
    manifest = parts[0].manifest
    task_config = task_config_of(manifest, config["data"])
    task = make_task({"task": task_config})
    loaded = limited(task.load(images=False), manifest["limit"])
    predictions = joined(parts, loaded)
    folder = RunFolder(Path(config["out"]) / manifest["run_id"])
    with folder.locked():
        replace_predictions(folder.predictions, loaded.samples, predictions)
        whole = joined_manifest(parts)
        write_json(folder.manifest, whole)
        copy_where_equal([part.folder.path / NAME for part in parts], folder.path / NAME)
        context = context_of(folder.path, loaded, None)
        protocols = make_protocols(manifest["config"])
        outcome = conclude(
            folder, loaded.samples, predictions, protocols, context, whole["timing"], task,
            baseline_protocols=baseline_protocols(task_config),
            reference_protocol=reference_protocol(task_config),
        )  # fmt: skip
    for name in whole["facts"]["differs_between_parts"]:
        console.note(f"note: the parts differ in {name}; the manifest has the first part's")
    add_to_leaderboard(config, outcome, limit=manifest["limit"], model=manifest["config"]["model"])
    if outcome.n_failed:
        console.note("failed samples are asked again by the commands of their parts, then merge once more")
    show(outcome, table_title(outcome.summary))
    return 0
