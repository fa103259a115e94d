"""A finished run as experiment trackers show it: numbers, settings, samples with pictures, the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evalkit.core.types import MetricValue


class Number(Protocol):
    """A metric's value with its interval and counts; see `MetricValue`."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n_unscored(self) -> int: ...


def metric_entries(name: str, number: Number) -> dict[str, float]:
    """A number as entries of a log: NAME, NAME_low, NAME_high where they exist, and NAME_n_unscored.

    >>> from types import SimpleNamespace
    >>> metric_entries("a/b", SimpleNamespace(value=0.5, low=0.25, high=0.75, n_unscored=1))
    {'a/b': 0.5, 'a/b_low': 0.25, 'a/b_high': 0.75, 'a/b_n_unscored': 1}
    """
    entries = {"": number.value, "_low": number.low, "_high": number.high, "_n_unscored": number.n_unscored}
    return {f"{name}{end}": value for end, value in entries.items() if value is not None}


def safe_key(name: str) -> str:
    """A name of the characters that every tracker takes.

    >>> safe_key("phantom/strict/open_f1"), safe_key("a=b|c")
    ('phantom/strict/open_f1', 'a_b_c')
    """
    return re.sub(r"[^\w.:/ -]", "_", name)


def without_folders(text: str) -> str:
    """A text in which paths have their last part alone.

    >>> without_folders("/home/anna/smith/a.dcm is missing; 3/4 read")
    'a.dcm is missing; 3/4 read'
    """
    return re.sub(r"(?<![\w/\\])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/'\"]+[\\/])+", "", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedSample:
    """A row of the table of samples.  picture: its first image as JPEG, scaled down; None without one."""

    sample_id: str
    question: str
    references: str
    answer: str
    error: str
    scores: Mapping[str, float | None]
    picture: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """What a tracker is sent of a run.

    name: model, task and split in one line.  config: flat, without folders of this machine.  metrics: all, those of
    slices included.  files: the page, and the folder of its pictures where they are not in it; empty where it was not
    asked for.  notes: what is wrong with the answers.
    """

    run_id: str
    name: str
    task: str
    config: Mapping[str, Any]
    metrics: Sequence[MetricValue]
    samples: Sequence[TrackedSample]
    files: Sequence[Path]
    notes: Sequence[str]

    @property
    def overall(self) -> list[MetricValue]:
        """The numbers over all samples."""
        return [m for m in self.metrics if m.slice == "all"]

    @property
    def entries(self) -> dict[str, float]:
        """The overall numbers as entries of a log: TASK/PROTOCOL/METRIC with `_low`, `_high` and `_n_unscored`."""
        named = ((f"{self.task}/{m.protocol}/{m.metric}", m) for m in self.overall)
        return {key: number for name, m in named for key, number in metric_entries(name, m).items()}

    @property
    def signatures(self) -> dict[str, str]:
        """The signature of each overall number."""
        found = ((f"{self.task}/{m.protocol}/{m.metric}", m.signature) for m in self.overall)
        return {name: str(signature) for name, signature in found if signature is not None}

    def metric_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of the table of all numbers."""
        header = [
            "protocol", "metric", "slice", "value", "low", "high", "n", "n_unscored", "value_worst_case", "signature",
        ]  # fmt: skip
        rows = [
            [
                m.protocol, m.metric, m.slice, m.value, m.low, m.high, m.n, m.n_unscored, m.value_worst_case,
                str(m.signature or ""),
            ]
            for m in self.metrics
        ]  # fmt: skip
        return header, rows

    def sample_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of the table of samples, the picture (JPEG or None) last."""
        scored = list(dict.fromkeys(name for sample in self.samples for name in sample.scores))
        header = ["sample_id", "question", "references", "answer", "error", *scored, "picture"]
        rows = [
            [s.sample_id, s.question, s.references, s.answer, s.error, *(s.scores.get(n) for n in scored), s.picture]
            for s in self.samples
        ]
        return header, rows


class Tracker(Protocol):
    """An experiment tracker.

    samples: rows of the table of samples; pictures: with pictures; page: with the run's page.
    """

    @property
    def samples(self) -> int: ...
    @property
    def pictures(self) -> bool: ...
    @property
    def page(self) -> bool: ...

    def check(self) -> None:
        """Check that it can be used, before a run starts.

        Raises:
            ConfigError: its library is not installed; the text names the extra.
        """
        ...

    def log(self, run: TrackedRun) -> str:
        """Send a run; returns where it can be seen."""
        ...


# Names of folders and files of this machine say who uses it, and often whose data they hold.
_PLACE = re.compile(r"(?:[~/\\]|[A-Za-z]:[\\/]|\.{1,2}[\\/]|file:)")
# Settings that are never sent, by a word of their name: what may hold a key, or run as code.
_PRIVATE = frozenset({"key", "token", "password", "secret", "auth", "headers", "body", "args", "env"})
# Settings that are places whatever their value looks like.
_PLACES = frozenset({"path", "predictions", "out", "dir", "file", "data", "leaderboard"})


def sent_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as flat settings without what is private: of a path its last part, of a URL its host.

    >>> sent_config({"task": {"path": "/home/anna/smith/slake", "split": "test"}, "engine": {"extra_body": {"a": 1}}})
    {'task.path': 'slake', 'task.split': 'test'}
    >>> sent_config({"engine": {"url": "https://me:pass@host:8000/v1?key=x"}})
    {'engine.url': 'https://host:8000'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if _PRIVATE & set(str(key).lower().split("_")):
            continue
        if isinstance(value, Mapping):
            found |= sent_config(value, f"{name}.")
        elif value is not None:
            found[name] = _last(value) if key in _PLACES and isinstance(value, str) else _sent(value)
    return found


def _sent(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_sent(inner) for inner in value]
    if isinstance(value, Mapping):
        return sent_config(value)
    if not isinstance(value, str):
        return value
    if "://" in value and not value.startswith("file:"):
        return _host(value)
    return _last(value) if _PLACE.match(value) else value


def _last(path: str) -> str:
    """The last part of a path."""
    return re.split(r"[\\/]", path.rstrip("/\\"))[-1]


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
