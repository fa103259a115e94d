"""Provenance, folder and manifest of answers that evalkit did not generate, or generated in an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.core.columns import column_values
from evalkit.core.files import safe_name
from evalkit.core.types import Prediction, digest_json_items
from evalkit.pipeline.manifest import protocol_versions
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import AnswersFile, Manifest
from evalkit.runs.store import RunFolder, manifest_record
from evalkit.runs.verify import check_if_finished, digest_of
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.tasks.base import LoadedTask


def run_manifest(path: Path) -> Manifest | None:
    """The manifest of the run that `path` (its folder or its predictions.jsonl) belongs to; None for other files."""
    folder = path if path.is_dir() else path.parent
    file = RunFolder(folder).manifest
    if not file.is_file() or (path.is_file() and path.name != "predictions.jsonl"):
        return None
    return manifest_at(file)


def check_answers(path: Path) -> None:
    """Refuse the answers of a finished run that were changed after it ended; without effect for other files.

    Raises:
        StoreError: they were changed.
    """
    if run_manifest(path) is not None:
        folder = RunFolder(path if path.is_dir() else path.parent)
        check_if_finished(folder, folder.predictions.name)


def provenance_of(path: Path, loaded: LoadedTask, model: str | None, limit: int | None = None) -> RunProvenance:
    """The origin of answers: the run's own manifest, else only the model's name.

    limit: only so many samples are scored now; None for all that the run has.  Answers from other files have an unknown
    prompt and unknown decoding settings, and their signature says so.
    """
    manifest = run_manifest(path)
    if manifest is None:
        # Files are often named predictions.jsonl; the folder's name is then the better name.
        name = model or (path.parent.name if "predictions" in path.stem and path.parent.name else path.stem)
        return RunProvenance(model=name, task=loaded, limit=limit, from_file=True)
    return RunProvenance(
        model=model or manifest.model,
        task=loaded,
        image=manifest.image,
        generation=manifest.generation,
        prompt=manifest.prompt,
        limit=limit if limit is not None else manifest.limit,
        reasoning=manifest.reasoning,
        continuation=manifest.continuation,
    )


def file_digest(path: Path) -> str | None:
    """sha256 of a predictions file; None for a folder."""
    return digest_of(path).sha256 if path.is_file() else None


def scored_manifest(
    folder: RunFolder,
    provenance: RunProvenance,
    origin: AnswersFile,
    protocols: Sequence[ScoringProtocol],
    config: Mapping[str, Any],
) -> Manifest:
    """The manifest of a re-scoring: what is known about the answers, and the file that they came from."""
    task = provenance.task
    return Manifest(
        run_id=folder.path.name,
        model=provenance.model,
        task=task.name,
        split=task.split,
        form=task.form,
        n=len(task.samples),
        data_sha256=task.data_sha256,
        prompt=provenance.prompt,
        image=provenance.image,
        limit=provenance.limit,
        generation=provenance.generation,
        closed_rule=task.closed_rule,
        config=manifest_record(config),
        protocols=protocol_versions(protocols),
        predictions=origin,
        status="scored",
        evalkit=__version__,
        reasoning=provenance.reasoning,
        scoring="generation" if provenance.continuation is None else "loglikelihood",
        continuation=provenance.continuation,
    )


def folder_for(out: Path, provenance: RunProvenance, predictions: Sequence[Prediction]) -> RunFolder:
    """The folder of a re-scoring, named like a run's by the digest of its content: the data and the answers."""
    fields = zip(*(column_values(predictions, name) for name in ("sample_id", "text", "error", "raw")), strict=True)
    answers = ([*said, raw] if raw is not None else said for *said, raw in fields)
    content = digest_json_items(answers, f'["{provenance.task.data_sha256}",', "]")
    names = f"{safe_name(provenance.model)}-{safe_name(provenance.task.name)}"
    return RunFolder(out / f"{names}-{content[:8]}")
