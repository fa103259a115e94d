"""The path, every step by name: rows -> samples -> prompt record -> requests -> predictions -> scores -> values."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError, StoreError
from evalkit.core.network import contacted
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import ImageRef, Sample
from evalkit.engines.base import Engine
from evalkit.pipeline.conclude import AnalysisSettings, Conclusion, conclude
from evalkit.pipeline.inputs import Input, build_input, inside_thoughts
from evalkit.pipeline.manifest import build_manifest, generation_text
from evalkit.pipeline.preflight import Preflight
from evalkit.pipeline.requests import Requests
from evalkit.pipeline.resume import Answers, Unanswered, answer_together, check_unedited, describe
from evalkit.pipeline.settings import Settings
from evalkit.runs.prompt_record import Template, as_file
from evalkit.runs.read import manifest_at
from evalkit.runs.schema import Manifest, ShardInfo, Timing
from evalkit.runs.store import RunFolder, write_prompts, write_record
from evalkit.runs.verify import digest_of
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.golds import check_golds, with_rows
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.prompts import asks_for_thought


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked split to be answered and scored.

    loaded: the split, images already checked.  digests: sha256 of each image; empty for an engine without images.
    config: the resolved configuration, for the manifest.  template: the model's chat template, for the prompt record;
    empty where it is not known here.  analysis: what the task decides about sanity checks and the comparison of
    protocols.
    """

    task: Task
    loaded: LoadedTask
    digests: Mapping[ImageRef, str]
    protocols: Sequence[ScoringProtocol]
    settings: Settings
    config: Mapping[str, Any]
    template: Template = field(default_factory=Template)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)


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
    """Answer one split; the arguments are the fields of `Job`.

    Returns:
        The conclusion, without numbers for a part of a run; None for a dry run.
    """
    job = Job(
        task=task,
        loaded=loaded,
        digests=digests,
        protocols=protocols,
        settings=settings,
        config=config,
        template=template or Template(),
        analysis=analysis or AnalysisSettings(),
    )
    return evaluate_together([job], engine)[0]


def evaluate_together(jobs: Sequence[Job], engine: Engine) -> list[Conclusion | None]:
    """Answer checked splits with an engine in one pass, and score the answers: a run for each job.

    An image that several jobs ask about is computed once for all their questions.

    Raises:
        ConfigError: two jobs are the same run.
    """
    runs = [_Run.of(job, engine) for job in jobs]
    paths = [run.folder.path for run in runs]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ConfigError(f"Two of the runs that were asked for are the same one, {twice}. Ask for it once.")
    if jobs[0].settings.dry_run:
        for run in runs:
            describe(run.folder, run.requests, run.samples, run.given.prompts.loaded.notes)
        return [None for _ in runs]
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.folder.locked())
        started = time.perf_counter()
        for run in runs:
            run.begin()
        if (use_folder := getattr(engine, "use_folder", None)) is not None:
            use_folder(runs[0].folder.path)
        found = answer_together([run.unanswered() for run in runs], engine)
        seconds = time.perf_counter() - started
        n_asked = sum(answers.n_asked for answers in found)
        return [
            run.end(answers, seconds * (answers.n_asked / n_asked if n_asked else 1), engine, runs)
            for run, answers in zip(runs, found, strict=True)
        ]


