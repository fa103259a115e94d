"""Several tasks in one command: `suite=NAME` or `suite=[TASK,TASK]`; the model is loaded once.

Tasks that ask about the same images are answered in one pass, which computes each image once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option, options
from evalkit.cli.jobs import shared_by_jobs
from evalkit.cli.leaderboard import check_stored
from evalkit.cli.targets import resolve
from evalkit.cli.tracking import check_tracked
from evalkit.cli.typed_settings import words_of
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, Partial, did_you_mean
from evalkit.core.setting_types import argument_kinds

if TYPE_CHECKING:
    from evalkit.cli.commands.run import RunJob
    from evalkit.engines.base import Engine
    from evalkit.pipeline.conclude import Conclusion

# The name of a suite that is a list of tasks, for its files.
UNNAMED = "suite"
# Settings of a task that mean the same for every task.
SHARED = ("prompt", "split", "where", "on_missing_image", "closed_rule")
# Makes the run of a configuration ready; its engine is made by a function that the second argument is given.
MakeJob = Callable[[Config, Callable[[Callable[[], "Engine"]], "Engine"]], "RunJob"]
# Answers runs in one pass and reports each; None for a dry run.
RunJobs = Callable[[Sequence["RunJob"]], Sequence["Conclusion | None"]]


def called(name: str) -> str:
    """A suite in messages.

    >>> called("medvqa"), called(UNNAMED)
    ('suite medvqa', 'suite')
    """
    return "suite" if name == UNNAMED else f"suite {name}"


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
        name = UNNAMED
    if not isinstance(tasks, list | tuple) or not tasks:
        raise ConfigError(f"{called(name)}: tasks={tasks!r} must be a list of tasks, such as [vqa-rad,slake].")
    for task in tasks:
        if task not in options("task"):
            raise ConfigError(f"{called(name)}: there is no task {task!r}. {did_you_mean(str(task), options('task'))}")
    if len(set(tasks)) != len(tasks):
        raise ConfigError(f"{called(name)} names a task twice: {', '.join(tasks)}.")
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
    # `where` is there in every run of a task, as the command line may add to it.
    content = {"where": {}, **own, **taken}
    # A folder with a folder for each task.
    if config.get("data") and (place := Path(config["data"]).expanduser() / task).exists():
        content["path"] = str(place)
    return {**config, "suite": None, "task": content, "choices": {**config["choices"], "task": task}}


def shared_settings(config: Config) -> dict[str, Any]:
    """The settings of `task` that the command line gives, which hold for every task of a suite.

    Raises:
        ConfigError: a setting belongs to one task, such as its path, or several prompts are given.
    """
    keys = [word.split(".")[1] for word in words_of(shared_by_jobs().words) if word.startswith("task.")]
    for key in keys:
        if key not in SHARED:
            raise ConfigError(
                f"task.{key}= belongs to one task, and a suite has several; for all of them are "
                f"{', '.join(f'task.{name}' for name in SHARED)}. Set it in the YAML of its task; folders of local "
                "copies are data=DIR."
            )
    found = {key: config["task"].get(key) for key in dict.fromkeys(keys)}
    if isinstance(prompts := found.get("prompt"), list | tuple):
        raise ConfigError(
            f"task.prompt=[{','.join(map(str, prompts))}]: a suite asks each task with one prompt, so that its table "
            f"has one number a task. Give one, or make a table of each: -m task.prompt={','.join(map(str, prompts))}."
        )
    return found


def together(jobs: Mapping[str, RunJob]) -> list[dict[str, RunJob]]:
    """The runs in groups, in order: those of one group have the same engine and settings, and images in common."""
    groups: list[dict[str, RunJob]] = []
    images: list[set[str]] = []
    for task, made in jobs.items():
        own = set(made.job.digests.values())
        for group, known in zip(groups, images, strict=True):
            if own & known and _key(next(iter(group.values()))) == _key(made):
                group[task] = made
                known |= own
                break
        else:
            groups.append({task: made})
            images.append(own)
    return groups


def _key(made: RunJob) -> tuple[object, ...]:
    engine = made.engine
    return engine.name, engine.identity, engine.generation, made.job.settings.continuation


def run_suite(config: Config, make_job: MakeJob, run_jobs: RunJobs) -> int:
    """Run every task of the suite, then print and write one table.

    A task that cannot run (its data are missing) does not keep the others from running.  The data of all tasks are
    checked before the first question is asked.  In a sweep over models the table has the models that are finished.

    Raises:
        ConfigError: the suite is not valid.
        EvalkitError: no task could run; the first one's error.
        Partial: some tasks could not run, or some of their samples failed.
    """
    name, tasks = tasks_of(config["suite"])
    given, problems = shared_settings(config), dict[str, EvalkitError]()
    jobs: dict[str, RunJob] = {}
    for task in tasks:
        try:
            jobs[task] = make_job(config_of(config, task, given), lambda make: make())
        except EvalkitError as problem:
            _report(name, task, problem, problems)
    concluded = _run_groups(name, together(jobs), run_jobs, problems)
    found = {task: concluded[task] for task in tasks if task in concluded}
    if any(c.summary is not None for c in found.values()):
        _show(name, list(found.values()), Path(config["out"] or "."))
    if problems and len(problems) == len(tasks):
        raise problems[tasks[0]]
    _check_complete(name, tasks, problems, found)
    return 0


def _run_groups(
    name: str, groups: list[dict[str, RunJob]], run_jobs: RunJobs, problems: dict[str, EvalkitError]
) -> dict[str, Conclusion]:
    """The conclusions by task; a task that cannot run is added to `problems`."""
    found: dict[str, Conclusion] = {}
    while groups:
        group = groups.pop(0)
        console.note(f"{called(name)}: {', '.join(group)}")
        try:
            conclusions = run_jobs(list(group.values()))
        except EvalkitError as problem:
            if len(group) > 1:  # one task must not keep the others from running; what was answered is found again
                groups = [{task: made} for task, made in group.items()] + groups
            else:
                _report(name, next(iter(group)), problem, problems)
            continue
        found |= {task: c for task, c in zip(group, conclusions, strict=True) if c is not None}
    return found


def _report(suite: str, task: str, problem: EvalkitError, problems: dict[str, EvalkitError]) -> None:
    problems[task] = problem
    console.warn(f"{called(suite)}: {task}: {problem}")


def _check_complete(
    name: str, tasks: Sequence[str], problems: Mapping[str, EvalkitError], found: Mapping[str, Conclusion]
) -> None:
    """Check that every task ran and every sample was answered.

    Raises:
        Partial: not so.
    """
    texts = []
    if problems:
        texts.append(
            f"{len(problems)} of {len(tasks)} tasks of the {called(name)} could not run: {', '.join(problems)}."
        )
    if failed := {task: c for task, c in found.items() if c.n_failed}:
        counts = ", ".join(
            f"{c.n_failed} {f'of {c.summary.n} ' if c.summary is not None else ''}of {task}"
            for task, c in failed.items()
        )
        texts.append(f"Samples failed and are not in the values above: {counts}.")
    if texts:
        raise Partial(f"{' '.join(texts)} What was answered is kept; the same command asks the rest again.")
    check_stored(list(found.values()))
    check_tracked(list(found.values()))


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
