"""What is read for a paper: its YAML, and the summaries of finished runs with what judges said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, StoreError, did_you_mean
from evalkit.core.files import read_json
from evalkit.judge.results import METRIC, judged_metrics
from evalkit.published import PublishedTable, load_published, parse_published
from evalkit.published.read import SCHEMA

SUMMARY = ("run_id", "model", "task", "split", "image", "metrics")
KEYS = ("about", "published", "models", "settings", "beside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """Which row of the table a run's model reproduces, and on which tasks; an empty tuple: on every one."""

    row: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper's YAML.

    models: a run's model -> its row.  settings: overrides of `run` for what the paper ran, by task; "all": for every
    task.  beside: for a protocol that evalkit cannot compute, what to show of a run instead, the first that it has; a
    term is "PROTOCOL METRIC", and terms over different rows are joined by " + ".
    """

    name: str
    published: PublishedTable
    models: Mapping[str, Mapped] = field(default_factory=dict)
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_paper(content: Mapping[str, Any], name: str) -> Paper:
    """The paper in a YAML of conf/paper.

    Raises:
        ConfigError: a key is not known, or names a row, task or protocol that the table has not.
        DataError: the table itself is not what it should be.
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
    models = {str(m): _mapped(v, f"{where}: models: {m}", rows, tasks) for m, v in _map(content, "models", where)}
    settings = {str(t): _texts(v, f"{where}: settings: {t}") for t, v in _map(content, "settings", where)}
    for task in settings:
        _among(task, ("all", *tasks), f"{where}: settings")
    beside = {str(p): _texts(v, f"{where}: beside: {p}") for p, v in _map(content, "beside", where)}
    for protocol in beside:
        _among(protocol, published.foreign, f"{where}: beside")
    return Paper(name=name, published=published, models=models, settings=settings, beside=beside)


def _map(content: Mapping[str, Any], key: str, where: str) -> list[tuple[Any, Any]]:
    found = content.get(key)
    if found is None:
        return []
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: {key} is {found!r}, expected names with their values.")
    return list(found.items())


def _mapped(value: Any, where: str, rows: Sequence[str], tasks: Sequence[str]) -> Mapped:
    if isinstance(value, str):
        value = {"row": value}
    if not isinstance(value, dict) or not {"row"} <= set(value) <= {"row", "tasks"}:
        raise ConfigError(f"{where} is {value!r}, expected the id of a row, or row: and tasks:.")
    _among(str(value["row"]), rows, f"{where}: row")
    wanted = _texts(value.get("tasks", []), f"{where}: tasks")
    for task in wanted:
        _among(task, tasks, f"{where}: task")
    return Mapped(row=str(value["row"]), tasks=wanted)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"{where} is {value!r}, expected a list of texts.")
    return tuple(value)


def _among(value: str, allowed: Iterable[str], what: str) -> None:
    if value not in (known := list(allowed)):
        raise ConfigError(f"{what} {value!r} is not in the table. {did_you_mean(value, known)}")


def read_summaries(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The summaries of all runs below some folders, in order of their paths, each run once.

    The numbers of a run's judges stand among its metrics, under the protocol `judge:NAME`.

    Raises:
        StoreError: a summary or a file of judged scores is not what evalkit writes.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/summary.json")):
            content = _summary(path)
            metrics = [*content["metrics"], *judged_metrics(path.parent)]
            found.setdefault(str(content["run_id"]), {**content, "metrics": metrics})
    return list(found.values())


def _summary(path: Path) -> dict[str, Any]:
    content = read_json(path, "summary")
    if not isinstance(content, dict) or (missing := [k for k in SUMMARY if k not in content]):
        told = f": it has no {missing[0]}" if isinstance(content, dict) else ""
        raise StoreError(f"{path} is no summary of evalkit{told}. Remove its folder from runs=, or score it again.")
    metrics, keys = content["metrics"], {"protocol", *METRIC}
    if not isinstance(metrics, list) or not all(isinstance(m, dict) and keys <= set(m) for m in metrics):
        raise StoreError(f"{path}: its metrics are not what evalkit writes. Score the answers again.")
    return content
