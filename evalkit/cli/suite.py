"""Several tasks in one command: `suite=NAME` or `suite=[TASK,TASK]`; the model is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option, options
from evalkit.cli.jobs import shared_by_jobs
from evalkit.cli.targets import resolve
from evalkit.cli.typed_settings import words_of
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, Partial, did_you_mean
from evalkit.core.setting_types import argument_kinds

if TYPE_CHECKING:
    from evalkit.pipeline.conclude import Conclusion

# Settings of a task that mean the same for every task.
SHARED = ("prompt", "split", "where", "on_missing_image", "closed_rule")
# Runs one task and returns its conclusion; None for a dry run and for a part of a run.
RunTask = Callable[[Config], "Conclusion | None"]


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


def config_of(config: Config, task: str, given: Mapping[str, Any]) -> Config:
    """The configuration of one task of a suite.

    Args:
        given: settings of `task` from the command line, by name; they hold for every task that takes them.
    """
    own = load_option("task", task)
    kinds = argument_kinds(resolve(str(own.get("target")), f"task {task}"))
    taken = {key: value for key, value in given.items() if key in own or key in kinds or key == "where"}
    if left := [key for key in given if key not in taken]:
        console.warn(f"task {task} has no setting {', '.join(left)}: it runs without.")
    content = {**own, **taken}
    # A folder with a folder for each task.
    if config.get("data") and (place := Path(config["data"]).expanduser() / task).exists():
        content["path"] = str(place)
    return {**config, "suite": None, "task": content, "choices": {**config["choices"], "task": task}}


def shared_settings(config: Config) -> dict[str, Any]:
    """The settings of `task` that the command line gives, which hold for every task of a suite.

    Raises:
        ConfigError: a setting belongs to one task, such as its path.
    """
    keys = [word.split(".")[1] for word in words_of(shared_by_jobs().words) if word.startswith("task.")]
    for key in keys:
        if key not in SHARED:
            raise ConfigError(
                f"task.{key}= belongs to one task, and a suite has several; for all of them are "
                f"{', '.join(f'task.{name}' for name in SHARED)}. Set it in the YAML of its task; folders of local "
                "copies are data=DIR."
            )
    return {key: config["task"].get(key) for key in dict.fromkeys(keys)}


def run_suite(config: Config, run_task: RunTask) -> int:
    """Run every task of the suite, then print and write one table.

    A task that cannot run (its data are missing) does not keep the others from running.  In a sweep over models the
    table has the models that are finished.

    Raises:
        ConfigError: the suite is not valid.
        EvalkitError: no task could run; the first one's error.
        Partial: some tasks could not run, or some of their samples failed.
    """
    name, tasks = tasks_of(config["suite"])
    given, problems = shared_settings(config), dict[str, EvalkitError]()
    found: list[Conclusion] = []
    for task in tasks:
        console.note(f"suite {name}: {task}")
        try:
            if (conclusion := run_task(config_of(config, task, given))) is not None:
                found.append(conclusion)
        except EvalkitError as problem:
            problems[task] = problem
            console.warn(f"suite {name}: {task}: {problem}")
    if found:
        _show(name, found, Path(config["out"] or "."))
    if problems and len(problems) == len(tasks):
        raise next(iter(problems.values()))
    _check_complete(name, tasks, problems, found)
    return 0


def _check_complete(
    name: str, tasks: Sequence[str], problems: Mapping[str, EvalkitError], found: Sequence[Conclusion]
) -> None:
    """Check that every task ran and every sample was answered.

    Raises:
        Partial: not so.
    """
    texts = []
    if problems:
        texts.append(f"{len(problems)} of {len(tasks)} tasks of the suite {name} could not run: {', '.join(problems)}.")
    failed = {c.summary.task: c for c in found if c.summary is not None and c.n_failed}
    if failed:
        counts = ", ".join(f"{c.n_failed} of {c.summary.n} of {task}" for task, c in failed.items() if c.summary)
        texts.append(f"Samples failed and are not in the values above: {counts}.")
    if texts:
        raise Partial(f"{' '.join(texts)} What was answered is kept; the same command asks the rest again.")


def _show(name: str, found: Sequence[Conclusion], out: Path) -> None:
    """Print the headline metrics and write all metrics, of these runs and of earlier jobs of a sweep over models."""
    from evalkit.reports.suite_table import SuiteRun, for_terminal, suite_table, write_tables

    finished = shared_by_jobs().finished.setdefault(name, [])
    finished += found
    runs = [SuiteRun(summary=c.summary, folder=c.folder) for c in finished if c.summary is not None]
    table = suite_table(name, runs)
    shown = for_terminal(table)
    notes = [shown.caption, *table.notes]
    console.grid(shown.header, shown.rows, f"{name}: {table.title}", "\n".join(notes))
    models = {run.summary.model for run in runs}
    stem = f"{name}-{models.pop()}" if len(models) == 1 else name
    for path in write_tables(table, stem, out):
        console.out(str(path))
