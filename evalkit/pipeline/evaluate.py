"""The path, every step by name: rows -> samples -> prompt record -> requests -> predictions -> scores -> values."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, ModelError
from evalkit.core.images import CONVERSION
from evalkit.core.types import Generation, ImageRef, Message, Prediction, Request, Sample, digest_json
from evalkit.engines.base import Engine
from evalkit.pipeline.conclude import AnalysisSettings, Conclusion, conclude
from evalkit.pipeline.shards import Shard
from evalkit.runs.background_writer import BackgroundWriter
from evalkit.runs.prompt_record import PromptRecord, Template, as_file, collect
from evalkit.runs.schema import IDENTITY, Manifest, PredictionLine, ProtocolVersion, ShardInfo, Timing
from evalkit.runs.store import (
    RunFolder,
    answered,
    manifest_record,
    set_aside,
    write_predictions,
    write_prompts,
    write_record,
)
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.tasks.base import LoadedTask, Task

IMAGE_MODES = ("original", "blank", "shuffled")
SHUFFLE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The run's own settings, from the command line."""

    model: str
    image: str = "original"
    limit: int | None = None
    out: Path = Path("runs")
    resume: bool = True
    dry_run: bool = False
    shard: Shard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Everything that a model is given: samples with the images it sees, their messages, requests, and the record."""

    loaded: LoadedTask
    samples: tuple[Sample, ...]
    requests: tuple[Request, ...]
    prompts: PromptRecord


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
    manifest = build_manifest(given, engine, protocols, settings, config)
    folder, samples, requests = _own_part(given, manifest, settings)
    if settings.dry_run:
        describe(folder, requests, samples)
        return None
    with folder.locked():
        started = time.perf_counter()
        if settings.shard is not None:
            manifest = replace(
                manifest, shard=ShardInfo(index=settings.shard.index, of=settings.shard.of, n=len(samples))
            )
        write_record(folder.manifest, manifest)
        write_prompts(folder.prompts, as_file(given.prompts))
        predictions, n_asked = answer(folder, samples, requests, engine, settings.resume)
        timing = _timing(time.perf_counter() - started, n_asked, engine)
        done = replace(manifest, status="done", facts=engine.metadata())
        if settings.shard is not None:
            write_record(folder.manifest, replace(done, timing=timing))
            return Conclusion(folder=folder.path, n_failed=sum(p.error is not None for p in predictions))
        write_record(folder.manifest, done)
        del requests  # memory: scores follow
        provenance = RunProvenance(
            model=settings.model,
            task=given.loaded,
            image=settings.image,
            generation=describe_generation(engine.generation),
            prompt=given.loaded.prompt,
            limit=settings.limit,
        )
        return conclude(folder, samples, predictions, protocols, provenance, timing, analysis or AnalysisSettings())


def build_input(
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    engine: Engine,
    template: Template,
    settings: Settings,
) -> Input:
    """The samples, prompt record and requests of a run.  Messages are built once; both derive from them."""
    loaded = limited(loaded, settings.limit)
    samples = with_images(loaded.samples, settings.image)
    messages = [task.messages(s) for s in samples]
    record = prompt_record(loaded, samples, messages, digests, engine, template, settings)
    requests = tuple(request(s, m, engine, digests) for s, m in zip(samples, messages, strict=True))
    return Input(loaded=loaded, samples=samples, requests=requests, prompts=record)


def prompt_record(
    loaded: LoadedTask,
    samples: Sequence[Sample],
    messages: Sequence[tuple[Message, ...]],
    digests: Mapping[ImageRef, str],
    engine: Engine,
    template: Template,
    settings: Settings,
) -> PromptRecord:
    """The prompt record; before the chat template, with a warning, where the template cannot be rendered here."""

    def record(rendered_by: Template) -> PromptRecord:
        return collect(
            loaded,
            samples,
            messages,
            digests if engine.needs_images else None,
            model=settings.model,
            image=settings.image,
            limit=settings.limit,
            generation=engine.generation,
            template=rendered_by,
        )

    try:
        return record(template)
    except ModelError as problem:
        # The engine may support more of Jinja than the plain rendering here; that must not stop the run.
        console.warn(f"the prompt record holds the messages before the chat template, not the prompts: {problem}")
        return record(replace(template, text=None))


def limited(loaded: LoadedTask, limit: int | None) -> LoadedTask:
    """The first `limit` samples.

    Raises:
        ConfigError: the limit is not positive.
    """
    if limit is None:
        return loaded
    if limit < 1:
        raise ConfigError(f"limit={limit} is not possible; give a number of samples of 1 or more.")
    return replace(loaded, samples=loaded.samples[:limit])


def select(samples: Sequence[Sample], ids: Sequence[str], origin: str) -> list[Sample]:
    """The samples of a run, in the order of its answers.

    Raises:
        DataError: the data no longer holds one of them.
    """
    by_id = {s.id: s for s in samples}
    if missing := [i for i in ids if i not in by_id]:
        raise DataError(
            f"{origin} answers {len(missing)} samples that are missing from its data now, first {missing[0]}. Give the "
            "data of the run with data.path=DIR."
        )
    return [by_id[i] for i in ids]


def with_images(samples: Sequence[Sample], mode: str) -> tuple[Sample, ...]:
    """The samples with the images that the model sees.

    blank: a grey image of the same size.  shuffled: every image is replaced by another image of the split, the same
    one for all questions about it, so that only the link between image and question is lost.

    Raises:
        DataError: fewer than two different images to shuffle.
    """
    if mode == "original":
        return tuple(samples)
    if mode == "blank":
        return tuple(replace(s, images=tuple(ImageRef(kind="blank", of=ref) for ref in s.images)) for s in samples)
    distinct = list(dict.fromkeys(s.images for s in samples))
    if len(distinct) < 2:
        raise DataError("image=shuffled needs at least two different images; this split (or limit) has fewer.")
    order = list(range(len(distinct)))
    random.Random(SHUFFLE_SEED).shuffle(order)
    # Rotate a random permutation so that no sample keeps its own image.
    swapped = {distinct[a]: distinct[b] for a, b in zip(order, order[1:] + order[:1], strict=True)}
    return tuple(replace(s, images=swapped[s.images]) for s in samples)


def request(sample: Sample, messages: tuple[Message, ...], engine: Engine, digests: Mapping[ImageRef, str]) -> Request:
    """The generation request of a sample."""
    return Request(
        sample_id=sample.id,
        image_id=sample.image_id,
        question=sample.question,
        answer_type=sample.answer_type,
        messages=messages,
        images=sample.images if engine.needs_images else (),
        image_digests=tuple(_image_digest(ref, digests) for ref in sample.images) if engine.needs_images else (),
        generation=engine.generation,
        checkpoint=engine.identity,
    )


def _image_digest(ref: ImageRef, digests: Mapping[ImageRef, str]) -> str:
    if ref.kind == "blank":
        assert ref.of is not None
        return f"blank:{digests[ref.of]}"
    return digests[ref]


def build_manifest(
    given: Input,
    engine: Engine,
    protocols: Sequence[ScoringProtocol],
    settings: Settings,
    config: Mapping[str, Any],
) -> Manifest:
    """The manifest of a run that starts."""
    loaded = given.loaded
    images = sorted({d for r in given.requests for d in r.image_digests})
    manifest = Manifest(
        run_id="",
        model=settings.model,
        checkpoint=engine.identity,
        task=loaded.name,
        split=loaded.split,
        form=loaded.form,
        n=len(loaded.samples),
        data_sha256=loaded.data_sha256,
        images_sha256=digest_json(images),
        image_conversion=CONVERSION if images else None,
        prompt=loaded.prompt,
        prompts_sha256=digest_json(sorted(r.fingerprint for r in given.requests)),
        image=settings.image,
        limit=settings.limit,
        generation=describe_generation(engine.generation),
        closed_rule=loaded.closed_rule,
        config=manifest_record(config),
        protocols=protocol_versions(protocols),
        status="running",
        evalkit=__version__,
    )
    identity = digest_json({k: getattr(manifest, k) for k in IDENTITY})
    return replace(manifest, run_id=f"{settings.model}-{loaded.name}-{identity[:8]}")


def protocol_versions(protocols: Sequence[ScoringProtocol]) -> tuple[ProtocolVersion, ...]:
    """The protocols by name and version, for manifests."""
    return tuple(ProtocolVersion(name=p.name, version=p.version) for p in protocols)


def _own_part(
    given: Input, manifest: Manifest, settings: Settings
) -> tuple[RunFolder, tuple[Sample, ...], tuple[Request, ...]]:
    """The folder, samples and requests of this process: the whole run, or its shard."""
    shard = settings.shard
    if shard is None:
        return RunFolder(settings.out / manifest.run_id), given.samples, given.requests
    folder = RunFolder(settings.out / f"{manifest.run_id}-{shard.name}")
    places = shard.places(given.requests)
    return folder, tuple(given.samples[k] for k in places), tuple(given.requests[k] for k in places)


def _timing(seconds: float, n_asked: int, engine: Engine) -> Timing:
    return Timing(
        seconds=round(seconds, 3),
        n_asked=n_asked,
        samples_per_second=round(n_asked / seconds, 3) if n_asked else None,
        image_prefills=engine.metadata().get("counters", {}).get("prefix_prefills"),
    )


def describe_generation(generation: Generation) -> str:
    """Decoding settings in short, for signatures: greedy.max64, or sample.t0.7… with its other settings.

    >>> describe_generation(Generation(max_new_tokens=16))
    'greedy.max16'
    """
    g = generation
    how = f"sample.t{g.temperature:g}.p{g.top_p:g}.k{g.top_k or 0}.seed{g.seed}" if g.temperature > 0 else "greedy"
    beams = f".beams{g.num_beams}" if g.num_beams > 1 else ""
    penalty = f".rep{g.repetition_penalty:g}" if g.repetition_penalty != 1.0 else ""
    stop = f".stop{digest_json(list(g.stop))[:4]}" if g.stop else ""
    return f"{how}.max{g.max_new_tokens}{beams}{penalty}{stop}"


def describe(folder: RunFolder, requests: Sequence[Request], samples: Sequence[Sample]) -> None:
    """Print a dry run's report: how many requests remain, and the first prompt."""
    known = answered(folder.predictions)
    waiting = sum(r.fingerprint not in known for r in requests)
    images = len({r.image_digests for r in requests})
    console.out(f"dry run: {len(samples)} samples on {images} images, {waiting} still to ask, nothing was loaded")
    for message in requests[0].messages:
        text = "".join(part if isinstance(part, str) else "<image>" for part in message.content)
        console.out(f"first prompt, {message.role}: {text!r}")
    console.out(str(folder.path))


