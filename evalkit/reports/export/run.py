"""A finished run as every exporter sees it: numbers with all that must travel with them, answers, scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.files import read_json, read_lines
from evalkit.judge.results import judged_numbers
from evalkit.runs.store import RunFolder

# Everything else that evalkit computes is better when it is higher.
LOWER_IS_BETTER = frozenset({"unparsable_rate", "flip_rate"})
# Everything else lies between 0 and 1.  None: no bound.
BOUNDS: Mapping[str, tuple[float | None, float | None]] = {
    "relative_score": (0.0, None),
    "relative_score_ratio_of_means": (0.0, None),
    "reference_score": (1.0, 10.0),
    "candidate_score": (1.0, 10.0),
    "order_effect": (None, None),
}
CONFIDENCE = 0.95
INTERVAL = "95 % confidence interval, clustered by image"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")
_SUMMARY = (
    "run_id", "evalkit", "model", "task", "split", "n", "n_images", "data_sha256", "closed_rule", "prompt", "image",
    "generation", "n_failed", "n_empty", "n_truncated", "metrics",
)  # fmt: skip
_NUMBER = ("metric", "slice", "value", "low", "high", "n", "n_unscored", "value_unscored_wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One value of a run.  Fractions; None where there is none, and then `problem` says why.

    `judge`: for a judged number, what determined it (judge, prompt, order ...); empty for every other.
    """

    protocol: str
    metric: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_unscored: int
    value_unscored_wrong: float | None
    signature: str
    judge: Mapping[str, str]
    problem: str = ""

    @property
    def name(self) -> str:
        """`protocol/metric`, and the slice where it is not over all rows."""
        return f"{self.protocol}/{self.metric}" + (f"/{self.slice}" if self.slice != "all" else "")

    @property
    def lower_is_better(self) -> bool:
        """Whether less is better."""
        return self.metric in LOWER_IS_BETTER

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The lowest and the highest value that the metric can have."""
        return BOUNDS.get(self.metric, (0.0, 1.0))

    def facts(self) -> dict[str, str | int | float]:
        """What must travel with the value: interval, counts, the reading in which unscored is wrong, signature."""
        known = {
            "interval_low": self.low,
            "interval_high": self.high,
            "confidence": None if self.low is None else CONFIDENCE,
            "n": self.n,
            "n_unscored": self.n_unscored,
            "value_unscored_wrong": self.value_unscored_wrong,
            "signature": self.signature,
        }
        return {k: v for k, v in known.items() if v is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """`summary` and `manifest` as written, `answers` the lines of predictions.jsonl, `numbers` judged ones included.

    `manifest` is empty where there is none.  `model_id` is developer/name.
    """

    folder: RunFolder
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    answers: tuple[Mapping[str, Any], ...]
    numbers: tuple[Number, ...]
    model_id: str

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the run."""
        return dict(self.manifest.get("config") or {})

    @property
    def valued(self) -> tuple[Number, ...]:
        """The numbers that have a value.

        Raises:
            DataError: there is none.
        """
        found = tuple(n for n in self.numbers if n.value is not None)
        if not found:
            s = self.summary
            raise DataError(
                f"{self.folder.path} has no number to export in this form: of {s['n']} samples {s['n_failed']} failed "
                "and none was scored. Ask the failed ones again with the run's own command, or use format=lm-eval or "
                "format=latex, which can say that there is none."
            )
        return found

    @property
    def missing(self) -> tuple[Number, ...]:
        """The numbers that have no value."""
        return tuple(n for n in self.numbers if n.value is None)

    def scores(self) -> Iterator[Mapping[str, Any]]:
        """The lines of scores.jsonl."""
        yield from read_lines(self.folder.scores)

    @property
    def dataset_repo(self) -> str | None:
        """The hub repository that the rows came from; None where they came from a local copy or were made."""
        task = self.config.get("task") or {}
        return None if task.get("path") or not task.get("repo") else str(task["repo"])

    def counts(self) -> dict[str, int]:
        """Samples, images, and what did not go well."""
        told = {k: int(self.summary[k]) for k in ("n_images", "n_failed", "n_empty", "n_truncated")}
        return {"n_samples": int(self.summary["n"]), **told}

    @property
    def task(self) -> str:
        """The task's name, and with it what makes the run no plain result of it: other images, a part of the rows."""
        s = self.summary
        changed = "" if s["image"] == "original" else f"{s['image']} image"
        part = f"first {s['n']} samples" if s.get("limit") else ""
        told = ", ".join(filter(None, (changed, part)))
        return f"{s['task']} ({told})" if told else str(s["task"])

    def conditions(self) -> dict[str, str]:
        """What the numbers hold for."""
        s = self.summary
        named = ("data_sha256", "closed_rule", "prompt", "image", "generation", "limit", "run_id")
        return {k: str(s[k]) for k in named if s.get(k) is not None}


def read_run(path: Path, *, slices: bool = False, model_id: str | None = None) -> FinishedRun:
    """A run's folder.

    Args:
        slices: with the numbers of each slice, not only those over all rows.
        model_id: developer/name of the model; else that of its weights on the hub.

    Raises:
        StoreError: not the folder of a finished run.
        ConfigError: model_id is not of the form developer/name.
    """
    folder = RunFolder(path)
    summary = read_json(folder.summary, "summary")
    if not isinstance(summary, dict) or (missing := [k for k in _SUMMARY if k not in summary]):
        what = f"it has no {missing[0]}" if isinstance(summary, dict) else "it is no object"
        raise StoreError(f"{folder.summary} is not a summary that evalkit wrote: {what}. Score the answers again.")
    manifest = read_json(folder.manifest, "manifest") if folder.manifest.is_file() else {}
    numbers = [_number(m, str(folder.summary), {}, str(m.get("signature", ""))) for m in summary["metrics"]]
    for judge in judged_numbers(path, summary):
        numbers += [_number(m, str(path), judge.settings, m["signature"], judge.problem) for m in judge.metrics]
    if model_id is not None and not _HUB_NAME.fullmatch(model_id):
        raise ConfigError(f"model_id={model_id} is not possible; expected developer/name, as on the hub.")
    return FinishedRun(
        folder=folder,
        summary=summary,
        manifest=manifest,
        answers=tuple(read_lines(folder.predictions)),
        numbers=tuple(n for n in numbers if slices or n.slice == "all"),
        model_id=model_id or _model_id(summary, manifest),
    )


def _number(
    record: Mapping[str, Any], where: str, judge: Mapping[str, str], signature: str, problem: str = ""
) -> Number:
    if missing := [k for k in ("protocol", *_NUMBER) if k not in record]:
        raise StoreError(
            f"{where}: a metric has no {missing[0]}, so evalkit did not write it. Score the answers again."
        )
    if record["value"] is None and not problem:
        problem = "no rows" if not record["n"] else f"{record['n_unscored']} of {record['n']} rows are unscored"
    fields = {k: record[k] for k in ("protocol", *_NUMBER)}
    return Number(**fields, signature=signature, judge=judge, problem=problem if record["value"] is None else "")


def _model_id(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """developer/name: of the weights on the hub where they came from it, else `unknown` as the developer."""
    source = str(((manifest.get("config") or {}).get("model") or {}).get("source") or "")
    if _HUB_NAME.fullmatch(source) and not Path(source).exists():
        return source
    name = re.sub(r"[^\w.-]+", "-", str(summary["model"])).strip(".-") or "model"
    return f"{'evalkit' if source.startswith('package:') else 'unknown'}/{name}"
