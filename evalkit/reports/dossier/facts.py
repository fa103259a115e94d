"""The facts of a run that checklists name, and the files that its numbers belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.reports.dossier.content import Evidence
from evalkit.reports.export.run import FinishedRun
from evalkit.reports.numbers import interval_text, value_text
from evalkit.runs.schema import Timing


def checklist_facts(e: Evidence, head_of_files: str) -> dict[str, str]:
    """The facts that checklists name, as short texts; empty where the run does not know."""
    s, m, config = e.run.summary, e.run.manifest, e.run.config
    task, model = config.get("task") or {}, config.get("model") or {}
    facts = dict(m.facts) if m is not None else {}
    valued = [x for x in e.run.numbers if x.slice == "all" and x.value is not None]
    primary = next((x for x in valued if e.plan is not None and x.key == e.plan.plan.key), None)
    tags = sorted({x.slice.partition("=")[0] for x in e.run.numbers if x.slice != "all"})
    known = {
        "task": f"{s.task}, {s.split}: {task.get('about') or 'questions with references'}",
        "data": f"{s.n} samples on {s.n_images} images",
        "licence": task.get("licence"),
        "data_digest": f"samples {s.data_sha256}",
        "references": f"closed questions by {s.closed_rule}; the data set's own answers",
        "skipped": f"{s.n_skipped} rows left out",
        "model": s.model,
        "revision": model.get("revision") or facts.get("weights_sha256") or (m.checkpoint if m is not None else None),
        "model_licence": model.get("licence"),
        "engine": facts.get("engine"),
        "prompt": None if s.prompt == "unknown" else s.prompt,
        "generation": None if s.generation == "unknown" else s.generation,
        "metrics": valued and f"{len(valued)} numbers with intervals in section Results",
        "primary": primary and f"{primary.key} {value_text(primary, primary.value)} {interval_text(primary)}",
        "failures": f"{s.n_failed} failed, {s.n_empty} empty, {s.n_truncated} cut, of {s.n}",
        "subgroups": tags and f"slices by {', '.join(tags)}",
        "plan": e.plan and f"registered {e.plan.plan.created}, {'followed' if e.plan.followed else 'not followed'}",
        "software": f"evalkit {s.evalkit}; sbom.cdx.json",
        "files": head_of_files,
        "limits": "section What this run does not show",
        "statistics": f"95 % intervals, clustered by {s.cluster}",
        "image_reliance": "section Reliance on the image" if s.sanity_checks else None,
        "hosts": None if e.hosts is None else ", ".join(e.hosts) or "no server was spoken to",
        "intended_use": e.intended_use,
        "created": None,  # a run records no date
        "compute": _compute(e.run.summary.timing, facts),
        "against": e.against and f"paired differences from {e.against[0].header.run_id} in section Changes",
    }
    return {name: str(text) if text else "" for name, text in known.items()}


def _compute(timing: Timing | None, facts: Mapping[str, Any]) -> str | None:
    """The wall time of generation and the device; None where the run did not generate."""
    if timing is None or timing.seconds is None:
        return None
    device = facts.get("device_name") or facts.get("device") or "a device that is not recorded"
    return f"{timing.n_asked} answers in {timing.seconds:.0f} s on {device}"


def files_of_run(run: FinishedRun) -> list[tuple[str, str, str]]:
    """Name, bytes and sha256 of each file of the run that the numbers belong to."""
    from evalkit.runs.verify import digest_of

    names = dict.fromkeys(("summary.json", "manifest.json", *(run.summary.files or ())))
    found = [(name, digest_of(path)) for name in names if (path := Path(run.folder.path) / name).is_file()]
    return [(name, str(digest.bytes), digest.sha256) for name, digest in found]