def answer(
    folder: RunFolder, samples: Sequence[Sample], requests: Sequence[Request], engine: Engine, resume: bool
) -> tuple[list[Prediction], int]:
    """Generate the missing answers, appending them as they arrive.

    Samples that failed in an earlier run are asked again: what failed then may succeed now.

    Returns:
        The predictions in sample order, and the number of answers generated now.
    """
    if not resume:
        set_aside(folder.predictions)
    known = {k: p for k, p in answered(folder.predictions).items() if p.error is None}
    waiting = [r for r in requests if r.fingerprint not in known]
    sample_of = {s.id: s for s in samples}
    if known:
        console.note(f"{len(requests) - len(waiting)} of {len(requests)} answers are already in {folder.path}")
    outstanding = Counter(r.fingerprint for r in waiting)
    with (
        console.progress(len(requests), len(requests) - len(waiting), "answering") as advance,
        BackgroundWriter(folder.predictions, lambda p: PredictionLine.of(sample_of[p.sample_id], p), advance) as writer,
    ):
        for batch in engine.generate(waiting):
            outstanding.subtract(p.fingerprint for p in batch)
            writer.write(batch)
            known.update({p.fingerprint: p for p in batch})
    if wrong := [f for f, n in outstanding.items() if n != 0]:
        raise RuntimeError(f"engine {engine.name} did not answer {len(wrong)} requests exactly once")
    predictions = [known[r.fingerprint] for r in requests]
    # Superseded lines (an earlier failure, another version of the data) are dropped: one line a sample.
    if _count_lines(folder.predictions) != len(requests):
        write_predictions(folder.predictions, samples, predictions)
    return predictions, len(waiting)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
