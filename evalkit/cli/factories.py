"""Objects that a verb's configuration describes: task, protocols, checkpoint, engine, prompt record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, build, checked_choice, protocols_for, resolve
from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from evalkit.core.types import Generation, ImageRef
    from evalkit.engines.base import Engine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.runs.prompt_record import Asked as PromptRecord
    from evalkit.scoring.base import ScoringProtocol
    from evalkit.tasks.base import LoadedTask, Task


def table_title(summary: Mapping[str, Any]) -> str:
    """Title of a result table, from summary.json."""
    image = "" if summary["image"] == "original" else f", {summary['image']} image"
    return f"{summary['model']} on {summary['task']} ({summary['split']}{image}), run {summary['run_id']}"


def as_list(value: Any) -> list[str]:
    """The values of a setting that may be one text or a list of them; none for null."""
    return [value] if isinstance(value, str) else [str(v) for v in value or ()]


def model_name(config: Config) -> str:
    """The name of the model in tables and run folders: its `name` setting, else the chosen option."""
    return str(config["model"].get("name") or config["choices"]["model"])


def task_config_of(manifest: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The task's configuration in a run's manifest, with the dataset's place where `data` gives a new one."""
    stored = manifest.get("config", {}).get("task", {})
    return {**stored, **{key: value for key, value in data.items() if value}}


def make_task(config: Config) -> Task:
    """The chosen task."""
    task: Task = build(config["task"], f"task {config['task'].get('name')}")
    return task


def make_protocols(config: Config) -> list[ScoringProtocol]:
    """The chosen scoring protocols, or the task's default ones."""
    chosen = protocols_for(config.get("protocol"), config["task"])
    return [build(c, f"protocol {name}") for name, c in chosen.items()]


def make_spec(config: Config, name: str) -> CheckpointSpec:
    """The chosen checkpoint, with the chosen generation preset."""
    from evalkit.models.checkpoint import CheckpointSpec

    preset = config.get("generation")
    model = {**config["model"], "name": name, **({"generation": preset} if preset else {})}
    return CheckpointSpec.from_config(model, (config.get("task") or {}).get("generation"))


def require_weights(config: Config, name: str) -> None:
    """Check that the model's weights are on this machine, unless the engine has them elsewhere.

    Raises:
        ModelError: they are not; the message names the command that fetches them, and the task's data with them.
    """
    if not _needs_local_weights(config):
        return
    from evalkit.models.checkpoint import locate

    task = config["task"]
    task_to_fetch = config["choices"].get("task") if task.get("repo") and not task.get("path") else None
    locate(make_spec(config, name), task_to_fetch)


def make_distributed_engine(settings: dict[str, Any], spec: CheckpointSpec) -> Engine:
    """An engine whose workers each build an engine of their own from the settings in `inner`."""
    inner = dict(settings.pop("inner"))
    if inner.pop("shard", None) is not None:
        raise ConfigError("engine.inner.shard is not possible; give the part of the run as engine.shard=i/n.")
    if "inner" in inner:
        raise ConfigError("engine.inner must be an engine that answers by itself, such as hf or vllm.")
    if inner.get("measure_flips", 0) is None:
        inner["measure_flips"] = 0  # counted in one process only
    engine: Engine = build(settings, "engine", inner=partial(build, inner, "engine.inner", spec=spec))
    return engine


def _needs_local_weights(config: Config) -> bool:
    return bool(getattr(resolve(str(config["engine"].get("target")), "engine"), "local_weights", True))


def make_engine(config: Config, name: str, task: Task) -> Engine:
    """The engine for the chosen model: a baseline fitted on the train split, or a checkpoint in the chosen engine."""
    model = {**config["model"], "name": name}
    kind = checked_choice(model.get("kind"), ("checkpoint", "baseline", "scripted"), f"model {name}: kind")
    if kind == "checkpoint":
        settings = {k: v for k, v in config["engine"].items() if k != "shard"}  # `run` splits the samples itself
        spec = make_spec(config, name)
        if "inner" in settings:
            return make_distributed_engine(settings, spec)
        engine: Engine = build(settings, "engine", spec=spec)
        return engine
    if preset := config.get("generation"):
        raise ConfigError(f"generation={preset} names a preset of a checkpoint, and model={name} is not a checkpoint.")
    if kind == "scripted":
        scripted: Engine = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}")
        return scripted
    from evalkit.engines.baseline import BaselineEngine

    train = task.load_train()
    baseline = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}").fit(train.samples)
    trained_on = f"{train.name}.{train.split}, {len(train.samples)} rows, sha256 {train.data_sha256[:8]}"
    return BaselineEngine(baseline=baseline, model=name, trained_on=trained_on)


def make_prompt_record(
    config: Config,
    task: Task,
    loaded: LoadedTask,
    digests: Mapping[ImageRef, str],
    *,
    model: str,
    image: str,
    limit: int | None,
    generation: Generation,
) -> PromptRecord:
    """The record of a run's prompts, images and generation settings; loads no weights.

    loaded: already limited.
    """
    from evalkit.pipeline.evaluate import with_images
    from evalkit.runs.prompt_record import collect, template_of

    sees_images = config["model"].get("kind") == "checkpoint"
    # A server's chat template is unknown here.
    template = template_of(make_spec(config, model) if sees_images and _needs_local_weights(config) else None)
    record = partial(
        collect, task, loaded, with_images(loaded.samples, image), digests if sees_images else None,
        model=model, image=image, limit=limit, generation=generation,
    )  # fmt: skip
    try:
        return record(template=template)
    except ModelError as problem:
        # The engine may support more of jinja than the plain rendering here; a finished run must not fail now.
        console.warn(f"prompts are recorded without the chat template, which cannot be rendered here: {problem}")
        return record(template=replace(template, text=None))
