"""The path, every step by name: rows -> samples -> prompt record -> requests -> predictions -> scores -> values."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.reasoning import opens_thought
from evalkit.core.types import ImageRef, Request, Sample
from evalkit.engines.base import Engine
from evalkit.pipeline.conclude import AnalysisSettings, Conclusion, conclude
from evalkit.pipeline.inputs import Input, build_input
from evalkit.pipeline.manifest import build_manifest, decoding_of
from evalkit.pipeline.preflight import Preflight
from evalkit.pipeline.resume import answer_missing, check_unedited, describe
from evalkit.pipeline.settings import Settings
from evalkit.runs.prompt_record import PromptRecord, Template, as_file
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import Manifest, ShardInfo, Timing
from evalkit.runs.store import RunFolder, write_prompts, write_record
from evalkit.runs.verify import digest_of
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.golds import check_golds
from evalkit.tasks.base import LoadedTask, Task


def evaluate(
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    engine: Engine,
    protocols: Sequence[ScoringProtocol],
    settings: Settings,
    config: Mapping[str, Any],
    *,
    template: Template | None = None,
    analysis: AnalysisSettings | None = None,
) -> Conclusion | None:
    """Answer a checked split with an engine and score the answers.

    Args:
        loaded: the split, images already checked.
        digests: sha256 of each image; empty for an engine without images.
        config: the resolved configuration, for the manifest.
        template: the model's chat template, for the prompt record; None where it is not known here.
        analysis: what the task decides about sanity checks and the comparison of protocols.

    Returns:
        The conclusion, without numbers for a part of a run; None for a dry run.
    """
    given = build_input(task, loaded, digests, engine, template or Template(), settings)
    check_golds(given.prompts.samples, protocols, f"{loaded.name} ({loaded.split})")
    manifest = build_manifest(given, engine, protocols, settings, config)
    folder, samples, requests = _own_part(given, manifest, settings)
    if settings.dry_run:
        describe(folder, requests, samples, given.prompts.loaded.notes)
        return None
    with folder.locked():
        started = time.perf_counter()
        if settings.shard is not None:
            manifest = replace(
                manifest, shard=ShardInfo(index=settings.shard.index, of=settings.shard.of, n=len(samples))
            )
        if settings.resume:
            check_unedited(folder, requests)
        earlier = _earlier_timing(folder)
        write_record(folder.manifest, replace(manifest, timing=earlier))
        write_prompts(folder.prompts, as_file(given.prompts.record))
        predictions, n_asked = answer_missing(
            folder,
            samples,
            requests,
            engine,
            settings.resume,
            reasoning=settings.reasoning,
            opened=_inside_thoughts(given.prompts.record),
            preflight=_preflight(settings, protocols),
        )
        timing = _timing(time.perf_counter() - started, n_asked, engine)
        if not n_asked and earlier is not None:
            timing = earlier  # nothing was generated now
        manifest = replace(manifest, facts=engine.metadata(), timing=timing)
        if manifest.shard is not None:
            write_record(folder.manifest, replace(manifest, status="done", answers=digest_of(folder.predictions)))
            return Conclusion(folder=folder.path, n_failed=sum(p.failed for p in predictions))
        write_record(folder.manifest, manifest)
        del requests  # memory: scores follow
        provenance = RunProvenance(
            model=settings.model,
            task=given.prompts.loaded,
            image=settings.image,
            generation=decoding_of(engine),
            prompt=given.prompts.loaded.prompt,
            limit=settings.limit,
            reasoning=settings.reasoning,
        )
        found = conclude(folder, samples, predictions, protocols, provenance, timing, analysis or AnalysisSettings())
        # Last: a run is finished when its scores are.
        write_record(folder.manifest, replace(manifest, status="done"))
        return found


def _preflight(settings: Settings, protocols: Sequence[ScoringProtocol]) -> Preflight | None:
    if settings.preflight is None:
        return None
    return Preflight(n=settings.preflight, require=settings.preflight_require, protocols=protocols)


def _earlier_timing(folder: RunFolder) -> Timing | None:
    """The timing of an earlier start of the run; None where there is none."""
    try:
        return manifest_at(folder.manifest).timing
    except StoreError:  # missing, or damaged and about to be replaced
        return None


def _inside_thoughts(record: PromptRecord) -> frozenset[str]:
    """The samples whose prompt ends with the opening mark of a thought, so that their answers begin inside of it."""
    ends = {text: opens_thought(text) for text in set(record.texts)} if record.rendered else {}
    return frozenset(i for i, text in zip(record.ids, record.texts, strict=True) if ends.get(text))


def _own_part(
    given: Input, manifest: Manifest, settings: Settings
) -> tuple[RunFolder, tuple[Sample, ...], tuple[Request, ...]]:
    """The folder, samples and requests of this process: the whole run, or its shard."""
    shard = settings.shard
    if shard is None:
        return RunFolder(settings.out / manifest.run_id), given.prompts.samples, given.requests
    folder = RunFolder(settings.out / f"{manifest.run_id}-{shard.name}")
    places = shard.places(given.requests)
    return folder, tuple(given.prompts.samples[k] for k in places), tuple(given.requests[k] for k in places)


def _timing(seconds: float, n_asked: int, engine: Engine) -> Timing:
    return Timing(
        seconds=round(seconds, 3),
        n_asked=n_asked,
        samples_per_second=round(n_asked / seconds, 3) if n_asked else None,
        image_prefills=engine.metadata().get("counters", {}).get("prefix_prefills"),
    )
