"""The verbs of the command line: each takes the plain configuration and returns an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import console
from evalkit.config import build, choose, options, protocols_for
from evalkit.errors import ConfigError, DataError, EvalkitError, GateFailed, Inconclusive, ModelError, did_you_mean

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.paired import Scored
    from evalkit.scorers.base import ScoringProtocol
    from evalkit.tasks.base import Task
    from evalkit.types import Sample

Config = Mapping[str, Any]


def run(config: Config) -> int:
    """Generate, score, print; write the leaderboard row."""
    from evalkit.pipeline import IMAGE_MODES, Settings, evaluate, show
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
        _require_weights(config, settings.model)
    loaded = task.load(images=not blind)
    digests: Mapping[Any, str] = {}
    if not blind:
        loaded, digests = check_images(loaded, on_missing=config["task"].get("on_missing_image", "error"))
    engine = make_engine(config, settings.model, task)
    outcome = evaluate(task, loaded, digests, engine, protocols, settings, config)
    if outcome is None:
        return 0
    if config["leaderboard"] and settings.limit is None:
        from evalkit.board import add

        add(Path(config["leaderboard"]), outcome.summary)
    show(outcome, title(outcome.summary))
    return 0


def title(summary: Mapping[str, Any]) -> str:
    """The heading of a result table."""
    image = "" if summary["image"] == "original" else f", {summary['image']} image"
    return f"{summary['model']} on {summary['task']} ({summary['split']}{image}), run {summary['run_id']}"


def make_task(config: Config) -> Task:
    """The task of the configuration."""
    task: Task = build(config["task"], f"task {config['task'].get('name')}")
    return task


def make_protocols(config: Config) -> list[ScoringProtocol]:
    """The scoring protocols that were chosen, or the task's own."""
    chosen = protocols_for(config.get("protocol"), config["task"])
    return [build(c, f"protocol {name}") for name, c in chosen.items()]


def make_spec(config: Config, name: str) -> CheckpointSpec:
    """The checkpoint of the configuration, under the generation preset that was chosen."""
    from evalkit.models.checkpoint import CheckpointSpec

    preset = config.get("generation")
    model = {**config["model"], "name": name, **({"generation": preset} if preset else {})}
    return CheckpointSpec.from_config(model, (config.get("task") or {}).get("generation"))


def _require_weights(config: Config, name: str) -> None:
    # Before the data is looked for, so that one message names the one command that brings both.
    from evalkit.models.checkpoint import locate

    task = config["task"]
    locate(make_spec(config, name), config["choices"].get("task") if task.get("repo") and not task.get("path") else None)


def make_engine(config: Config, name: str, task: Task) -> Engine:
    """The engine that answers: a baseline fitted on the train split, or a checkpoint behind the chosen engine."""
    model = {**config["model"], "name": name}
    kind = choose(model.get("kind"), ("checkpoint", "baseline", "scripted"), f"model {name}: kind")
    if kind == "checkpoint":
        engine: Engine = build(config["engine"], "engine", spec=make_spec(config, name))
        return engine
    if preset := config.get("generation"):
        raise ConfigError(f"generation={preset} names a preset of a checkpoint, and model={name} is none.")
    if kind == "scripted":
        scripted: Engine = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}")
        return scripted
    from evalkit.engines.baseline import BaselineEngine

    train = task.load_train()
    baseline = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}").fit(train.samples)
    trained_on = f"{train.name}.{train.split}, {len(train.samples)} rows, sha256 {train.data_sha256[:8]}"
    return BaselineEngine(baseline=baseline, model=name, trained_on=trained_on)


def score(config: Config) -> int:
    """Score answers that already exist; needs no images and no model libraries."""
    from evalkit.pipeline import conclude, limited, show
    from evalkit.readers import join, read_answers
    from evalkit.rescore import context_of, file_digest, folder_for, scored_manifest
    from evalkit.store import write_json, write_predictions

    path = Path(config["predictions"])
    order = config["task"].get("order")
    columns = {k: config[k] for k in ("id", "prediction", "question", "reference")}
    file = read_answers(path, format=config["format"], **columns)
    if config["task"].get("answers_format") == file.format and config["task"].get("path") is None:
        # Such a file carries its own questions and references: it is the data too.
        config = {**config, "task": {**config["task"], "path": file.path}}
    loaded = make_task(config).load(images=False)
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
        outcome = conclude(folder, loaded.samples, predictions, make_protocols(config), context, {})
    if config["leaderboard"] and config["limit"] is None:
        from evalkit.board import add

        add(Path(config["leaderboard"]), outcome.summary)
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


def compare(config: Config) -> int:
    """Print the paired differences of runs over the same samples."""
    from evalkit.compare import compare as compare_runs
    from evalkit.compare import render
    from evalkit.paired import read_scored

    runs = [read_scored(Path(p)) for p in config["runs"]]
    console.out(render(compare_runs(runs, config["metrics"]), runs[0], int(config["flips"])))
    return 0


