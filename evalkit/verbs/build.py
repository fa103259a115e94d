"""What verbs make of the configuration: the task, its protocols, the model behind its engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.config import Config, build, choose, protocols_for, resolve
from evalkit.errors import ConfigError

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.scorers.base import ScoringProtocol
    from evalkit.tasks.base import Task


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


def require_weights(config: Config, name: str) -> None:
    """Refuse a model whose weights are not here, unless the engine finds them elsewhere (`local_weights = False`)."""
    if not getattr(resolve(str(config["engine"].get("target")), "engine"), "local_weights", True):
        return
    # Before the data is looked for, so that one message names the one command that brings both.
    from evalkit.models.checkpoint import locate

    task = config["task"]
    known = config["choices"].get("task") if task.get("repo") and not task.get("path") else None
    locate(make_spec(config, name), known)


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
