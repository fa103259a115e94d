"""A card of the evaluated data set in the vocabulary of Croissant: name, licence, citation, counts and digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalkit.core.files import write_json
from evalkit.reports.export.run import FinishedRun
from evalkit.runs.store import run_name

SPECIFICATION = "http://mlcommons.org/croissant/1.1"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "evalkit": "https://github.com/evalkit-medvqa/evalkit#",
}


def write_croissant(run: FinishedRun, out: Path) -> list[Path]:
    """Write RUN.croissant.json.  It has no files and no records: these are the data set's own to publish."""
    s, task = run.summary, run.config.get("task") or {}
    content: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATION,
        "name": s.task,
        "description": str(task.get("about") or s.task),
        "version": str(task.get("revision") or "unknown"),
    }
    stated = {"license": task.get("licence"), "citeAs": task.get("citation")}
    content |= {key: str(value) for key, value in stated.items() if value}
    if run.dataset_repo is not None:
        content["url"] = f"https://huggingface.co/datasets/{run.dataset_repo}"
    content |= {
        "evalkit:split": s.split,
        "evalkit:form": s.form,
        "evalkit:samples": s.n,
        "evalkit:images": s.n_images,
        "evalkit:samplesSha256": s.data_sha256,
        "evalkit:imagesSha256": run.manifest.images_sha256 if run.manifest is not None else None,
        "evalkit:closedRule": s.closed_rule,
        "evalkit:firstSamplesOnly": s.limit,
    }
    path = out / f"{run_name(s.run_id)}.croissant.json"
    write_json(path, content)
    return [path]
