"""Several tasks in one command: `suite=NAME` or `suite=[TASK,TASK]`; the model is loaded once.

Tasks that ask about the same images are answered in one pass, which computes each image once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config, load_option, options
from evalkit.core import console
from evalkit.core.errors import ConfigError, EvalkitError, Partial, did_you_mean

if TYPE_CHECKING:
    from evalkit.cli.commands.run import Outcome, RunJob
    from evalkit.engines.base import Engine
    from evalkit.runs.schema import Summary

# Makes the run of a configuration ready; its engine is made by a function that the second argument is given.
MakeJob = Callable[[Config, Callable[[Callable[[], "Engine"]], "Engine"]], "RunJob"]
# Answers runs in one pass, and reports each.
RunJobs = Callable[[Sequence["RunJob"]], Sequence["Outcome"]]


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
    # `where` is there in every run of a task, as the command line may add to it.
    content = {"where": {}, **own, **{k: v for k, v in changed.items() if k in own or k == "where"}}
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
    checked before the first question is asked.

    Raises:
        ConfigError: the suite is not valid.
        EvalkitError: no task could run; the first one's error.
        Partial: some tasks could not run, or some of their samples failed.
    """
    name, tasks = tasks_of(config["suite"])
    shared, problems = SharedModel(), dict[str, EvalkitError]()
    jobs: dict[str, RunJob] = {}
    for task in tasks:
        try:
            jobs[task] = make_job(config_of(config, task), lambda make: make())
        except EvalkitError as problem:
            _report(name, task, problem, problems)
    summaries: dict[str, Summary] = {}
    groups = together(jobs)
    while groups:
        group = groups.pop(0)
        console.note(f"suite {name}: {', '.join(group)}")
        try:
            outcomes = run_jobs([made._replace(engine=shared(made.engine)) for made in group.values()])
        except EvalkitError as problem:
            if len(group) > 1:  # one task must not keep the others from running; what was answered is found again
                groups = [{task: made} for task, made in group.items()] + groups
            else:
                _report(name, next(iter(group)), problem, problems)
            continue
        for task, outcome in zip(group, outcomes, strict=True):
            if outcome.problem is not None:
                _report(name, task, outcome.problem, problems)
            elif outcome.summary is not None:
                summaries[task] = outcome.summary
    if summaries:
        _show(name, [summaries[task] for task in tasks if task in summaries], Path(config["out"] or "."))
    if problems and len(problems) == len(tasks):
        raise problems[tasks[0]]
    if problems:
        raise Partial(f"{len(problems)} of {len(tasks)} tasks of the suite are not finished: {', '.join(problems)}.")
    return 0


def _report(suite: str, task: str, problem: EvalkitError, problems: dict[str, EvalkitError]) -> None:
    problems[task] = problem
    console.warn(f"suite {suite}: {task}: {problem}")


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
