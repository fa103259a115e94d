"""What is known about answers that evalkit did not generate, or generated in an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.core.files import read_json
from evalkit.core.types import Prediction, digest_json
from evalkit.runs.store import SCHEMA, RunFolder
from evalkit.scoring.aggregate import Context
from evalkit.tasks.base import LoadedTask


def manifest_beside(path: Path) -> dict[str, Any] | None:
    """The manifest of the run that `path` (its folder or its predictions.jsonl) belongs to, if it is one."""
    folder = path if path.is_dir() else path.parent
    file = RunFolder(folder).manifest
    if not file.is_file() or (path.is_file() and path.name != "predictions.jsonl"):
        return None
    content = read_json(file, "manifest")
    return content if isinstance(content, dict) else None


def context_of(path: Path, loaded: LoadedTask, model: str | None) -> Context:
    """Where the answers come from: the run's own manifest, else only what the caller says.

    Foreign answers have an unknown prompt and unknown decoding, and their signature says so.
    """
    manifest = manifest_beside(path)
    if manifest is None:
        # A file is often named predictions.jsonl; its folder then tells more than its name.
        name = model or (path.parent.name if "predictions" in path.stem and path.parent.name else path.stem)
        return Context(model=name, task=loaded, extra={"answers": "file"})
    return Context(
        model=model or str(manifest["model"]),
        task=loaded,
        image=str(manifest["image"]),
        generation=str(manifest["generation"]),
        prompt=str(manifest["prompt"]),
        extra={"limit": str(manifest["limit"])} if manifest.get("limit") else {},
    )


def file_digest(path: Path) -> str | None:
    """sha256 of a predictions file; None for a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def scored_manifest(
    folder: RunFolder, context: Context, origin: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a re-scoring: what is known of the answers, and the file that they came from."""
    task = context.task
    return {
        "schema": SCHEMA,
        "run_id": folder.path.name,
        "model": context.model,
        "task": task.name,
        "split": task.split,
        "form": task.form,
        "n": len(task.samples),
        "data_sha256": task.data_sha256,
        "prompt": context.prompt,
        "image": context.image,
        "limit": context.extra.get("limit"),
        "generation": context.generation,
        "closed_rule": task.closed_rule,
        "config": dict(config),
        "predictions": dict(origin),
        "evalkit": __version__,
        "status": "scored",
    }


def folder_for(out: Path, context: Context, predictions: Sequence[Prediction]) -> RunFolder:
    """The folder of a re-scoring, named like a run's by the digest of its content: the rows and the answers."""
    content = [context.task.data_sha256, [[p.sample_id, p.text, p.error] for p in predictions]]
    return RunFolder(out / f"{safe(context.model)}-{context.task.name}-{digest_json(content)[:8]}")


def safe(name: str) -> str:
    """A name that is a single folder on every file system."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".-") or "model"
