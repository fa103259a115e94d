"""`evaluate`: answer a data set with a model and score the answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.api.arguments import as_flag, as_mapping, as_text
from evalkit.api.home import Home
from evalkit.api.models import ChosenModel, choose_model
from evalkit.api.process import outside_event_loop, torch_settings
from evalkit.api.result import Result
from evalkit.api.task import TaskData, task_settings
from evalkit.api.words import as_words
from evalkit.cli.typed_settings import GROUPS
from evalkit.core import console
from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.cli.config import Config
    from evalkit.engines.base import Engine

# Settings of `run` that give no result, with what to use instead.
NO_RESULT = {
    "suite": "call evaluate once a task",
    "dry_run": "load_task shows what would be asked",
}


def evaluate(
    model: Any,
    task: str | os.PathLike[str] | pd.DataFrame | TaskData = "phantom",
    *,
    processor: Any = None,
    path: str | os.PathLike[str] | None = None,
    protocols: str | Sequence[str] | None = None,
    limit: int | None = None,
    name: str | None = None,
    digest: str | None = None,
    batch_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Result:
    """Answer a data set with a model and score the answers, as `python -m evalkit run` does.

    >>> result = evaluate(lambda image, question: "yes", task="phantom", limit=20, protocols="strict")
    >>> result["strict", "closed_accuracy"].n, result.summary.n_failed
    (14, 0)

    Args:
        model: the name of a registered model, the folder of a checkpoint or a hub id; a transformers model in memory
            with its processor, `(model, processor)`; a function `(image, question) -> text`, with `batch_size` one of
            two lists, either of them asynchronous or not; a client of the openai package with the id of its model,
            `(client, "gpt-4o")`.
        task: the name of a registered task, the path of a table, a DataFrame, or what `load_task` returned.
        processor: of a model in memory.
        path: of a local copy of the data set.
        protocols: under which the answers are scored; None: the task's own.
        limit: the first samples only.
        name: of the model in results.
        digest: your name for the weights of a model in memory, which are then not hashed, or for what a function
            computes, whose answers are then continued by the next call with the same `out`.
        batch_size: maximum number of questions at a time.
        out: the folder below which the run's folder is made, and in which an earlier one of the same content is
            continued; None: a temporary one (`Result.save` copies it).
        progress: print notes, warnings and progress to standard error.
        settings, more: other settings of `evalkit run`, such as engine="server", image="blank",
            settings={"engine.exact": True}.

    Raises:
        EvalkitError: see `evalkit.errors`.  Failed samples raise nothing: `Result.warnings` and the counts name them.
    """
    call = _call(
        model, task, processor=processor, path=path, protocols=protocols, limit=limit, name=name, digest=digest,
        batch_size=batch_size, out=out, settings=merged_settings(settings, more),
    )  # fmt: skip
    folder, said = _answered(call, progress=as_flag("progress", progress))
    return Result(folder, call.home, said.notes, said.warnings)


def evaluate_part(
    model: Any,
    task: str | os.PathLike[str] | pd.DataFrame | TaskData,
    part: str,
    *,
    out: str | os.PathLike[str],
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Path:
    """Answer part `i/n` of the questions, as `engine.shard=i/n` does; returns the part's folder.

    Args:
        settings: as a mapping alone.  arguments: the others of `evaluate`.
    """
    given = merged_settings(settings, {"engine.shard": part})
    none = dict.fromkeys(("processor", "path", "protocols", "limit", "name", "digest", "batch_size"))
    call = _call(model, task, out=out, settings=given, **{**none, **arguments})
    return _answered(call, progress=progress, is_part=True)[0]


def merge_parts(parts: Sequence[Path], out: str | os.PathLike[str]) -> Result:
    """The run that these parts are, scored, as `python -m evalkit merge` makes it, in a folder below `out`.

    Raises:
        StoreError: a part is missing, unfinished, or of another run.
    """
    from evalkit.cli.commands.merge import merge_runs
    from evalkit.cli.hydra_app import configuration

    words = as_words({"runs": [str(part) for part in parts], "out": os.fspath(out), "leaderboard": None})
    with console.captured(is_shown=False) as said:
        conclusion = merge_runs(configuration("merge", words))
    return Result(conclusion.folder, Home(out), said.notes, said.warnings)


class _Call(NamedTuple):
    """A call of `evaluate` as words of the command line; home: where its run goes."""

    words: list[str]
    home: Home
    chosen: ChosenModel


def _call(
    model: Any,
    task: Any,
    *,
    processor: Any,
    path: Any,
    protocols: Any,
    limit: int | None,
    name: str | None,
    digest: str | None,
    batch_size: int | None,
    out: Any,
    settings: Mapping[str, Any],
) -> _Call:
    name, digest = as_text("name", name), as_text("digest", digest)
    home = Home(out)
    chosen = choose_model(model, processor, name=name, digest=digest, batch_size=batch_size)
    own = chosen.settings.get("engine")
    if own is not None and str(settings.get("engine", own)) != own:
        raise ConfigError(f"engine={settings['engine']} is not possible with a client, whose server engine={own} asks.")
    words = as_words(
        {
            **chosen.settings,
            **task_settings(task, path, home, settings, limit),
            **({} if protocols is None else {"protocol": protocols}),
            "name": name,
            "out": home.path,
            **({"leaderboard": None} if home.is_temporary else {}),
            **settings,
        }
    )
    return _Call(words, home, chosen)


def _answered(call: _Call, *, progress: bool, is_part: bool = False) -> tuple[Path, console.Captured]:
    """The folder of a call's run, and what was said; the run is a part of one where `is_part`."""

    def work(through: Callable[[Engine], Engine]) -> tuple[Path, console.Captured]:
        from evalkit.cli.commands.run import answer_task
        from evalkit.cli.hydra_app import configuration, refused

        with console.captured(is_shown=progress) as said, torch_settings.kept(), call.chosen.use():
            config = _one_result(call.chosen.change(configuration("run", call.words)), is_part=is_part)
            try:
                conclusion = answer_task(config, through, call.chosen.maker)
            except OSError as problem:
                raise refused(problem) from problem
        assert conclusion is not None, "a run that is no dry run has a conclusion"
        return conclusion.folder, said

    return outside_event_loop(work)


