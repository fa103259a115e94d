"""Score existing answers: predictions=FILE task=NAME.

predictions= is a run's folder or a file of answers in any of the formats that evalkit reads, recognised by its content
(format=auto).  Scoring needs no images and no model libraries.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import (
    make_analysis_settings,
    make_protocols,
    make_selection,
    make_task,
    make_whole_task,
    reasoning_mode,
    table_title,
    with_sample,
)
from evalkit.cli.leaderboard import add_to_leaderboard, check_row
from evalkit.cli.option_settings import with_run_options
from evalkit.core import console
from evalkit.core.errors import Partial

HELP_ORDER = 20


def main(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.importers import join, read_answers
    from evalkit.pipeline.conclude import conclude, show
    from evalkit.pipeline.inputs import limited
    from evalkit.pipeline.rescore import (
        check_answers,
        file_digest,
        folder_for,
        provenance_of,
        run_manifest,
        scored_manifest,
    )
    from evalkit.pipeline.train_split import TrainSplit
    from evalkit.runs.schema import AnswersFile
    from evalkit.runs.store import write_predictions, write_record
    from evalkit.scoring.golds import check_golds
    from evalkit.tasks.base import check_ids

    check_row(config)
    path = Path(config["predictions"])
    columns = {k: config[k] for k in ("id", "prediction", "question", "reference", "image_id")}
    check_answers(path)
    file = read_answers(path, format=config["format"], **columns)
    if config["task"].get("answers_format") == file.format and config["task"].get("path") is None:
        # Such a file carries its own questions and references: it is the data too.
        config = {**config, "task": {**config["task"], "path": file.path}}
    config = with_run_options(with_sample(config), run_manifest(path))
    task, selection = make_whole_task(config), make_selection(config)
    if config["task"].get("option_rows") or config["task"].get("orders"):
        task, selection = make_task(config), None  # the answers of a run, which has just these rows
    loaded = task.load(images=False)
    check_ids(loaded)
    order, max_unmatched = config["task"].get("order"), float(config["max_unmatched"])
    reasoning = reasoning_mode(config)
    joined = join(file, loaded, order=order, by=config["by"], max_unmatched=max_unmatched, reasoning=reasoning)
    loaded = replace(loaded, notes=(*loaded.notes, *joined.warnings))
    predictions = joined.predictions
    if selection is not None:  # after the join: the file may have answers to all rows
        loaded = selection.apply(loaded)
        kept = {s.id for s in loaded.samples}
        predictions = tuple(p for p in predictions if p.sample_id in kept)
    loaded = limited(loaded, config["limit"])
    predictions = predictions[: len(loaded.samples)]
    for text in (*file.notes, *joined.notes):
        console.note(f"note: {text}")
    for text in joined.warnings:
        console.warn(text)
    console.note(f"{path}: {file.format}, {joined.n_matched} answers joined by {joined.by}")
    origin = AnswersFile(path=str(path), sha256=file_digest(path), format=file.format, joined_by=joined.by)
    del file  # memory: scores follow
    provenance = replace(provenance_of(path, loaded, config["name"], config["limit"]), reasoning=reasoning)
    folder = folder_for(Path(config["out"]), provenance, predictions)
    protocols = make_protocols(config)
    check_golds(loaded.samples, protocols, f"{loaded.name} ({loaded.split})")
    manifest = scored_manifest(folder, provenance, origin, protocols, config)
    with folder.locked():
        write_record(folder.manifest, replace(manifest, status="running"))
        write_predictions(folder.predictions, loaded.samples, predictions)
        conclusion = conclude(
            folder,
            loaded.samples,
            predictions,
            protocols,
            provenance,
            None,
            make_analysis_settings(config["task"], TrainSplit(task)),
        )
        write_record(folder.manifest, manifest)  # last: it says that the run is finished
    add_to_leaderboard(config, conclusion, limit=provenance.limit)
    assert conclusion.summary is not None, "a scored file has a summary"
    said = replace(conclusion.summary, notes=tuple(n for n in conclusion.summary.notes if n not in joined.warnings))
    show(replace(conclusion, summary=said), table_title(conclusion.summary))
    if conclusion.n_failed:
        raise Partial(
            f"{conclusion.n_failed} of {conclusion.summary.n} samples have no answer in {path} but a failure, and are "
            "not in the values above. Ask the failed ones again with the tool that wrote the file."
        )
    return 0
