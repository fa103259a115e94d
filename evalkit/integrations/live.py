"""`evaluate_live`: the evaluation of a model during its training, in any loop, in one process or several."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.api.arguments import WrongType, as_mapping, as_path, shown
from evalkit.api.evaluation import evaluate, evaluate_part, merge_parts, merged_settings
from evalkit.api.reading import read_run
from evalkit.api.task import TaskData, load_task
from evalkit.api.value import Value
from evalkit.core import console
from evalkit.core.errors import ConfigError, StoreError
from evalkit.integrations.live_model import process_as_found, whole_model
from evalkit.integrations.processes import Processes, training_processes
from evalkit.reports.tracking import metric_entries

if TYPE_CHECKING:
    from evalkit.api.result import Result

PREFIX = "eval/"
# Arguments of `evaluate` that a task of `tasks=` may have for itself.
OWN = ("task", "path", "protocols", "limit", "batch_size", "settings")
# Settings that would make no run for each step, or another one in each process.
REFUSED = ("tracker", "engine.shard", "leaderboard", "resume")
# Between a step's folder and its parts.
PARTS = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvaluation:
    """The evaluation of a model at one step of its training; the same in every process.

    values: "TASK/PROTOCOL/METRIC" -> the number, over all samples.  folders: task -> the run's folder.
    warnings: what is wrong with the answers, by task.
    """

    step: int
    values: Mapping[str, Value]
    folders: Mapping[str, Path]
    warnings: Mapping[str, tuple[str, ...]]

    @property
    def logs(self) -> dict[str, float]:
        """What is logged: `eval/TASK/PROTOCOL/METRIC`, with `_low`, `_high` and `_n_unscored`; fractions and counts.

        A value that does not exist, as nothing could be scored, is left out; its count of unscored samples stays.
        """
        return {f"{PREFIX}{key}": n for name, v in self.values.items() for key, n in metric_entries(name, v).items()}

    def result(self, task: str) -> Result:
        """The run of a task, from its folder."""
        return read_run(self.folders[task])


class LiveTask(NamedTuple):
    """A task of a training loop: its name in logs, and the arguments of `evaluate`."""

    label: str
    arguments: Mapping[str, Any]

    @property
    def task(self) -> Any:
        """What `evaluate` gets as `task`."""
        return self.arguments.get("task", self.label)

    def load(self) -> TaskData:
        """The rows that are asked."""
        if isinstance(self.task, TaskData):
            return self.task
        given = self.arguments
        own = {k: v for k, v in given["settings"].items() if k.partition(".")[0] in ("task", "sample", "sample_seed")}
        return load_task(self.task, given.get("path"), limit=given.get("limit"), **own)


def live_tasks(tasks: Any, **common: Any) -> list[LiveTask]:
    """The tasks of a training loop.

    Args:
        tasks: a task's name, several, or name -> arguments of `evaluate` for it (`task`, `path`, `protocols`, `limit`,
            `batch_size`, `settings`).
        common: such arguments for every task that does not have its own.

    Raises:
        ConfigError: no task, one twice, or an argument that no task can have.
    """
    if isinstance(tasks, str):
        tasks = [tasks]
    if not isinstance(tasks, Mapping | Sequence) or not tasks or not all(isinstance(t, str) and t for t in tasks):
        raise ConfigError(
            f"tasks={str(tasks)[:80]} is not possible: expected the name of a task, a list of names, or a dict of name "
            'to arguments, such as {"slake": {"path": "data/slake"}}.'
        )
    if len(set(tasks)) < len(tasks):
        raise ConfigError(f"tasks={list(tasks)} names a task twice; give each a name of its own: {{NAME: {{…}}}}.")
    found = []
    for label in tasks:
        own = tasks[label] or {} if isinstance(tasks, Mapping) else {}
        if not isinstance(own, Mapping):
            raise ConfigError(
                f'tasks: {label}={str(own)[:80]!r} is not possible: expected a dict such as {{"path": DIR}}.'
            )
        if unknown := [key for key in own if key not in OWN]:
            raise ConfigError(f"tasks: {label}: {unknown[0]!r} is not possible; expected some of {', '.join(OWN)}.")
        both = {**common, **own}
        given = (as_mapping("settings", found.get("settings")) for found in (common, own))
        settings = merged_settings({key: value for one in given for key, value in one.items()}, {})
        for key in settings:
            if not isinstance(key, str):
                raise WrongType(f"{key!r} is not the name of a setting; expected one such as 'engine.batch_size'.")
            if key.startswith(REFUSED):
                raise ConfigError(f"{key}= is not possible in a training loop, which makes a run for each step.")
        found.append(LiveTask(label, {**both, "settings": settings}))
    return found


def evaluate_live(
    model: Any,
    processor: Any,
    tasks: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None] = "phantom",
    *,
    step: int,
    out: str | Path = "runs/training",
    limit: int | None = None,
    protocols: str | Sequence[str] | None = None,
    name: str | None = None,
    digest: str | None = None,
    batch_size: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> LiveEvaluation:
    """Evaluate a model during its training, and leave it and the process as they were.

    Restored: the mode of every module, `use_cache`, the forward that accelerate wraps, torch's threads and precision,
    the random numbers of Python, numpy and torch.  Gradients, dtype, device and gradient checkpointing are not touched.
    In a training of several processes each calls this at the same step: the questions are dealt among them, and the
    main one merges the answers.

    Args:
        model: with its whole weights in this process, wrapped by DistributedDataParallel or not.
        processor: its processor, with a tokenizer, an image processor and a chat template.
        tasks: see `live_tasks`.
        step: of the training; the runs are in `out/step-NNNNNN`, on a disk that all processes see.
        limit, protocols, batch_size, settings: as for `evaluate`, for the tasks without their own.
        name: of the model in the runs.
        digest: your name for the weights at this step, which are then not hashed; another one for other weights.

    Raises:
        EvalkitError: a setting or the data are wrong, or the model cannot be run; in every process, whichever failed.
    """
    plan = live_tasks(tasks, limit=limit, protocols=protocols, batch_size=batch_size, settings=settings)
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise WrongType(f"step={shown(step)} is not possible: expected a whole number from 0.")
    folder = as_path("out", out).absolute() / f"step-{step:06d}"
    with training_processes() as processes, process_as_found():
        processes.each(lambda: _check_whole(model), "looking at the model")
        call = _Live(whole_model(model), processor, {"name": name, "digest": digest}, folder, processes)
        found = {live.label: call.evaluated(live) for live in plan}
    return LiveEvaluation(
        step=step,
        values={f"{label}/{v.protocol}/{v.metric}": v for label, one in found.items() for v in one.values},
        folders={label: one.folder for label, one in found.items()},
        warnings={label: one.warnings for label, one in found.items()},
    )


class _Evaluated(NamedTuple):
    """What the main process tells the others of a run."""

    folder: Path
    values: tuple[Value, ...]
    warnings: tuple[str, ...]


class _Live(NamedTuple):
    """A model at one step, with what all its tasks have in common."""

    model: Any
    processor: Any
    names: Mapping[str, Any]
    folder: Path
    processes: Processes

    def evaluated(self, live: LiveTask) -> _Evaluated:
        """The run of one task; answered in parts where there are several processes."""
        at = self.processes
        n = at.main(lambda: min(at.size, _n_images(live)) if at.size > 1 else 1, f"reading {live.label}")
        if n < 2:
            return at.main(lambda: _told(self._whole(live)), f"evaluating {live.label}")
        parts = at.each(lambda: self._part(live, n) if at.rank < n else None, f"evaluating {live.label}")
        return at.main(lambda: self._merged([p for p in parts if p is not None]), f"merging {live.label}")

    def _arguments(self, live: LiveTask) -> dict[str, Any]:
        given = {k: v for k, v in live.arguments.items() if k not in ("task", "settings")}
        settings = {**live.arguments["settings"], "leaderboard": None}
        return {**given, **self.names, "processor": self.processor, "settings": settings}

    def _whole(self, live: LiveTask) -> Result:
        return evaluate(self.model, live.task, out=self.folder, **self._arguments(live))

    def _part(self, live: LiveTask, n: int) -> Path:
        part = f"{self.processes.rank + 1}/{n}"
        return evaluate_part(self.model, live.task, part, out=self.folder / PARTS, **self._arguments(live))

    def _merged(self, parts: Sequence[Path]) -> _Evaluated:
        if unseen := [part for part in parts if not part.is_dir()]:
            raise StoreError(
                f"The main process does not see {unseen[0]}, which another one has written: out= must be a folder on a "
                "disk that all processes share."
            )
        told = _told(merge_parts(parts, self.folder))
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # it has a table that was given in Python
            (self.folder / PARTS).rmdir()
        return told


def _check_whole(model: Any) -> None:
    whole_model(model)


def _told(result: Result) -> _Evaluated:
    values = tuple(Value.of(m) for m in result.summary.metrics if m.slice == "all")
    return _Evaluated(result.folder, values, result.warnings)


def _n_images(live: LiveTask) -> int:
    """The number of images with their questions, each of which one process answers."""
    with console.captured(is_shown=False):
        requests = live.load().requests[: live.arguments.get("limit")]
    return len({r.image_digests or (r.image_id,) for r in requests})
