"""Which runs a paper still needs, as commands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.published import Figure
from evalkit.reports.reproduction.config import Mapped, Paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """A run that no folder holds: `python -m evalkit run` with these overrides."""

    model: str
    task: str
    split: str
    overrides: tuple[str, ...]


def missing_runs(
    paper: Paper,
    runs: Sequence[Mapping[str, Any]],
    *,
    registered: Collection[str],
    protocols: Collection[str],
    data: Mapping[str, str | None],
    out: str,
    own: Sequence[str] = (),
) -> list[Needed]:
    """The runs of registered models that would fill cells of the table, and that are not there.

    Args:
        registered: names of models that can be run; protocols: of those that can be computed.
        data: task -> a local copy of its data.
        out: where the new runs go.
        own: models that are no row of the paper, run on all of its tasks.

    Raises:
        ConfigError: a model of `own` is not registered.
    """
    done = {(r["model"], r["task"], r["split"]) for r in runs if r["image"] == "original" and not r.get("limit")}
    every = [f for s in paper.published.systems for f in s.figures]
    wanted: dict[tuple[str, str, str], list[Figure]] = {}
    for model, row in _runnable(paper, registered).items():
        system = next(s for s in paper.published.systems if s.id == row.row)
        for figure in system.figures:
            if not row.tasks or figure.task in row.tasks:
                wanted.setdefault((model, figure.task, figure.split), []).append(figure)
    for model in own:
        if model not in registered:
            raise ConfigError(f"own={model} is no model that can be run. {did_you_mean(model, registered)}")
        for figure in every:
            wanted.setdefault((model, figure.task, figure.split), []).append(figure)
    needed = []
    for (model, task, split), figures in wanted.items():
        if (model, task, split) not in done:
            settings = _overrides(paper, model, task, split, figures, protocols=protocols, data=data, out=out)
            needed.append(Needed(model=model, task=task, split=split, overrides=settings))
    return needed


def _runnable(paper: Paper, registered: Collection[str]) -> dict[str, Mapped]:
    """Model -> its row: those that the YAML names, and for rows without any the model of the row's id."""
    named = {row.row for row in paper.models.values()}
    ids = (s.id for s in paper.published.systems if s.id not in named and s.id not in paper.models)
    rows = {name: Mapped(row=name) for name in ids if name in registered}
    return {**rows, **{model: row for model, row in paper.models.items() if model in registered}}


def _overrides(
    paper: Paper,
    model: str,
    task: str,
    split: str,
    figures: Sequence[Figure],
    *,
    protocols: Collection[str],
    data: Mapping[str, str | None],
    out: str,
) -> tuple[str, ...]:
    """The run's settings; what the paper says for all tasks, then for this one, goes last."""
    found = [f"model={model}", f"task={task}", f"task.split={split}", f"out={quoted(out)}"]
    counted = sorted({f.protocol for f in figures if f.protocol in protocols})
    if counted:
        found.append(f"protocol=[{','.join(counted)}]")
    if path := data.get(task):
        found.append(f"task.path={quoted(path)}")
    settings = [*paper.settings.get("all", ()), *paper.settings.get(task, ())]
    if model not in _runnable(paper, (model,)):
        # Presets are a model's own: one of the user's has no `paper`.
        settings = [s for s in settings if not s.startswith("generation=")]
    return (*found, *settings)


def quoted(text: str) -> str:
    """A value of an override, quoted where Hydra would read more into it than a text.

    >>> quoted("/data/rad"), quoted("/my data/a=b")
    ('/data/rad', "'/my data/a=b'")
    """
    if re.fullmatch(r"[\w/.-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
