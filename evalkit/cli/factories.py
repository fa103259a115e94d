"""Objects that a verb's configuration describes: task, protocols, checkpoint, engine, prompt record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.cli import providers
from evalkit.cli.config import (
    Config,
    accepts,
    build,
    checked_choice,
    load_option,
    options,
    protocols_for,
    scores_choices_alone,
)
from evalkit.cli.option_settings import continuation_kind, with_option_settings
from evalkit.cli.recipe_settings import decoding_settings
from evalkit.cli.targets import resolve
from evalkit.cli.task_settings import baseline_protocols, reference_protocol
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home
from evalkit.core.plain_text import is_hidden
from evalkit.core.setting_types import parse_setting, shown

if TYPE_CHECKING:
    from evalkit.core.types import ImageRef
    from evalkit.engines.base import Engine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.pipeline.conclude import AnalysisSettings
    from evalkit.pipeline.settings import Settings
    from evalkit.pipeline.train_split import TrainSplit
    from evalkit.runs.prompt_record import Template
    from evalkit.runs.schema import Summary
    from evalkit.scoring.base import ScoringProtocol
    from evalkit.tasks.base import LoadedTask, Task
    from evalkit.tasks.selection import Selection


# Settings of any task; the class of a table's task has them itself.
WORDING = ("template", "system")
# The kind of a model that is a function of the caller's (`evalkit.engines.function`), in Python alone.
FUNCTION = "function"


def table_title(summary: Summary) -> str:
    """Title of a result table."""
    image = "" if summary.image == "original" else f", {summary.image} image"
    return f"{summary.model} on {summary.task} ({summary.split}{image}), run {summary.run_id}"


def as_list(value: Any) -> list[str]:
    """The values of a setting that may be one text or a list of them; none for null."""
    return [value] if isinstance(value, str) else [str(v) for v in value or ()]


def model_name(config: Config) -> str:
    """The name of the model in tables and run folders: its `name` setting, else the chosen option."""
    return str(config["model"].get("name") or config["choices"]["model"])


def sees_images(config: Config) -> bool:
    """Whether the chosen model is given images; baselines and scripted answers are not."""
    return config["model"].get("kind") in ("checkpoint", FUNCTION)


def is_checkpoint(config: Config) -> bool:
    """Whether the chosen model is a checkpoint, which decodes by settings."""
    return str(config["model"].get("kind")) == "checkpoint"


class CheckedTask(NamedTuple):
    """A split whose images were checked; digests: sha256 of each image."""

    loaded: LoadedTask
    digests: Mapping[ImageRef, str]


def make_task(config: Config) -> Task:
    """The chosen task, or the part of it that its settings select, with the orders of options that they ask for."""
    from evalkit.tasks.selection import SelectedTask

    task, selection = make_whole_task(config), make_selection(config)
    if selection is not None:
        task = SelectedTask(task, selection)
    return with_option_settings(task, config["task"])


def make_whole_task(config: Config) -> Task:
    """The chosen task with all rows of its split."""
    content = config["task"]
    where = f"task {content.get('name') or config.get('choices', {}).get('task')}"
    wording = {key: content.get(key) for key in WORDING if content.get(key) is not None}
    if not wording or accepts(resolve(str(content.get("target")), where), next(iter(wording))):
        own: Task = build(content, where)
        return own
    from evalkit.tasks.question_template import WordedTask

    task: Task = build({key: value for key, value in content.items() if key not in WORDING}, where)
    return WordedTask(task, template=wording.get("template"), system=wording.get("system"))


def make_selection(config: Config) -> Selection | None:
    """The part of the task's rows that `task.where` and `sample` select; None where they select none."""
    from evalkit.tasks.selection import Selection

    task = config["task"]
    return Selection.from_settings(task.get("where"), task.get("sample"), task.get("sample_seed") or 0)


def selects_rows(config: Config) -> bool:
    """Whether `task.where` or `sample` select a part of the task's rows; reads no file of ids."""
    task = config["task"]
    where = task.get("where") or {}
    # What is no mapping is refused where the selection is made.
    is_part = not isinstance(where, Mapping) or any(value is not None for value in where.values())
    return is_part or any(source.get("sample") is not None for source in (task, config))


def with_sample(config: Config) -> Config:
    """The configuration with `sample` and `sample_seed` as settings of the task, with which runs keep them."""
    if config.get("sample") is None:
        return config
    drawn = {"sample": config["sample"], "sample_seed": config.get("sample_seed") or 0}
    return {**config, "task": {**config["task"], **drawn}}


def with_letters(config: Config) -> Config:
    """The configuration with `task.prompt=options` as `letters` where all chosen protocols read letters."""
    if config["task"].get("prompt") == "options" and _reads_letters(config):
        return {**config, "task": {**config["task"], "prompt": "letters"}}
    return config