def _one_result(config: Config, *, is_part: bool) -> Config:
    """The configuration, checked to be of one run.

    Raises:
        ConfigError: it is of none, of several, or of a part of one where that was not asked for.
    """
    from evalkit.cli.commands.run import variants

    for key, instead in NO_RESULT.items():
        if config.get(key):
            raise ConfigError(f"{key}= is not possible in evaluate, which gives one result: {instead}.")
    config, *others = variants(config)
    if others:
        raise ConfigError(
            f"A list of {1 + len(others)} prompts is not possible in evaluate, which gives one result: call it "
            "once a prompt."
        )
    if not is_part and (config.get("engine") or {}).get("shard") is not None:
        raise ConfigError("engine.shard= is not possible in evaluate: a part of a run has no result.")
    return config


# Settings that are arguments of `evaluate` and `score`.
_ARGUMENTS = {
    "model": "model", "task": "task", "protocol": "protocols", "limit": "limit", "name": "name", "out": "out",
    "task.path": "path", "predictions": "answers",
}  # fmt: skip


def merged_settings(settings: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of both ways, those of a config group one by one: {"engine": {"exact": True}} is engine.exact.

    Raises:
        ConfigError: one is given twice, or is an argument.
    """
    found: dict[str, Any] = {}
    for key, value in (*as_mapping("settings", settings).items(), *more.items()):
        inner = (
            {f"{key}.{k}": v for k, v in value.items()}
            if key in GROUPS and isinstance(value, Mapping)
            else {key: value}
        )
        for name, content in inner.items():
            if name in found:
                raise ConfigError(f"The setting {name} is given twice.")
            if name in _ARGUMENTS:
                raise ConfigError(
                    f"{name}= is not possible among the settings: it is the argument {_ARGUMENTS[name]}=."
                )
            found[name] = content
    return found
