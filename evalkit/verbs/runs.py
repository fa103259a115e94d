"""Verbs that make numbers: run, score, bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit import console
from evalkit.config import Config, choose
from evalkit.errors import ConfigError
from evalkit.verbs.build import make_engine, make_protocols, make_task, require_weights, title


def run(config: Config) -> int:
    """Generate, score, print; write the leaderboard row."""
    from evalkit.pipeline import IMAGE_MODES, Settings, evaluate
    from evalkit.summary import show
    from evalkit.tasks.check import check_images

    settings = Settings(
        model=str(config["model"].get("name") or config["choices"]["model"]),
        image=choose(config["image"], IMAGE_MODES, "image"),
        limit=config["limit"],
        out=Path(config["out"]),
        resume=bool(config["resume"]),
        dry_run=bool(config["dry_run"]),
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
    if config["leaderboard"] and settings.limit is None:
        from evalkit.board import add, standing

        known = standing(config["model"], loaded.name, loaded.split)
        add(Path(config["leaderboard"]), outcome.summary, outcome.folder, known)
    show(outcome, title(outcome.summary))
    return 0


def score(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.pipeline import conclude, limited
    from evalkit.published.table import REGIMES
    from evalkit.readers import join, read_answers
    from evalkit.rescore import context_of, file_digest, folder_for, scored_manifest
    from evalkit.store import write_json, write_predictions
    from evalkit.summary import show

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
        from evalkit.board import add

        known = {"role": "model", "regime": choose(config["regime"], REGIMES, "regime"), "train": ""}
        add(Path(config["leaderboard"]), outcome.summary, outcome.folder, known)
    show(outcome, title(outcome.summary))
    return 0


def bench(config: Config) -> int:
    """Measure one at a time, static batches and shared prefixes on the same samples; write bench.json."""
    from evalkit.bench import bench as measure
    from evalkit.bench import show
    from evalkit.engines.hf import HfEngine
    from evalkit.pipeline import limited, request
    from evalkit.store import write_json
    from evalkit.tasks.check import check_images

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
    result = measure(make, requests, batch_sizes=config["batch_sizes"], repetitions=config["repetitions"])
    path = Path(config["out"]) / f"bench-{name}-{loaded.name}.json"
    write_json(path, {"model": name, "task": loaded.name} | result)
    console.out(show(result))
    console.out(str(path))
    return 0