def _reads_letters(config: Config) -> bool:
    """Whether the chosen protocols read the letter of an option; one prompt cannot serve both kinds."""
    if "protocols" not in config["task"] and not config.get("protocol"):
        return False
    chosen = protocols_for(config.get("protocol"), config["task"])
    classes = {n: resolve(str(c.get("target")), f"protocol {n}") for n, c in chosen.items()}
    # Protocols of multiple choice alone share no row with the others and `options` is a list there: nothing to decide.
    alone = [n for n, content in chosen.items() if scores_choices_alone(content)]
    letters = [n for n, found in classes.items() if getattr(found, "reads_letters", False) and n not in alone]
    texts = [n for n in chosen if n not in letters and n not in alone]
    if letters and texts:
        console.warn(
            f"{', '.join(letters)} reads letters, {', '.join(texts[:3])} reads the text of an option: with both, "
            f"task.prompt=options does not letter them. Run protocol={letters[0]} alone for lettered options, or set "
            "task.prompt=letters."
        )
    return bool(letters) and not texts


def make_protocols(config: Config) -> list[ScoringProtocol]:
    """The chosen scoring protocols, or the task's default ones."""
    chosen = protocols_for(config.get("protocol"), config["task"])
    return build_protocols(chosen)


def build_protocols(chosen: Mapping[str, Mapping[str, Any]]) -> list[ScoringProtocol]:
    """The protocols of these configurations.

    Raises:
        ConfigError: a name or version is invalid, or two have one name, so that their scores would mix.
    """
    protocols: dict[str, ScoringProtocol] = {}
    for option, content in chosen.items():
        protocol: ScoringProtocol = build(content, f"protocol {option}")
        name, version = protocol.name, protocol.version
        if not isinstance(name, str) or not re.fullmatch(r"[^\s|]+", name) or any(map(is_hidden, name)):
            raise ConfigError(f"protocol {option}: name={name!r} is invalid; expected a text without spaces and '|'.")
        if not isinstance(version, int) or isinstance(version, bool):
            raise ConfigError(f"protocol {option}: version={version!r} is invalid; expected a whole number such as 1.")
        if name in protocols:
            raise ConfigError(
                f"protocol {option}: another chosen protocol has the name {name!r} too, and their scores would mix. "
                "Give each protocol its own `name:`."
            )
        protocols[name] = protocol
    return list(protocols.values())


def make_spec(config: Config, name: str) -> CheckpointSpec:
    """The chosen checkpoint, with the chosen generation preset."""
    from evalkit.models.checkpoint import CheckpointSpec

    preset, changes = decoding_settings(config.get("generation"))
    words = {"fetch_words": fetch_words(config)}
    model = {**config["model"], **words, "name": name, **({"generation": preset} if preset else {})}
    of_task = (config.get("task") or {}).get("generation") or {}
    return CheckpointSpec.from_config(model, {**of_task, **changes})


def fetch_words(config: Config) -> str:
    """The words of the command line that choose the model's weights, for the command that fetches them."""
    option, source = str(config["choices"].get("model")), config["model"].get("source")
    registered = load_option("model", option) if option in options("model") else {"source": option}
    # A local folder is added by the message itself.
    is_other = source and source != registered.get("source") and not expand_home(str(source)).is_dir()
    return f"model={option}" + (f" model.source={source}" if is_other else "")


def require_weights(config: Config, name: str) -> None:
    """Check that the model's weights are on this machine, unless the engine has them elsewhere.

    Raises:
        ConfigError: the packages that run them are not installed.
        ModelError: they are not; the message names the command that fetches them, and the task's data with them.
    """
    if not _needs_local_weights(config):
        return
    from evalkit.core.extras import require_hf
    from evalkit.models.checkpoint import locate

    engine = str(config["choices"].get("engine") or "hf")
    require_hf(f"model={name} with engine={engine}", engine=engine)
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


def make_engine(config: Config, name: str, train: TrainSplit) -> Engine:
    """The engine for the chosen model: a baseline fitted on the train split, or a checkpoint in the chosen engine.

    train: read for a baseline only.
    """
    model = {**config["model"], "name": name}
    # `scripted` is the former name of `engine`, in YAMLs written for earlier versions.
    kind = checked_choice(model.get("kind"), ("checkpoint", "baseline", "engine", "scripted"), f"model {name}: kind")
    if kind == "checkpoint":
        settings = {k: v for k, v in config["engine"].items() if k != "shard"}  # `run` splits the samples itself
        if settings.get("provider"):
            settings["provider"] = providers.preset(str(settings["provider"]))
        spec = make_spec(config, name)
        if "inner" in settings:
            return make_distributed_engine(settings, spec)
        engine: Engine = build(settings, "engine", spec=spec)
        return engine
    if preset := config.get("generation"):
        raise ConfigError(
            f"generation={shown(preset)} is how a checkpoint decodes, and model={name} is not a checkpoint."
        )
    if kind in ("engine", "scripted"):
        own_engine: Engine = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}")
        return own_engine
    from evalkit.engines.baseline import BaselineEngine

    split = train.loaded
    baseline = build({k: v for k, v in model.items() if k not in ("kind", "name")}, f"model {name}").fit(split.samples)
    trained_on = f"{split.name}.{split.split}, {len(split.samples)} rows, sha256 {split.data_sha256[:8]}"
    return BaselineEngine(baseline=baseline, model=name, trained_on=trained_on)


