"""Score existing answers: predictions=FILE task=NAME.

predictions= is a run's folder or a file of answers in any of the formats that evalkit reads, recognised by its content
(format=auto).  Scoring needs no images and no model libraries.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.cli.config import Config
from evalkit.cli.factories import (
    make_analysis_settings,
    make_protocols,
    make_selection,
    make_task,
    make_whole_task,
    metrics_setting,
    reasoning_mode,
    table_title,
    with_sample,
)
from evalkit.cli.leaderboard import add_to_leaderboard, check_row, check_stored
from evalkit.cli.option_settings import OF_THE_RUN, with_run_options
from evalkit.cli.tracking import check_tracked, make_tracker, track, untracked
from evalkit.core import console
from evalkit.core.errors import Partial

if TYPE_CHECKING:
    from evalkit.pipeline.conclude import Conclusion

HELP_ORDER = 20
EXAMPLES = (
    "evalkit score predictions=answers.jsonl task=slake",
    "evalkit score predictions=RUN task=phantom protocol=[llava-med,strict]",
)


class Scored(NamedTuple):
    """Scored answers.  said: warnings of the join, which were printed before the scoring."""

    conclusion: Conclusion
    said: tuple[str, ...]


def main(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.pipeline.conclude import show

    conclusion, said = score_answers(config)
    summary = conclusion.summary
    assert summary is not None, "a scored file has a summary"
    unsaid = replace(summary, notes=tuple(n for n in summary.notes if n not in said))
    show(replace(conclusion, summary=unsaid), table_title(summary), metrics_setting(config))
    if conclusion.n_failed:
        raise Partial(
            f"{conclusion.n_failed} of {summary.n} samples have no answer in {config['predictions']} but a failure, "
            "and are not in the values above. Ask the failed ones again with the tool that wrote the file."
        )
    check_stored([conclusion])
    check_tracked([conclusion])
    return 0


def score_answers(config: Config, *, covers: str = "task", origin: str | None = None) -> Scored:
    """Score the answers in a file and add their row to the leaderboard; without the printed table.

    Args:
        covers: what the file has answers to: all rows of the "task", or those alone that `limit`, `sample` and
            `task.where` leave, its "part".
        origin: where the answers are from, for the record; None: their file.
    """
    from evalkit.core.packed_predictions import PackedPredictions
    from evalkit.importers import join, read_answers
    from evalkit.pipeline.conclude import conclude
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
    make_tracker(config)
    path = Path(config["predictions"])
    columns = {k: config[k] for k in ("id", "prediction", "question", "reference", "image_id")}
    check_answers(path)
    file = read_answers(path, format=config["format"], **columns)
    if config["task"].get("answers_format") == file.format and config["task"].get("path") is None:
        # Such a file carries its own questions and references: it is the data too.
        config = {**config, "task": {**config["task"], "path": file.path}}
    config = with_run_options(with_sample(config), run_manifest(path))
    task, selection = make_whole_task(config), make_selection(config)
    if any(config["task"].get(key) is not None for key in OF_THE_RUN):
        task, selection = make_task(config), None  # the answers of a run, which has just these rows
    loaded = task.load(images=False)
    check_ids(loaded)
    if covers == "part":
        loaded = limited(loaded if selection is None else selection.apply(loaded), config["limit"])
    order, max_unmatched = config["task"].get("order"), float(config["max_unmatched"])
    reasoning = reasoning_mode(config)
    joined = join(file, loaded, order=order, by=config["by"], max_unmatched=max_unmatched, reasoning=reasoning)
    loaded = replace(loaded, notes=(*loaded.notes, *joined.warnings))
    predictions = joined.predictions
    if selection is not None and covers == "task":  # after the join: the file may have answers to all rows
        loaded = selection.apply(loaded)
        kept = {s.id for s in loaded.samples}
        predictions = PackedPredictions.of([p for p in predictions if p.sample_id in kept])
    loaded = limited(loaded, config["limit"])
    if len(loaded.samples) < len(predictions):
        predictions = PackedPredictions.of(predictions[: len(loaded.samples)])
    for text in (*file.notes, *joined.notes):
        console.note(f"note: {text}")
    for text in joined.warnings:
        console.warn(text)
    named = origin or str(path)
    console.note(f"{named}: {file.format}, {joined.n_matched} answers joined by {joined.by}")
    answers = AnswersFile(path=named, sha256=file_digest(path), format=file.format, joined_by=joined.by)
    del file  # memory: scores follow
    provenance = replace(provenance_of(path, loaded, config["name"], config["limit"]), reasoning=reasoning)
    folder = folder_for(Path(config["out"]), provenance, predictions)
    protocols = make_protocols(config)
    check_golds(loaded.samples, protocols, f"{loaded.name} ({loaded.split})")
    recorded = untracked({**config, "predictions": named} if origin else config)
    manifest = scored_manifest(folder, provenance, answers, protocols, recorded)
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
    conclusion = add_to_leaderboard(config, conclusion, limit=provenance.limit)
    return Scored(track(config, conclusion), joined.warnings)
