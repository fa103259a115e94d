"""The path, every hop by name: rows -> samples -> requests -> predictions -> scores -> rows of a table."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit import __version__
from evalkit.analysis.disagreement import look, render, spread_record, to_csv, to_json
from evalkit.analysis.sanity_checks import BASELINE_PROTOCOLS, worth
from evalkit.analysis.sanity_checks import render as render_worth
from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, EvalkitError
from evalkit.core.files import write_json, write_whole
from evalkit.core.images import CONVERSION
from evalkit.core.types import Generation, ImageRef, Prediction, Request, Sample, digest_json
from evalkit.engines.base import Engine
from evalkit.pipeline.shards import Shard
from evalkit.pipeline.summary import Outcome, summarise
from evalkit.runs.store import (
    SCHEMA,
    Behind,
    RunFolder,
    prediction_record,
    read_answered,
    set_aside,
    write_predictions,
    write_scores,
)
from evalkit.scoring.aggregate import Context, reasons, score_all, tabulate
from evalkit.scoring.base import ScoringProtocol
from evalkit.tasks.base import LoadedTask, Task

IMAGE_MODES = ("original", "blank", "shuffled")
SHUFFLE_SEED = 0
# From so many protocols on a run is also shown through the lens, and which one the others are held against.
PROTOCOLS_FOR_A_LENS = 4
REFERENCE = "llava-med"


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


def evaluate(
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    engine: Engine,
    protocols: Sequence[ScoringProtocol],
    settings: Settings,
    config: Mapping[str, Any],
) -> Outcome | None:
    """Answer a checked split with an engine and score the answers.

    Args:
        loaded: the split, images already checked.
        digests: sha256 of each image; empty for an engine that needs none.
        config: the resolved configuration, for the manifest.

    Returns:
        The outcome, without numbers for a part of a run; None for a dry run.
    """
    loaded = limited(loaded, settings.limit)
    samples = with_images(loaded.samples, settings.image)
    requests = [request(task, s, engine, digests) for s in samples]
    identity = identify(loaded, engine, requests, settings)
    run_id = f"{settings.model}-{loaded.name}-{digest_json(identity)[:8]}"
    folder = RunFolder(settings.out / run_id)
    shard = settings.shard
    if shard is not None:
        folder = RunFolder(settings.out / f"{run_id}-{shard.name}")
        places = shard.places(requests)
        samples, requests = tuple(samples[k] for k in places), [requests[k] for k in places]
    if settings.dry_run:
        describe(folder, requests, samples)
        return None
    with folder.locked():
        started = time.perf_counter()
        manifest = {"schema": SCHEMA, "run_id": run_id, **identity, "config": config, "status": "running"}
        if shard is not None:
            manifest["shard"] = {"index": shard.index, "of": shard.of, "n": len(samples)}
        write_json(folder.manifest, {**manifest, "evalkit": __version__})
        predictions, asked = answer(folder, samples, requests, engine, settings.resume)
        del requests  # memory: scores follow
        seconds = time.perf_counter() - started
        facts = engine.metadata()
        timing = {
            "seconds": round(seconds, 3),
            "n_asked": asked,
            "samples_per_second": round(asked / seconds, 3) if asked else None,
            "image_prefills": facts.get("counters", {}).get("prefix_prefills"),
        }
        done = {**manifest, "evalkit": __version__, "status": "done", "facts": facts}
        if shard is not None:
            write_json(folder.manifest, {**done, "timing": timing})
            return Outcome(
                folder=folder.path, summary={}, rows=(), n_failed=sum(p.error is not None for p in predictions)
            )
        write_json(folder.manifest, done)
        context = Context(
            model=settings.model,
            task=loaded,
            image=settings.image,
            generation=describe_generation(engine.generation),
            prompt=loaded.prompt,
            extra={"limit": str(settings.limit)} if settings.limit else {},
        )
        return conclude(folder, samples, predictions, protocols, context, timing, task)


def limited(loaded: LoadedTask, limit: int | None) -> LoadedTask:
    """The first `limit` samples."""
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
    of = {s.id: s for s in samples}
    if missing := [i for i in ids if i not in of]:
        raise DataError(f"{origin} answers {len(missing)} samples that its data no longer holds, first {missing[0]}.")
    return [of[i] for i in ids]


def with_images(samples: Sequence[Sample], mode: str) -> tuple[Sample, ...]:
    """The samples with the images that the model is to see.

    blank: a grey image of the same size.  shuffled: every image replaced by another image of the split, the same
    other one for all its questions, so that only the connection between image and question is lost.
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
    # Each image takes the place of the next one in a random ring: nobody keeps his own.
    swapped = {distinct[a]: distinct[b] for a, b in zip(order, order[1:] + order[:1], strict=True)}
    return tuple(replace(s, images=swapped[s.images]) for s in samples)


