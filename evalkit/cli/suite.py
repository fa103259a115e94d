"""Several tasks in one command: `suite=NAME` or `suite=[TASK,TASK]`; the model is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option, options
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, Partial, did_you_mean

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.runs.schema import Summary

# Runs one task with an engine that passes through a function first, and returns its summary; None for a dry run.
RunTask = Callable[[Config, Callable[["Engine"], "Engine"]], "Summary | None"]


def tasks_of(suite: Any) -> tuple[str, list[str]]:
    """The name of a suite and its tasks: of `conf/suites/NAME.yaml`, or the tasks themselves.

    Raises:
        ConfigError: there is no such suite or task, or a task twice.
    """
    if isinstance(suite, str) and suite not in options("task"):
        if suite not in options("suites"):
            known = [*options("suites"), *options("task")]
            raise ConfigError(f"There is no suite {suite!r}. {did_you_mean(suite, known)}")
        content = load_option("suites", suite)
        name, tasks = suite, content.get("tasks")
    else:
        tasks = [suite] if isinstance(suite, str) else suite
        name = "suite"
    if not isinstance(tasks, list | tuple) or not tasks:
        raise ConfigError(f"suite {name}: tasks={tasks!r} must be a list of tasks, such as [vqa-rad,slake].")
    for task in tasks:
        if task not in options("task"):
            raise ConfigError(f"suite {name}: there is no task {task!r}. {did_you_mean(str(task), options('task'))}")
    if len(set(tasks)) != len(tasks):
        raise ConfigError(f"suite {name} names a task twice: {', '.join(tasks)}.")
    return name, list(tasks)


def config_of(config: Config, task: str) -> Config:
    """The configuration of one task of a suite.

    Settings of `task` that the command line changed hold for every task that has them.  `data=DIR` is the folder with a
    folder for each task.
    """
    base = load_option("task", str(config["choices"]["task"]))
    shared = ("prompt", "split", "where", "on_missing_image", "closed_rule")
    changed = {k: v for k, v in config["task"].items() if k in shared and v != base.get(k) and v}
    own = load_option("task", task)
    content = {**own, **{k: v for k, v in changed.items() if k in own or k == "where"}}
    if config.get("data") and (place := Path(config["data"]).expanduser() / task).exists():
        content["path"] = str(place)
    return {**config, "suite": None, "task": content, "choices": {**config["choices"], "task": task}}


class SharedModel:
    """Gives every engine of a suite the model that the first one loaded."""

    def __init__(self) -> None:
        self._first: Engine | None = None

    def __call__(self, engine: Engine) -> Engine:
        """The engine itself, with the loaded model where another of its kind has one."""
        from evalkit.engines.hf import HfEngine

        if isinstance(engine, HfEngine):
            if isinstance(self._first, HfEngine) and self._first.is_loaded:
                engine.use_model_of(self._first)
            else:
                self._first = engine
        return engine


def run_suite(config: Config, run_task: RunTask) -> int:
    """Run every task of the suite, then print and write one table.

    A task that cannot run (its data are missing) does not keep the others from running.

    Raises:
        ConfigError: the suite is not valid.
        EvalkitError: no task could run; the first one's error.
        Partial: some tasks could not run, or some of their samples failed.
    """
    name, tasks = tasks_of(config["suite"])
    shared, problems = SharedModel(), dict[str, EvalkitError]()
    summaries: list[Summary] = []
    for task in tasks:
        console.note(f"suite {name}: {task}")
        try:
            if (summary := run_task(config_of(config, task), shared)) is not None:
                summaries.append(summary)
        except EvalkitError as problem:
            problems[task] = problem
            console.warn(f"suite {name}: {task}: {problem}")
    if summaries:
        _show(name, summaries, Path(config["out"] or "."))
    if problems and len(problems) == len(tasks):
        raise next(iter(problems.values()))
    if problems:
        raise Partial(f"{len(problems)} of {len(tasks)} tasks of the suite are not finished: {', '.join(problems)}.")
    return 0


def _show(name: str, summaries: Sequence[Summary], out: Path) -> None:
    """Print the headline metrics of all tasks, and write all metrics as Markdown, CSV and LaTeX."""
    from evalkit.reports.leaderboard.ranking import HEADLINES
    from evalkit.reports.suite_table import write_tables

    rows = [
        replace(m, protocol=s.task, metric=f"{m.metric} ({m.protocol})")
        for s in summaries
        for m in s.metrics
        if m.slice == "all" and m.n and m.metric in HEADLINES
    ]
    model = summaries[0].model
    console.table(rows, f"{model} on {len(summaries)} tasks", "value and interval in percent; one folder a task")
    for path in write_tables(f"{name}-{model}", summaries, out):
        console.out(str(path))