@dataclass(slots=True, kw_only=True)
class _Run:
    """A job with its input, and the part of it that this process answers: the whole run, or its shard."""

    job: Job
    given: Input
    manifest: Manifest
    folder: RunFolder
    samples: Sequence[Sample]
    requests: Requests
    earlier: Timing | None = None
    earlier_hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, job: Job, engine: Engine) -> _Run:
        settings, loaded = job.settings, job.loaded
        given = build_input(job.task, loaded, job.digests, engine, job.template, settings)
        check_golds(given.prompts.samples, job.protocols, f"{loaded.name} ({loaded.split})")
        manifest = build_manifest(given, engine, job.protocols, settings, job.config)
        folder, samples, requests = _own_part(given, manifest, settings)
        return cls(job=job, given=given, manifest=manifest, folder=folder, samples=samples, requests=requests)

    def begin(self) -> None:
        """Write the records that precede the first answer."""
        settings = self.job.settings
        if settings.shard is not None:
            shard = ShardInfo(index=settings.shard.index, of=settings.shard.of, n=len(self.samples))
            self.manifest = replace(self.manifest, shard=shard)
        if settings.resume:
            check_unedited(self.folder, self.requests)
        earlier = _earlier_manifest(self.folder)
        self.earlier = earlier.timing if earlier is not None else None
        self.earlier_hosts = tuple(earlier.facts.get("hosts") or ()) if earlier is not None else ()
        # The servers now, too: a killed process writes no other manifest.
        write_record(self.folder.manifest, replace(self.manifest, timing=self.earlier, facts=self.host_facts()))
        write_prompts(self.folder.prompts, as_file(self.given.prompts.record))

    def host_facts(self) -> dict[str, Any]:
        """The servers that this process and earlier ones of the run spoke to; empty where nobody watches."""
        found = contacted()
        return {} if found is None else {"hosts": sorted({*self.earlier_hosts, *found})}

    def unanswered(self) -> Unanswered:
        """The run, for its missing answers."""
        settings, record = self.job.settings, self.given.prompts.record
        return Unanswered(
            folder=self.folder,
            samples=self.samples,
            requests=self.requests,
            resume=settings.resume,
            reasoning=settings.reasoning,
            opened=inside_thoughts(record) if settings.continuation is None else frozenset(),
            asks_for_thought=settings.continuation is None and asks_for_thought(self.given.prompts.loaded.prompt),
            preflight=_preflight(settings, with_rows(self.samples, self.job.protocols)),
        )

    def end(self, answers: Answers, seconds: float, engine: Engine, runs: Sequence[_Run]) -> Conclusion:
        """Score the answers and write the records that follow them.

        seconds: the run's share of the pass, by its number of questions.  runs: those of the pass.
        """
        settings, predictions = self.job.settings, answers.predictions
        timing = _timing(seconds, answers.n_asked, engine)
        if not answers.n_asked and self.earlier is not None:
            timing = self.earlier  # nothing was generated now
        facts = engine.metadata() | self.host_facts()
        if others := [run.folder.path.name for run in runs if run is not self]:
            facts["answered_together_with"] = others
        generation = generation_text(engine, settings)  # with what the engine has learned about its server
        manifest = replace(self.manifest, facts=facts, timing=timing, generation=generation)
        if manifest.shard is not None:
            answers_file = digest_of(self.folder.predictions)
            write_record(self.folder.manifest, replace(manifest, status="done", answers=answers_file))
            return Conclusion(folder=self.folder.path, n_failed=sum(column_values(predictions, "failed")))
        write_record(self.folder.manifest, manifest)
        loaded = self.given.prompts.loaded
        provenance = RunProvenance(
            model=settings.model,
            task=loaded,
            image=settings.image,
            generation=manifest.generation,
            prompt=loaded.prompt,
            limit=settings.limit,
            reasoning=settings.reasoning,
            continuation=settings.continuation,
        )
        found = conclude(
            self.folder, self.samples, predictions, self.job.protocols, provenance, timing, self.job.analysis
        )
        # Last: a run is finished when its scores are.
        write_record(self.folder.manifest, replace(manifest, status="done"))
        return found


def _preflight(settings: Settings, protocols: Sequence[ScoringProtocol]) -> Preflight | None:
    if settings.preflight is None:
        return None
    return Preflight(n=settings.preflight, require=settings.preflight_require, protocols=protocols)


def _earlier_manifest(folder: RunFolder) -> Manifest | None:
    """The manifest of an earlier start of the run; None where there is none."""
    try:
        return manifest_at(folder.manifest)
    except StoreError:  # missing, or damaged and about to be replaced
        return None


def _own_part(given: Input, manifest: Manifest, settings: Settings) -> tuple[RunFolder, Sequence[Sample], Requests]:
    """The folder, samples and requests of this process: the whole run, or its shard."""
    shard = settings.shard
    if shard is None:
        return RunFolder(settings.out / manifest.run_id), given.prompts.samples, given.requests
    folder = RunFolder(settings.out / f"{manifest.run_id}-{shard.name}")
    places = shard.places(given.requests)
    return folder, PackedSamples(given.prompts.samples[k] for k in places), given.requests.at(places)


def _timing(seconds: float, n_asked: int, engine: Engine) -> Timing:
    return Timing(
        seconds=round(seconds, 3),
        n_asked=n_asked,
        samples_per_second=round(n_asked / seconds, 3) if n_asked else None,
        image_prefills=engine.metadata().get("counters", {}).get("prefix_prefills"),
    )