def request(task: Task, sample: Sample, engine: Engine, digests: Mapping[ImageRef, str]) -> Request:
    """What is asked of the engine for a sample."""
    return Request(
        sample_id=sample.id,
        image_id=sample.image_id,
        question=sample.question,
        answer_type=sample.answer_type,
        messages=task.messages(sample),
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


def identify(loaded: LoadedTask, engine: Engine, requests: Sequence[Request], settings: Settings) -> dict[str, Any]:
    """All that determines the answers; its digest names the run."""
    images = sorted({d for r in requests for d in r.image_digests})
    return {
        "model": settings.model,
        "checkpoint": engine.identity,
        "task": loaded.name,
        "split": loaded.split,
        "form": loaded.form,
        "n": len(loaded.samples),
        "data_sha256": loaded.data_sha256,
        "images_sha256": digest_json(images),
        "image_conversion": CONVERSION if images else None,
        "prompt": loaded.prompt,
        "prompts_sha256": digest_json(sorted(r.fingerprint for r in requests)),
        "image": settings.image,
        "limit": settings.limit,
        "generation": describe_generation(engine.generation),
        "closed_rule": loaded.closed_rule,
    }


def describe_generation(generation: Generation) -> str:
    """Decoding in a word for signatures: greedy.max64, or sample.t0.7.max1024 with its other settings.

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
    """A dry run's report: how much would be asked, and the first prompt."""
    answered = read_answered(folder.predictions)
    waiting = sum(r.fingerprint not in answered for r in requests)
    images = len({r.image_digests for r in requests})
    console.out(f"dry run: {len(samples)} samples on {images} images, {waiting} still to ask, nothing was loaded")
    for message in requests[0].messages:
        text = "".join(part if isinstance(part, str) else "<image>" for part in message.content)
        console.out(f"first prompt, {message.role}: {text!r}")
    console.out(str(folder.path))


def answer(
    folder: RunFolder, samples: Sequence[Sample], requests: Sequence[Request], engine: Engine, resume: bool
) -> tuple[list[Prediction], int]:
    """Ask what is not answered yet, append as answers arrive; returns (predictions in sample order, number asked).

    Failed samples of an earlier run are asked again: what failed then may not fail now.
    """
    if not resume:
        set_aside(folder.predictions)
    answered = {k: p for k, p in read_answered(folder.predictions).items() if p.error is None}
    waiting = [r for r in requests if r.fingerprint not in answered]
    sample_of = {s.id: s for s in samples}
    if answered:
        console.note(f"{len(requests) - len(waiting)} of {len(requests)} answers are already in {folder.path}")
    outstanding = Counter(r.fingerprint for r in waiting)
    with (
        console.progress(len(requests), len(requests) - len(waiting), "answering") as advance,
        Behind(folder.predictions, lambda p: prediction_record(sample_of[p.sample_id], p), advance) as file,
    ):
        for batch in engine.generate(waiting):
            outstanding.subtract(p.fingerprint for p in batch)
            file.write(batch)
            answered.update({p.fingerprint: p for p in batch})
    if wrong := [f for f, n in outstanding.items() if n != 0]:
        raise RuntimeError(f"engine {engine.name} answered {len(wrong)} requests not exactly once")
    predictions = [answered[r.fingerprint] for r in requests]
    # Superseded lines (an earlier failure, another version of the data) go: one line a sample, as documented.
    if _lines(folder.predictions) != len(requests):
        write_predictions(folder.predictions, samples, predictions)
    return predictions, len(waiting)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def conclude(
    folder: RunFolder,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocols: Sequence[ScoringProtocol],
    context: Context,
    timing: Mapping[str, Any],
    task: Task | None = None,
) -> Outcome:
    """Score, tabulate and write what `run` and `score` both end with.

    task: where the image-blind baselines learn from, for what the score is worth.
    """
    scores = score_all(samples, predictions, protocols)
    rows = tabulate(samples, scores, protocols, context)
    failures = Counter(p.error for p in predictions if p.error is not None)
    summary = summarise(folder, samples, predictions, rows, context, timing)
    summary["unscored"] = [{"protocol": p, "metric": m, "reason": r, "count": n} for p, m, r, n in reasons(scores)]
    write_scores(folder.scores, scores)
    said = ""
    if any(p.name in BASELINE_PROTOCOLS for p in protocols):
        train = train_split(task)
        summary["worth"] = worth(samples, predictions, scores, rows, protocols, context, train, folder.path.parent)
        said = render_worth(summary["worth"])
    text = ""
    if len(protocols) >= PROTOCOLS_FOR_A_LENS:
        lens = look(samples, predictions, scores, rows, protocols)
        write_json(folder.path / "lens.json", to_json(lens))
        write_whole(folder.path / "lens.csv", to_csv(lens))
        text = render(lens, REFERENCE)
        summary.setdefault("worth", {})["spread"] = {c: spread_record(lens, c) for c in lens.columns}
    write_json(folder.summary, summary)
    n_failed = sum(failures.values())
    return Outcome(folder=folder.path, summary=summary, rows=tuple(rows), n_failed=n_failed, worth=said, lens=text)


def train_split(task: Task | None) -> LoadedTask | str | None:
    """The train split, or why there is none: that must not stop a run, and nothing is downloaded for it."""
    if task is None:
        return None
    if getattr(task, "path", task) is None:
        return "the train split would have to be downloaded; give a local copy with task.path=DIR"
    try:
        return task.load_train()
    except EvalkitError as problem:
        return str(problem)
