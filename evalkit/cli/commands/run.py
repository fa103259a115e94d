"""Verbs that make numbers: run, score, bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.build import asked, listed, make_engine, make_protocols, make_task, require_weights, title
from evalkit.cli.config import Config, choose, load_option, options
from evalkit.core import console
from evalkit.core.errors import ConfigError, Partial

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.pipeline.shards import Shard
    from evalkit.pipeline.summary import Outcome
    from evalkit.tasks.base import Task


def run(config: Config) -> int:
    """Generate, score, print; write the leaderboard row."""
    from evalkit.core.files import write_whole
    from evalkit.pipeline.evaluate import IMAGE_MODES, Settings, evaluate, limited
    from evalkit.pipeline.shards import Shard
    from evalkit.pipeline.summary import show
    from evalkit.runs.prompt_record import NAME, content
    from evalkit.tasks.image_check import check_images

    settings = Settings(
        model=str(config["model"].get("name") or config["choices"]["model"]),
        image=choose(config["image"], IMAGE_MODES, "image"),
        limit=config["limit"],
        out=Path(config["out"]),
        resume=bool(config["resume"]),
        dry_run=bool(config["dry_run"]),
        shard=Shard.parse(config["engine"].get("shard")),
    )
    protocols = make_protocols(config)
    task = make_task(config)
    blind = config["model"].get("kind") != "checkpoint"
    if not blind:
        require_weights(config, settings.model)
    loaded = task.load(images=not blind)
    digests: Mapping[Any, str] = {}
    if not blind:
        loaded, digests = check_images(loaded, on_missing=config["task"].get("on_missing_image", "error"))
    engine = make_engine(config, settings.model, task)
    outcome = evaluate(task, loaded, digests, engine, protocols, settings, config)
    if outcome is None:
        return 0
    asked_of = limited(loaded, settings.limit)
    record = asked(config, settings.model, task, asked_of, digests, settings.image, settings.limit, engine.generation)
    assert outcome.folder is not None
    write_whole(outcome.folder / NAME, content(record))
    if settings.shard is not None:
        report_part(outcome, settings.shard)
        return 0
    if config["leaderboard"] and settings.limit is None:
        from evalkit.reports.leaderboard import add, standing

        known = standing(config["model"], loaded.name, loaded.split)
        add(Path(config["leaderboard"]), outcome.summary, outcome.folder, known)
    show(outcome, title(outcome.summary))
    return 0


def report_part(outcome: Outcome, shard: Shard) -> None:
    """What is said of a finished part, which has no score of its own; Partial when some of its samples failed."""
    said = f"part {shard.index} of {shard.of}: {outcome.n_failed} failed; `evalkit merge runs=[...]` joins the parts"
    console.note(said)
    console.out(str(outcome.folder))
    if outcome.n_failed:
        raise Partial(
            f"{outcome.n_failed} samples of part {shard.index}/{shard.of} failed. What was answered is kept; the same "
            "command asks the failed ones again."
        )


def merge(config: Config) -> int:
    """Join the parts of a run (engine.shard=i/n) into the run that they are, and score it."""
    from evalkit.core.files import write_json
    from evalkit.pipeline.evaluate import conclude, limited
    from evalkit.pipeline.rescore import context_of
    from evalkit.pipeline.shards import (
        copy_where_equal,
        find_parts,
        joined,
        joined_manifest,
        read_parts,
        replace_predictions,
    )
    from evalkit.pipeline.summary import show
    from evalkit.runs.prompt_record import NAME
    from evalkit.runs.store import RunFolder

    parts = read_parts(find_parts([Path(p) for p in listed(config["runs"])]))
    manifest = parts[0].manifest
    task_config = {**manifest["config"]["task"], **{k: v for k, v in config["data"].items() if v}}
    task = make_task({"task": task_config})
    loaded = limited(task.load(images=False), manifest["limit"])
    predictions = joined(parts, loaded)
    folder = RunFolder(Path(config["out"]) / manifest["run_id"])
    with folder.locked():
        replace_predictions(folder.predictions, loaded.samples, predictions)
        whole = joined_manifest(parts)
        write_json(folder.manifest, whole)
        copy_where_equal([part.folder.path / NAME for part in parts], folder.path / NAME)
        context = context_of(folder.path, loaded, None)
        protocols = make_protocols(manifest["config"])
        outcome = conclude(folder, loaded.samples, predictions, protocols, context, whole["timing"], task)
    for name in whole["facts"]["differs_between_parts"]:
        console.note(f"note: the parts differ in {name}; the manifest has the first part's")
    if config["leaderboard"] and manifest["limit"] is None:
        from evalkit.reports.leaderboard import add, standing

        known = standing(manifest["config"]["model"], loaded.name, loaded.split)
        add(Path(config["leaderboard"]), outcome.summary, outcome.folder, known)
    if outcome.n_failed:
        console.note("failed samples are asked again by the commands of their parts, then merge once more")
    show(outcome, title(outcome.summary))
    return 0


def score(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.core.files import write_json
    from evalkit.importers import join, read_answers
    from evalkit.pipeline.evaluate import conclude, limited
    from evalkit.pipeline.rescore import context_of, file_digest, folder_for, scored_manifest
    from evalkit.pipeline.summary import show
    from evalkit.published.table import REGIMES
    from evalkit.runs.store import write_predictions

    path = Path(config["predictions"])
    order = config["task"].get("order")
    columns = {k: config[k] for k in ("id", "prediction", "question", "reference")}
    file = read_answers(path, format=config["format"], **columns)
    if config["task"].get("answers_format") == file.format and config["task"].get("path") is None:
        # Such a file carries its own questions and references: it is the data too.
        config = {**config, "task": {**config["task"], "path": file.path}}
    task = make_task(config)
    loaded = task.load(images=False)
    joined = join(file, loaded, order=order, by=config["by"], max_unmatched=float(config["max_unmatched"]))
    loaded = limited(loaded, config["limit"])
    predictions = joined.predictions[: len(loaded.samples)]
    for text in (*file.notes, *joined.notes):
        console.note(f"note: {text}")
    console.note(f"{path}: {file.format}, {joined.n_matched} answers joined by {joined.by}")
    context = context_of(path, loaded, config["name"])
    folder = folder_for(Path(config["out"]), context, predictions)
    with folder.locked():
        origin = {"path": str(path), "sha256": file_digest(path), "format": file.format, "joined_by": joined.by}
        write_json(folder.manifest, scored_manifest(folder, context, origin, config))
        write_predictions(folder.predictions, loaded.samples, predictions)
        outcome = conclude(folder, loaded.samples, predictions, make_protocols(config), context, {}, task)
    if config["leaderboard"] and config["limit"] is None:
        from evalkit.reports.leaderboard import add

        known = {"role": "model", "regime": choose(config["regime"], REGIMES, "regime"), "train": ""}
        add(Path(config["leaderboard"]), outcome.summary, outcome.folder, known)
    show(outcome, title(outcome.summary))
    return 0


# Engines that bench tries by itself where the module that they need is installed.
NEEDS = {"vllm": "vllm", "ray": "ray"}


def bench(config: Config) -> int:
    """Measure one at a time, static batches, shared prefixes and other engines on the same samples; write a JSON."""
    from evalkit.core.files import write_json
    from evalkit.engines.hf import HfEngine
    from evalkit.pipeline.evaluate import limited, request
    from evalkit.pipeline.throughput import bench as measure
    from evalkit.pipeline.throughput import show
    from evalkit.tasks.image_check import check_images

    name = str(config["model"].get("name") or config["choices"]["model"])
    task = make_task(config)
    loaded, digests = check_images(limited(task.load(), config["limit"]), on_missing="error")

    def make(**settings: Any) -> HfEngine:
        engine = make_engine({**config, "engine": {**config["engine"], **settings}}, name, task)
        if not isinstance(engine, HfEngine):
            raise ConfigError(f"bench compares the ways of engine=hf; model={name} with this engine has none of them.")
        return engine

    engine = make()
    requests = [request(task, sample, engine, digests) for sample in loaded.samples]
    result = measure(
        make,
        requests,
        batch_sizes=config["batch_sizes"],
        repetitions=config["repetitions"],
        others=_other_engines(config, name, task),
    )
    path = Path(config["out"]) / f"bench-{name}-{loaded.name}.json"
    write_json(path, {"model": name, "task": loaded.name, "settings": _bench_settings(config)} | result)
    console.out(show(result))
    console.out(str(path))
    return 0


def _other_engines(config: Config, name: str, task: Task) -> dict[str, Engine]:
    """The engines that were asked for with their settings, or those that are installed."""
    from importlib.util import find_spec

    wanted: Mapping[str, Any] | None = config["engines"]
    if wanted is None:
        wanted = {k: {} for k, module in NEEDS.items() if k in options("engine") and find_spec(module) is not None}
    return {
        k: make_engine({**config, "engine": {**load_option("engine", k), **(settings or {})}}, name, task)
        for k, settings in wanted.items()
    }


def _bench_settings(config: Config) -> dict[str, Any]:
    return {k: config[k] for k in ("engine", "engines", "limit", "batch_sizes", "repetitions")}
