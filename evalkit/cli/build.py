"""What verbs make of the configuration: the task, its protocols, the model behind its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, build, choose, protocols_for, resolve
from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from evalkit.core.types import Generation, ImageRef
    from evalkit.engines.base import Engine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.runs.prompt_record import Asked
    from evalkit.scoring.base import ScoringProtocol
    from evalkit.tasks.base import LoadedTask, Task


def title(summary: Mapping[str, Any]) -> str:
    """The heading of a result table."""
    image = "" if summary["image"] == "original" else f", {summary['image']} image"
    return f"{summary['model']} on {summary['task']} ({summary['split']}{image}), run {summary['run_id']}"


def listed(value: Any) -> list[str]:
    """A setting that may be one text or a list of them; none for null."""
    return [value] if isinstance(value, str) else [str(v) for v in value or ()]


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
    if not _local(config):
        return
    # Before the data is looked for, so that one message names the one command that brings both.
    from evalkit.models.checkpoint import locate

    task = config["task"]
    known = config["choices"].get("task") if task.get("repo") and not task.get("path") else None
    locate(make_spec(config, name), known)


def spread_engine(settings: dict[str, Any], spec: CheckpointSpec) -> Engine:
    """An engine whose workers make engines of their own (`inner`), where they run."""
    inner = dict(settings.pop("inner"))
    if inner.pop("shard", None) is not None:
        raise ConfigError("engine.inner.shard is not possible: which part a run is, says engine.shard=i/n.")
    if "inner" in inner:
        raise ConfigError("engine.inner must be an engine that answers by itself, such as hf or vllm.")
    if inner.get("measure_flips", 0) is None:
        inner["measure_flips"] = 0  # counted in one process only
    engine: Engine = build(settings, "engine", inner=partial(build, inner, "engine.inner", spec=spec))
    return engine


def _local(config: Config) -> bool:
    return bool(getattr(resolve(str(config["engine"].get("target")), "engine"), "local_weights", True))


def make_engine(config: Config, name: str, task: Task) -> Engine:
    """The engine that answers: a baseline fitted on the train split, or a checkpoint behind the chosen engine."""
    model = {**config["model"], "name": name}
    # `scripted` is the old name of `engine`, in YAMLs written for earlier versions.
    kind = choose(model.get("kind"), ("checkpoint", "baseline", "engine", "scripted"), f"model {name}: kind")
    if kind == "checkpoint":
        settings = {k: v for k, v in config["engine"].items() if k != "shard"}  # which part is the run's matter
        spec = make_spec(config, name)
        if "inner" in settings:
            return spread_engine(settings, spec)
        engine: Engine = build(settings, "engine", spec=spec)
        return engine
    if preset := config.get("generation"):
        raise ConfigError(f"generation={preset} names a preset of a checkpoint, and model={name} is none.")
    if kind in ("engine", "scripted"):
        own_engine: Engine = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}")
        return own_engine
    from evalkit.engines.baseline import BaselineEngine

    train = task.load_train()
    baseline = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}").fit(train.samples)
    trained_on = f"{train.name}.{train.split}, {len(train.samples)} rows, sha256 {train.data_sha256[:8]}"
    return BaselineEngine(baseline=baseline, model=name, trained_on=trained_on)


def asked(
    config: Config,
    model: str,
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    image: str,
    limit: int | None,
    generation: Generation,
) -> Asked:
    """The record of what a run asks of its model; loads no weights.  loaded: already limited."""
    from evalkit.pipeline.evaluate import with_images
    from evalkit.runs.prompt_record import collect, template_of

    sees = config["model"].get("kind") == "checkpoint"
    # A server has a chat template of its own, which nobody can see from here.
    template = template_of(make_spec(config, model) if sees and _local(config) else None)
    fill = partial(
        collect, task, loaded, with_images(loaded.samples, image), digests if sees else None,
        model=model, image=image, limit=limit, generation=generation,
    )  # fmt: skip
    try:
        return fill(template=template)
    except ModelError as problem:
        # The engine may know more of jinja than the plain rendering here; a finished run must not fail at its record.
        console.warn(f"what is asked is recorded before the chat template, not after it: {problem}")
        return fill(template=replace(template, text=None))