def gate(config: Config) -> int:
    """Pass, fail or leave open a candidate against a baseline."""
    from evalkit import gate as g
    from evalkit.paired import baseline_content, read_scored
    from evalkit.store import write_whole

    candidate = read_scored(Path(config["candidate"]))
    if config["save"]:
        metrics = config["metrics"] or gated(candidate)
        write_whole(Path(config["save"]), baseline_content(candidate, metrics, bool(config["texts"])))
        console.out(str(config["save"]))
        return 0
    if not config["baseline"]:
        raise ConfigError("The gate needs baseline=RUN or a file that `gate candidate=RUN save=FILE` wrote.")
    baseline = read_scored(Path(config["baseline"]))
    metrics = config["metrics"] or gated(baseline)
    margin = float(config["margin"])
    for metric in metrics:
        n = len(baseline.rows.get(metric, ()))
        if n and (needed := g.smallest_margin(n)) > margin:
            console.warn(
                f"{metric}: {n} rows can certify a margin of about {100 * needed:.1f} points (when 10 % of the answers "
                f"change), not {100 * margin:.1f}; expect 'inconclusive' unless few do"
            )
    content = g.record(g.judge(baseline, candidate, metrics, margin), baseline, candidate)
    g.write(Path(config["out"] or config["candidate"]), content)
    for entry in content["metrics"]:
        console.out(g.sentence(entry))
    console.out(f"gate: {content['verdict']}")
    if content["verdict"] == g.FAIL:
        raise GateFailed("The candidate is worse than the baseline by more than the margin; gate.md lists the samples.")
    if content["verdict"] == g.INCONCLUSIVE:
        raise Inconclusive("The gate cannot tell at this number of samples; see smallest_margin in gate.json.")
    return 0


def gated(run: Scored) -> list[str]:
    """The metrics that a gate watches when none are named: every accuracy and recall that has rows."""
    return [m for m in run.scores if m.endswith(("accuracy", "recall", "exact_match")) and run.rows[m]]


def judge(config: Config) -> int:
    """Add judged scores to a finished run."""
    from evalkit.judge.session import judge_run, remarks
    from evalkit.pipeline import select
    from evalkit.rescore import manifest_beside
    from evalkit.store import RunFolder, prediction_from, read_lines

    if config["judge"].get("name") == "none":
        raise ConfigError(f"Choose a judge with judge=NAME. Known: {', '.join(options('judge'))}.")
    folder = RunFolder(Path(config["run"]))
    manifest = manifest_beside(folder.path)
    if manifest is None:
        raise ConfigError(f"{folder.path} is not the folder of a run (it has no manifest.json).")
    judge_config = build(config["judge"], f"judge {config['judge'].get('name')}")
    task_config = {**manifest["config"]["task"], **{k: v for k, v in config["data"].items() if v}}
    predictions = [prediction_from(r, str(folder.predictions)) for r in read_lines(folder.predictions)]
    loaded = make_task({"task": task_config}).load(images=bool(config["judge"].get("send_images")))
    samples = select(loaded.samples, [p.sample_id for p in predictions], str(folder.path))
    outcome = judge_run(folder.path, judge_config, samples, predictions, say=console.note)
    rows = outcome.figures.rows(model=manifest["model"], task=loaded.name, split=loaded.split)
    console.table([r for r in rows if r.slice == "all"], f"{manifest['run_id']} judged by {judge_config.name}")
    for text in remarks(outcome.figures):
        console.note(text)
    console.out(str(folder.path))
    outcome.check()
    return 0


def judge_check(config: Config) -> int:
    """How far a judge agrees with people."""
    from evalkit.judge.agreement import check_labels

    run_folder = Path(config["run"]) if config["run"] else None
    agreement = check_labels(Path(config["labels"]), run=run_folder, judge=config["name"], model=config["model"])
    console.out(json.dumps(agreement.record(), indent=1, ensure_ascii=False))
    return 0


def fetch(config: Config) -> int:
    """Bring a model's weights or a task's data into the hub's cache, checked against pinned digests."""
    from evalkit.fetch import BY_HAND
    from evalkit.fetch import fetch as fetch_repos
    from evalkit.models.hub import Repo, model_repos

    chosen = {group: config["choices"].get(group) for group in ("model", "task")}
    repos: list[Repo] = []
    if chosen["model"] and config["model"].get("kind") == "checkpoint" and not _shipped(config["model"]):
        repos += [repo for repo in model_repos(config["model"]) if not Path(repo.id).expanduser().is_dir()]
    if chosen["task"]:
        task = make_task(config)
        if (files := getattr(task, "hub_patterns", None)) is not None and config["task"].get("repo"):
            repo, revision = config["task"]["repo"], config["task"].get("revision")
            repos.append(Repo(id=repo, kind="dataset", revision=revision, files=files()))
        for name, text in BY_HAND.items():
            if str(chosen["task"]).startswith(name):
                console.note(f"note: {text}.")
    if not repos:
        console.note("nothing to fetch: what was chosen ships with evalkit or comes from its authors by hand")
        return 0
    for folder in fetch_repos(repos, lock=Path(config["lock"]), say=console.note).values():
        console.out(str(folder))
    return 0


