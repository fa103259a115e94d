"""Add judged scores to a run: run=DIR judge=NAME."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, build, load_option, options
from evalkit.cli.factories import make_task
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.network import watched

if TYPE_CHECKING:
    from evalkit.judge.config import JudgeConfig

HELP_ORDER = 50
# What a judge's YAML says of its model alone.
_OF_A_MODEL = ("price", "shutdown", "revision")
EXAMPLES = (
    "evalkit judge run=RUN judge=local",
    "evalkit judge run=RUN judge=gpt-4.1-2025-04-14",
)


def main(config: Config) -> int:
    """Add judged scores to a finished run."""
    from evalkit.judge.api import judge_run
    from evalkit.judge.metrics import signed_metrics
    from evalkit.judge.remarks import remarks
    from evalkit.pipeline.inputs import select
    from evalkit.runs.store import RunFolder
    from evalkit.runs.verify import open_run

    if config["judge"].get("name") == "none":
        raise ConfigError(f"Choose a judge with judge=NAME. Known: {', '.join(options('judge'))}.")
    settings, left_out = without_facts_of_another_model(
        config["judge"], load_option("judge", config["choices"]["judge"])
    )
    if left_out:
        console.note(left_out)
    judge_config = build(settings, f"judge {settings.get('name')}")
    folder = RunFolder(Path(config["run"]))
    if not folder.manifest.is_file():
        raise ConfigError(f"{folder.path} is not the folder of a run (it has no manifest.json).")
    run = open_run(folder.path)
    manifest = run.manifest
    assert manifest is not None, "a run with a manifest.json has a manifest"
    predictions = [line.prediction for line in run.predictions()]
    task = make_task({"task": saved_task(manifest, config["data"])})
    loaded = task.load(images=bool(config["judge"].get("send_images")))
    if task_note := rule_of_another_task(config["judge"], loaded.name):
        console.warn(task_note)
    samples = select(loaded.samples, [p.sample_id for p in predictions], str(folder.path))
    complete = local_judge(judge_config) if judge_config.transport == "local" else None
    with watched(config["offline"]):
        outcome = judge_run(folder.path, judge_config, samples, predictions, say=console.note, complete=complete)
    values = [v for v in signed_metrics(outcome.scores, manifest) if v.slice == "all"]
    console.table(values, f"{manifest.run_id} judged by {judge_config.name}")
    for text in remarks(outcome.scores):
        console.note(text)
    console.out(str(folder.path))
    outcome.check()
    return 0


def without_facts_of_another_model(judge: Mapping[str, Any], shipped: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A judge's settings without the price, shutdown and commit of the model in its YAML, where judge.model is another.

    Returns:
        The settings, and a note that says what was left out; "" where nothing was.
    """
    settings = dict(judge)
    if not shipped.get("model") or settings.get("model") == shipped["model"]:
        return settings, ""
    facts = [key for key in _OF_A_MODEL if shipped.get(key) is not None and settings.get(key) == shipped[key]]
    note = (
        f"note: {' and '.join(f'judge.{key}' for key in facts)} of {shipped.get('name')} left out: stated for "
        f"{shipped['model']}, and judge.model is {settings.get('model')}"
    )
    return settings | dict.fromkeys(facts), note if facts else ""


def rule_of_another_task(judge: Mapping[str, Any], task: str) -> str:
    """The warning where the judge's authors score this task's closed rows by another rule; empty where they do not."""
    known = [str(name) for name in judge.get("tasks") or ()]
    if not known or task in known:
        return ""
    others = [name for name in options("judge") if task in load_option("judge", name).get("tasks", ())]
    instead = f" Judges for {task}: {', '.join(others)}." if others else ""
    return (
        f"judge={judge.get('name')} scores closed rows by its authors' rule for {', '.join(known)}, and "
        f"the run's task is {task}, so its numbers are not those of their tables.{instead}"
    )


def local_judge(judge_config: JudgeConfig) -> Callable[[list[dict[str, Any]]], str]:
    """A registered checkpoint as judge in this process: chat messages -> its answer."""
    from evalkit.engines.hf import resolve_device, resolve_dtype
    from evalkit.judge.local import local_complete
    from evalkit.models.checkpoint import CheckpointSpec

    if not judge_config.model:
        raise ConfigError("judge=local needs a registered model: judge.model=NAME, as in `evalkit list models`.")
    spec = CheckpointSpec.from_config({**load_option("model", judge_config.model), "name": judge_config.model})
    device = resolve_device("auto")
    max_tokens = int(judge_config.parameters.get("max_tokens", 1024))
    return local_complete(spec, device=device, dtype=resolve_dtype("auto", spec, device), max_tokens=max_tokens)
