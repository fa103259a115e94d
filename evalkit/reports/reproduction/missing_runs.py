"""The runs that a paper's table still needs, as commands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.published import NOT_STATED, Figure
from evalkit.reports.reproduction.config import ModelRow, Paper
from evalkit.runs.schema import Summary


class RunKey(NamedTuple):
    """A model on a split of a task."""

    model: str
    task: str
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRun:
    """A run that is in no folder: `python -m evalkit run` with these overrides."""

    model: str
    task: str
    split: str
    overrides: tuple[str, ...]


def missing_runs(
    paper: Paper,
    runs: Sequence[Summary],
    *,
    registered: Collection[str],
    protocols: Collection[str],
    data: Mapping[str, str | None],
    out: str,
    extra_models: Sequence[str] = (),
) -> list[MissingRun]:
    """The runs of registered models that would fill cells of the table and do not exist.

    Args:
        registered: names of models that can be run; protocols: of those that can be computed.
        data: task -> a local copy of its data.
        out: the folder for the new runs.
        extra_models: models that are not in the paper, run on all of its tasks.

    Raises:
        ConfigError: one of the extra models is not registered.
    """
    done = {RunKey(r.model, r.task, r.split) for r in runs if r.image == "original" and not r.limit}
    missing = []
    for key, figures in _wanted(paper, registered, extra_models).items():
        if key not in done:
            overrides = _overrides(paper, key, figures, protocols=protocols, data=data, out=out)
            missing.append(MissingRun(model=key.model, task=key.task, split=key.split, overrides=overrides))
    return missing


def _wanted(paper: Paper, registered: Collection[str], extra_models: Sequence[str]) -> dict[RunKey, list[Figure]]:
    """The runs that fill the table, each with its figures."""
    wanted: dict[RunKey, list[Figure]] = {}
    for model, row in _runnable(paper, registered).items():
        system = next(s for s in paper.published.systems if s.id == row.row)
        for figure in system.figures:
            if figure.split != NOT_STATED and (not row.tasks or figure.task in row.tasks):
                wanted.setdefault(RunKey(model, figure.task, figure.split), []).append(figure)
    every_figure = [f for s in paper.published.systems for f in s.figures if f.split != NOT_STATED]
    for model in extra_models:
        if model not in registered:
            raise ConfigError(f"own={model} is no model that can be run. {did_you_mean(model, registered)}")
        for figure in every_figure:
            wanted.setdefault(RunKey(model, figure.task, figure.split), []).append(figure)
    return wanted


def _runnable(paper: Paper, registered: Collection[str]) -> dict[str, ModelRow]:
    """Model -> its row: the models of the YAML, and for rows without one the model of the row's id."""
    named = {row.row for row in paper.models.values()}
    ids = (s.id for s in paper.published.systems if s.id not in named and s.id not in paper.models)
    rows = {name: ModelRow(row=name) for name in ids if name in registered}
    return {**rows, **{model: row for model, row in paper.models.items() if model in registered}}


def _overrides(
    paper: Paper,
    run: RunKey,
    figures: Sequence[Figure],
    *,
    protocols: Collection[str],
    data: Mapping[str, str | None],
    out: str,
) -> tuple[str, ...]:
    """The run's overrides; the paper's settings for all tasks, then for this one, are last."""
    found = [f"model={run.model}", f"task={run.task}", f"task.split={run.split}", f"out={quoted(out)}"]
    computable = sorted({f.protocol for f in figures if f.protocol in protocols})
    if computable:
        found.append(f"protocol=[{','.join(computable)}]")
    if path := data.get(run.task):
        found.append(f"task.path={quoted(path)}")
    settings = [*paper.settings.get("all", ()), *paper.settings.get(run.task, ())]
    if run.model not in _runnable(paper, (run.model,)):
        # Generation presets belong to a model: a model that is not in the paper has no preset `paper`.
        settings = [s for s in settings if not s.startswith("generation=")]
    return (*found, *settings)


def quoted(text: str) -> str:
    """A value of an override, quoted where Hydra would not read it as plain text.

    >>> quoted("/data/rad"), quoted("/my data/a=b")
    ('/data/rad', "'/my data/a=b'")
    """
    if re.fullmatch(r"[\w/.-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