def make_template(config: Config, model: str) -> Template:
    """The chat template of the chosen checkpoint; an empty one where it is unknown here, as a server's is."""
    from evalkit.runs.prompt_record import Template, template_of

    if not sees_images(config) or not _needs_local_weights(config):
        return Template()
    return template_of(make_spec(config, model))


class ModelMaker(NamedTuple):
    """Where a run gets its model from.

    engine: the engine, from the configuration, the model's name and the train split.  template: the chat template for
    the prompt record.  check: stop before any data are read where the model cannot be had.
    """

    engine: Callable[[Config, str, TrainSplit], Engine]
    template: Callable[[Config, str], Template]
    check: Callable[[Config, str], None]


def check_weights(config: Config, name: str) -> None:
    """`require_weights` for a model that sees images; the others have none."""
    if sees_images(config):
        require_weights(config, name)


FROM_CONFIG = ModelMaker(make_engine, make_template, check_weights)


def make_settings(config: Config) -> Settings:
    """The run's own settings."""
    from evalkit.pipeline.image_modes import IMAGE_MODES
    from evalkit.pipeline.settings import Settings
    from evalkit.pipeline.shards import Shard
    from evalkit.published.table import REGIMES

    limit = config["limit"]
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise ConfigError(f"limit={limit} is not possible; give a number of samples such as 100, or null for all.")
    if config.get("regime") is not None:  # before anything is generated
        checked_choice(config["regime"], REGIMES, "regime")
    return Settings(
        model=model_name(config),
        image=checked_choice(config["image"], IMAGE_MODES, "image"),
        limit=limit,
        out=Path(config["out"] or "."),
        resume=bool(config.get("resume", True)),
        dry_run=bool(config.get("dry_run")),
        shard=Shard.parse((config.get("engine") or {}).get("shard")),
        reasoning=reasoning_mode(config),
        continuation=continuation_kind(config),
        confidence=bool(config.get("confidence")),
        **_preflight(config),
    )


def metrics_setting(config: Config) -> str:
    """The setting `metrics`: the main metrics in a run's table, or all."""
    from evalkit.pipeline.conclude import METRICS

    return checked_choice(config.get("metrics", METRICS[0]), METRICS, "metrics")


# Answers of a long run that are looked at.
PREFLIGHT = 8


def _preflight(config: Config) -> dict[str, Any]:
    """`preflight=N` or `preflight.n=N preflight.require=SHARE`, where a checkpoint answers.

    Raises:
        ConfigError: a value is of another type.
    """
    given = config.get("preflight")
    content = {"n": PREFLIGHT, **given} if isinstance(given, Mapping) else {"n": given}
    if unknown := [key for key in content if key not in ("n", "require")]:
        raise ConfigError(f"preflight.{unknown[0]} is not a setting. Expected preflight.n or preflight.require.")
    n = parse_setting(content.get("n"), int | None, "preflight.n")
    require = parse_setting(content.get("require"), float | None, "preflight.require")
    if not sees_images(config) and require is None:
        return {}
    return {"preflight": n, "preflight_require": require}


def reasoning_mode(config: Config) -> str:
    """The setting `reasoning`: "auto" splits thoughts off the answers, "keep" leaves each text as it came."""
    from evalkit.core.reasoning import MODES

    return checked_choice(config.get("reasoning", "auto"), MODES, "reasoning")


def make_analysis_settings(task: Mapping[str, Any], train: TrainSplit | None) -> AnalysisSettings:
    """Settings of a task's YAML for the analysis of its runs."""
    from evalkit.pipeline.conclude import AnalysisSettings

    return AnalysisSettings(
        baseline_protocols=baseline_protocols(task), reference_protocol=reference_protocol(task), train=train
    )


def load_for_model(config: Config, task: Task) -> CheckedTask:
    """The chosen split; for a model that sees images with every image checked and its digest."""
    from evalkit.tasks.base import check_ids
    from evalkit.tasks.image_check import check_images

    loaded = task.load(images=sees_images(config))
    check_ids(loaded)  # before images are read and anything is generated
    if not sees_images(config):
        return CheckedTask(loaded, {})
    return CheckedTask(*check_images(loaded, on_missing=config["task"].get("on_missing_image", "error")))
