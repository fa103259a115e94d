"""Inputs of a reproduction: a paper's YAML, and the summaries of finished runs with their judged metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, StoreError, did_you_mean
from evalkit.judge.results import judged_numbers
from evalkit.published import PublishedTable, load_published, parse_published
from evalkit.published.read import SCHEMA
from evalkit.runs.schema import Summary
from evalkit.runs.verify import open_run

# The settings of `run` that a paper may give: how it asked, not what is run, where results go, or flags.
SETTING = re.compile(
    r"(?:task\.\w[\w.-]*|protocol(?:\.\w[\w.-]*)?|generation(?:\.\w+)?|reasoning|image|engine\.(?:dtype|exact))="
)
KEYS = ("about", "published", "models", "settings", "beside")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """The row of the table that a run's model reproduces, and on which tasks; an empty tuple: on every one."""

    row: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper's YAML.

    models: name of a run's model -> its row.  settings: task -> overrides of `run` for the paper's runs; "all" is for
    every task.  proxy_metrics (`beside` in the YAML): protocol that evalkit cannot compute -> metrics to show instead;
    the first that a run has is used; each is "PROTOCOL METRIC", or several over different rows joined by " + ".
    """

    name: str
    published: PublishedTable
    models: Mapping[str, ModelRow] = field(default_factory=dict)
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    proxy_metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_paper(content: Mapping[str, Any], name: str) -> Paper:
    """The paper in a YAML of conf/paper.

    Raises:
        ConfigError: a key is not known, or names a row, task or protocol that the table does not have.
        DataError: the table itself is not valid.
    """
    where = f"paper {name}"
    for key in content:
        if key not in KEYS:
            raise ConfigError(f"{where}: {key!r} is not a key of a paper. {did_you_mean(str(key), KEYS)}")
    given = content.get("published")
    if isinstance(given, str):
        published = load_published(given)
    elif isinstance(given, dict):
        published = parse_published({"schema": SCHEMA, **given}, where, name)
    else:
        raise ConfigError(f"{where}: published must name a table of published figures, or be one.")
    tasks = sorted({f.task for s in published.systems for f in s.figures})
    rows = [s.id for s in published.systems]
    models = {str(m): _model_row(v, f"{where}: models: {m}", rows, tasks) for m, v in _map(content, "models", where)}
    settings = {str(t): _texts(v, f"{where}: settings: {t}") for t, v in _map(content, "settings", where)}
    for task, words in settings.items():
        _check_among(task, ("all", *tasks), f"{where}: settings")
        _check_words(words, f"{where}: settings: {task}")
    proxy_metrics = {str(p): _texts(v, f"{where}: beside: {p}") for p, v in _map(content, "beside", where)}
    judged = {f.protocol for s in published.systems for f in s.figures if f.protocol.startswith("judge:")}
    for protocol in proxy_metrics:
        _check_among(protocol, sorted({*published.foreign, *judged}), f"{where}: beside")
    return Paper(name=name, published=published, models=models, settings=settings, proxy_metrics=proxy_metrics)


def _map(content: Mapping[str, Any], key: str, where: str) -> list[tuple[Any, Any]]:
    found = content.get(key)
    if found is None:
        return []
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: {key} is {found!r}, expected names with their values.")
    return list(found.items())


def _model_row(value: Any, where: str, rows: Sequence[str], tasks: Sequence[str]) -> ModelRow:
    if isinstance(value, str):
        value = {"row": value}
    if not isinstance(value, dict) or not {"row"} <= set(value) <= {"row", "tasks"}:
        raise ConfigError(f"{where} is {value!r}, expected the id of a row, or row: and tasks:.")
    _check_among(str(value["row"]), rows, f"{where}: row")
    named = _texts(value.get("tasks", []), f"{where}: tasks")
    for task in named:
        _check_among(task, tasks, f"{where}: task")
    return ModelRow(row=str(value["row"]), tasks=named)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"{where} is {value!r}, expected a list of texts.")
    return tuple(value)


def _check_words(words: Iterable[str], where: str) -> None:
    """Check the words that a paper adds to the command lines of its runs, as its YAML may be someone else's."""
    for word in words:
        if not SETTING.match(word):
            raise ConfigError(
                f"{where}: {word[:80]!r} is not possible; expected `key=value` of what a paper states of its runs: "
                "task.SETTING, protocol, generation, reasoning, image, engine.dtype or engine.exact."
            )


def _check_among(value: str, allowed: Iterable[str], what: str) -> None:
    if value not in (known := list(allowed)):
        raise ConfigError(f"{what} {value!r} is not in the table. {did_you_mean(value, known)}")


def read_summaries(folders: Iterable[Path], leave_out: Callable[[Path, str], None] | None = None) -> list[Summary]:
    """The summaries of all runs below some folders, in order of their paths, each run once.

    The metrics of a run's judges are among its metrics, under the protocol `judge:NAME`.

    Args:
        leave_out: called with the folder and the reason where there is no finished run of evalkit, or one whose files
            were changed; None to refuse it.

    Raises:
        StoreError: a file is not what evalkit writes.
    """
    found: dict[str, Summary] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/summary.json")):
            try:
                run = open_run(path.parent)
                run.check()
                judged = [m for judge in judged_numbers(path.parent, run.summary) for m in judge.metrics]
            except StoreError as problem:
                if leave_out is None:
                    raise
                leave_out(path.parent, str(problem))
                continue
            found.setdefault(run.summary.run_id, replace(run.summary, metrics=(*run.summary.metrics, *judged)))
    return list(found.values())
