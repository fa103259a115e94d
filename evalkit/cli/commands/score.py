"""Score existing answers: predictions=FILE task=NAME.

predictions= is a run's folder or a file of answers in any of the formats that evalkit reads, recognised by its content
(format=auto).  Scoring needs no images and no model libraries.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import make_protocols, make_task, table_title
from evalkit.cli.leaderboard import add_to_leaderboard
from evalkit.cli.task_settings import baseline_protocols, reference_protocol
from evalkit.core import console

HELP_ORDER = 20


def main(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.core.files import write_json
    from evalkit.importers import join, read_answers
    from evalkit.pipeline.evaluate import conclude, limited
    from evalkit.pipeline.rescore import context_of, file_digest, folder_for, scored_manifest
    from evalkit.pipeline.summary import show
    from evalkit.runs.store import write_predictions

    path = Path(config["predictions"])
    columns = {k: config[k] for k in ("id", "prediction", "question", "reference")}
    file = read_answers(path, format=config["format"], **columns)
    if config["task"].get("answers_format") == file.format and config["task"].get("path") is None:
        # Such a file carries its own questions and references: it is the data too.
        config = {**config, "task": {**config["task"], "path": file.path}}
    task = make_task(config)
    loaded = task.load(images=False)
    order, max_unmatched = config["task"].get("order"), float(config["max_unmatched"])
    joined = join(file, loaded, order=order, by=config["by"], max_unmatched=max_unmatched)
    loaded = limited(loaded, config["limit"])
    predictions = joined.predictions[: len(loaded.samples)]
    for text in (*file.notes, *joined.notes):
        console.note(f"note: {text}")
    console.note(f"{path}: {file.format}, {joined.n_matched} answers joined by {joined.by}")
    context = context_of(path, loaded, config["name"])
    folder = folder_for(Path(config["out"]), context, predictions)
    with folder.locked():
        origin = {"path": str(path), "sha256": file_digest(path), "format": file.format, "joined_by": joined.by}
        write_json(folder.manifest, scored_manifest(folder, context, origin, config))
        write_predictions(folder.predictions, loaded.samples, predictions)
        outcome = conclude(
            folder, loaded.samples, predictions, make_protocols(config), context, {}, task,
            baseline_protocols=baseline_protocols(config["task"]),
            reference_protocol=reference_protocol(config["task"]),
        )  # fmt: skip
    add_to_leaderboard(config, outcome, limit=config["limit"])
    show(outcome, table_title(outcome.summary))
    return 0
