"""Verbs of language models as judges: judge, judge check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.build import make_task
from evalkit.cli.config import Config, build, options
from evalkit.core import console
from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    from evalkit.judge.config import JudgeConfig


def judge(config: Config) -> int:
    """Add judged scores to a finished run."""
    from evalkit.core.files import read_lines
    from evalkit.judge.api import judge_run, remarks
    from evalkit.pipeline.evaluate import select
    from evalkit.pipeline.rescore import manifest_beside
    from evalkit.runs.store import RunFolder, prediction_from

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
    complete = local_judge(judge_config) if judge_config.transport == "local" else None
    outcome = judge_run(folder.path, judge_config, samples, predictions, say=console.note, complete=complete)
    rows = outcome.figures.rows(model=manifest["model"], task=loaded.name, split=loaded.split)
    console.table([r for r in rows if r.slice == "all"], f"{manifest['run_id']} judged by {judge_config.name}")
    for text in remarks(outcome.figures):
        console.note(text)
    console.out(str(folder.path))
    outcome.check()
    return 0


def local_judge(judge_config: JudgeConfig) -> Callable[[list[dict[str, Any]]], str]:
    """The registered checkpoint that judges in this process."""
    from evalkit.cli.config import load_option
    from evalkit.engines.hf import resolve_device, resolve_dtype
    from evalkit.judge.local import local_complete
    from evalkit.models.checkpoint import CheckpointSpec

    if not judge_config.model:
        raise ConfigError("judge=local needs a registered model: judge.model=NAME, as in `evalkit list models`.")
    spec = CheckpointSpec.from_config({**load_option("model", judge_config.model), "name": judge_config.model})
    device = resolve_device("auto")
    max_tokens = int(judge_config.parameters.get("max_tokens", 1024))
    return local_complete(spec, device=device, dtype=resolve_dtype("auto", spec, device), max_tokens=max_tokens)


def judge_check(config: Config) -> int:
    """How far a judge agrees with people."""
    from evalkit.judge.agreement import check_labels

    run_folder = Path(config["run"]) if config["run"] else None
    agreement = check_labels(Path(config["labels"]), run=run_folder, judge=config["name"], model=config["model"])
    console.out(json.dumps(agreement.record(), indent=1, ensure_ascii=False))
    return 0