def _shipped(model: Config) -> bool:
    return str(model.get("source") or "").startswith("package:")


def doctor(config: Config) -> int:
    """What a model is, needs and would be asked, before anything is fetched or loaded."""
    from evalkit.models.doctor import describe, diagnose

    name = str(config["model"].get("name") or config["choices"]["model"])
    if config["model"].get("kind") != "checkpoint":
        raise ConfigError(
            f"{name} is not a checkpoint, so there is nothing to look at: {config['model'].get('about')}."
        )
    spec = make_spec(config, name)
    diagnosis = diagnose(name, spec.config, device=config["device"], task=config["choices"].get("task"))
    console.out(describe(diagnosis))
    if diagnosis.problems:
        raise ModelError(f"{name} cannot run here as it is: {'; '.join(diagnosis.problems)}")
    return 0


def convert(config: Config) -> int:
    """Save a checkpoint of any form once in Hugging Face form."""
    from evalkit.models.checkpoint import locate
    from evalkit.models.convert import convert as convert_folder
    from evalkit.models.llava_original import options_of

    name = str(config["model"].get("name") or config["choices"]["model"])
    spec = make_spec(config, name)
    folder, options_given = options_of({**spec.config, "name": name}, locate(spec))
    convert_folder(folder, Path(config["to"]), **options_given, dtype=spec.dtype or "float32")
    console.out(str(config["to"]))
    return 0


def report(config: Config) -> int:
    """Write a run's page, or the page of two runs side by side."""
    from evalkit.report import page_data, write_page
    from evalkit.report.page import pictures
    from evalkit.rescore import manifest_beside

    run = Path(config["run"])
    runs = [run, Path(config["against"])] if config["against"] else [run]
    target = Path(config["file"]) if config["file"] else run / "report.html"
    manifest = manifest_beside(run) or {}
    # The run's own configuration says where its data is; what is given now goes first.
    task_config = {**manifest.get("config", {}).get("task", {}), **{k: v for k, v in config["data"].items() if v}}
    samples: dict[str, Sample] = {}
    images: dict[str, list[str]] = {}
    if task_config:
        try:
            loaded = make_task({"task": task_config}).load(images=bool(config["images"]))
            samples = {s.id: s for s in loaded.samples}
            if config["images"]:
                images = pictures(loaded.samples, target.with_name(f"{target.stem}-images"))
        except EvalkitError as problem:
            console.warn(f"the page has no images and no slices, because its data cannot be read: {problem}")
    write_page(target, page_data(runs, samples, images))
    console.out(str(target))
    return 0


def paper(config: Config) -> int:
    """Print a paper's table, published beside what the runs below some folders reproduced of it."""
    from evalkit.paper import compare_paper, markdown, read_summaries, show
    from evalkit.published import load_published
    from evalkit.store import write_whole

    wanted = config["paper"]
    published = load_published(str(wanted["published"]))
    folders = [config["runs"]] if isinstance(config["runs"], str) else list(config["runs"])
    cells = compare_paper(published, read_summaries(map(Path, folders)), wanted["models"])
    console.out(show(published, cells))
    if config["file"]:
        write_whole(Path(config["file"]), markdown(published, cells))
        console.out(str(config["file"]))
    return 0


def board(config: Config) -> int:
    """Rebuild the tables from the results, or check that they are what would be built."""
    from evalkit.board import check, rebuild

    folder = Path(config["leaderboard"])
    if config["board"]["check"]:
        if differing := check(folder):
            raise DataError(
                f"{len(differing)} files of {folder} are not what its results make: {', '.join(differing[:5])}. "
                f"Run `python -m evalkit board leaderboard={folder}` and commit what it writes."
            )
        console.out(f"{folder}: the tables are what the results make")
        return 0
    for path in rebuild(folder):
        console.out(str(path))
    return 0


def audit(config: Config) -> int:
    """Print what is wrong with a copy of a dataset."""
    from evalkit.audit import audit as findings_of
    from evalkit.audit import render

    console.out(render(findings_of(make_task(config), images=bool(config["images"]))))
    return 0


def list_options(arguments: Sequence[str], groups: Sequence[str]) -> str:
    """The text of `evalkit list [GROUP...]`: names with their one line."""
    plural = {f"{g}s": g for g in groups} | {g: g for g in groups}
    for argument in arguments:
        if argument not in plural:
            raise ConfigError(f"`list` knows no {argument!r}. {did_you_mean(argument, [f'{g}s' for g in groups])}")
    wanted = [plural[a] for a in arguments] or list(groups)
    parts = []
    for group in wanted:
        found = options(group)
        if found:
            parts.append("\n".join([f"{group}s", *(f"  {name:<24}{about}" for name, about in found.items())]))
    return "\n\n".join(parts)
