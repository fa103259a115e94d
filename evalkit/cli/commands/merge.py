"""Join the parts of a run made with engine.shard=i/n: runs=[DIR,DIR,...]."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import as_list, make_analysis_settings, make_task, metrics_setting, table_title
from evalkit.cli.leaderboard import add_to_leaderboard, check_stored
from evalkit.cli.saved_config import saved_protocols, saved_task
from evalkit.core import console

if TYPE_CHECKING:
    from evalkit.pipeline.conclude import Conclusion

HELP_ORDER = 10
EXAMPLES = (
    "evalkit merge runs=[runs/PART,runs/PART]",
    "evalkit merge runs=runs leaderboard=null",
)


def main(config: Config) -> int:
    """Join the parts of a run (engine.shard=i/n) into the whole run, and score it."""
    from evalkit.pipeline.conclude import check_complete, show

    conclusion = merge_runs(config)
    if conclusion.n_failed:
        console.note("failed samples are asked again by the commands of their parts, then merge once more")
    assert conclusion.summary is not None, "a whole run has a summary"
    show(conclusion, table_title(conclusion.summary), metrics_setting(config))
    check_complete(conclusion)
    check_stored([conclusion])
    return 0


def merge_runs(config: Config) -> Conclusion:
    """Join the parts of a run, score it and write its leaderboard row; the table is not printed."""
    from evalkit.pipeline.conclude import conclude
    from evalkit.pipeline.inputs import limited
    from evalkit.pipeline.manifest import protocol_versions
    from evalkit.pipeline.rescore import provenance_of
    from evalkit.pipeline.shards import (
        copy_where_equal,
        find_parts,
        merged_manifest,
        merged_predictions,
        read_parts,
        replace_predictions,
    )
    from evalkit.pipeline.train_split import TrainSplit
    from evalkit.runs.store import RunFolder, run_name, write_record

    parts = read_parts(find_parts([Path(p) for p in as_list(config["runs"])]))
    manifest = merged_manifest(parts)
    task_config = saved_task(manifest, config["data"])
    protocols = saved_protocols(manifest, task_config)
    task = make_task({"task": task_config})
    loaded = limited(task.load(images=False), manifest.limit)
    predictions = merged_predictions(parts, loaded)
    folder = RunFolder(Path(config["out"]) / run_name(manifest.run_id))
    manifest = replace(manifest, protocols=protocol_versions(protocols))
    with folder.locked():
        write_record(folder.manifest, replace(manifest, status="running"))
        replace_predictions(folder.predictions, loaded.samples, predictions)
        copy_where_equal([part.folder.prompts for part in parts], folder.prompts)
        conclusion = conclude(
            folder,
            loaded.samples,
            predictions,
            protocols,
            provenance_of(folder.path, loaded, None),
            manifest.timing,
            make_analysis_settings(task_config, TrainSplit(task)),
        )
        write_record(folder.manifest, manifest)  # last: it says that the run is finished
    for name in manifest.facts["differs_between_parts"]:
        console.note(f"note: the parts differ in {name}; the manifest has the first part's")
    stated = {**config, "task": task_config, "regime": manifest.config.get("regime")}
    return add_to_leaderboard(stated, conclusion, limit=manifest.limit, model=manifest.section("model"))
