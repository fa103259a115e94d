"""A finished run as every exporter sees it: numbers with everything that must travel with them, answers, scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.files import safe_name
from evalkit.core.types import MetricValue, Score
from evalkit.judge.results import JudgedNumbers, judged_numbers
from evalkit.runs.schema import Manifest, PredictionLine, Summary
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import StoredRun, open_run

CONFIDENCE = 0.95
INTERVAL = "95 % confidence interval, clustered by image"
LONGEST_ID = 200
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")


def name_of(number: MetricValue) -> str:
    """`protocol/metric`, with the slice where it is not `all`."""
    return f"{number.protocol}/{number.metric}" + (f"/{number.slice}" if number.slice != "all" else "")


def lower_is_better(number: MetricValue) -> bool:
    """Whether lower is better; False also for a quantity without a direction."""
    return number.higher_is_better is False


def details_of(number: MetricValue) -> dict[str, str | int | float]:
    """Everything that must travel with a value: interval, counts, worst case, signature."""
    known = {
        "interval_low": number.low,
        "interval_high": number.high,
        "confidence": None if number.low is None else CONFIDENCE,
        "n": number.n,
        "n_unscored": number.n_unscored,
        "value_worst_case": number.value_worst_case,
        "interval_low_worst_case": number.low_worst_case,
        "interval_high_worst_case": number.high_worst_case,
        "n_effective_clusters": number.n_effective,
        "higher_is_better": None if number.higher_is_better is None else str(number.higher_is_better).lower(),
        "signature": str(number.signature),
    }
    return {k: v for k, v in known.items() if v is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run to export.

    manifest: None where the run has none.  numbers: judged ones included.  judges: by protocol, `judge:NAME`.
    model_id: developer/name.
    """

    folder: RunFolder
    summary: Summary
    manifest: Manifest | None
    answers: tuple[PredictionLine, ...]
    numbers: tuple[MetricValue, ...]
    judges: Mapping[str, JudgedNumbers] = field(default_factory=dict)
    model_id: str

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the run; empty without a manifest."""
        return self.manifest.config if self.manifest is not None else {}

    @property
    def valued(self) -> tuple[MetricValue, ...]:
        """The numbers that have a value.

        Raises:
            DataError: there is none.
        """
        found = tuple(n for n in self.numbers if n.value is not None)
        if not found:
            s = self.summary
            raise DataError(
                f"{self.folder.path} has no number to export in this format: of {s.n} samples {s.n_failed} failed and "
                "none was scored. Generate the failed answers again with the run's own command, or use format=lm-eval "
                "or format=latex, which can state that there is none."
            )
        return found

    @property
    def missing(self) -> tuple[MetricValue, ...]:
        """The numbers that have no value."""
        return tuple(n for n in self.numbers if n.value is None)

    def problem(self, number: MetricValue) -> str:
        """The reason why a number has no value, in words."""
        judge = self.judges.get(number.protocol)
        if judge is not None and judge.problem:
            return judge.problem
        return "no rows" if not number.n else f"{number.n_unscored} of {number.n} rows are unscored"

    def scores(self) -> list[Score]:
        """The lines of scores.jsonl."""
        return StoredRun(folder=self.folder, summary=self.summary, manifest=self.manifest).scores()

    @property
    def dataset_repo(self) -> str | None:
        """The hub repository of the data; None for a local copy or generated data."""
        task = self.config.get("task") or {}
        return None if task.get("path") or not task.get("repo") else str(task["repo"])

    def counts(self) -> dict[str, int]:
        """The numbers of samples, images, failed, empty and truncated answers."""
        s = self.summary
        return {
            "n_samples": s.n,
            "n_images": s.n_images,
            "n_failed": s.n_failed,
            "n_empty": s.n_empty,
            "n_truncated": s.n_truncated,
        }

    @property
    def task(self) -> str:
        """The task's name, with a remark where images were changed or only a part of the samples was used."""
        s = self.summary
        changed = "" if s.image == "original" else f"{s.image} image"
        part = f"first {s.n} samples" if s.limit else ""
        remarks = ", ".join(filter(None, (changed, part)))
        return f"{s.task} ({remarks})" if remarks else s.task

    def conditions(self) -> dict[str, str]:
        """The conditions under which the numbers hold."""
        s = self.summary
        known = {
            "data_sha256": s.data_sha256,
            "closed_rule": s.closed_rule,
            "prompt": s.prompt,
            "image": s.image,
            "generation": s.generation,
            "limit": s.limit,
            "run_id": s.run_id,
        }
        return {k: str(v) for k, v in known.items() if v is not None}


def read_run(path: Path, *, slices: bool = False, model_id: str | None = None) -> FinishedRun:
    """The finished run in a folder.

    Args:
        slices: include the numbers of each slice, not only those over all rows.
        model_id: developer/name of the model; by default the hub repository of its weights.

    Raises:
        StoreError: not the folder of a finished run, or its files are not those that the summary was made from.
        ConfigError: model_id is not of the form developer/name.
    """
    stored = open_run(path)
    stored.check()
    folder, summary, manifest = stored.folder, stored.summary, stored.manifest
    judges = judged_numbers(path, summary)
    numbers = (*summary.metrics, *(m for judge in judges for m in judge.metrics))
    if model_id is not None and not (_HUB_NAME.fullmatch(model_id) and len(model_id) <= LONGEST_ID):
        raise ConfigError(f"model_id={model_id} is not possible; expected developer/name, as on the hub.")
    return FinishedRun(
        folder=folder,
        summary=summary,
        manifest=manifest,
        answers=tuple(stored.predictions()),
        numbers=tuple(n for n in numbers if slices or n.slice == "all"),
        judges={f"judge:{judge.judge}": judge for judge in judges},
        model_id=model_id or _model_id(summary, manifest),
    )


def _model_id(summary: Summary, manifest: Manifest | None) -> str:
    """developer/name: the hub repository of the weights, else with the developer `unknown`."""
    model = (manifest.config.get("model") if manifest is not None else None) or {}
    source = str(model.get("source") or "")
    if _HUB_NAME.fullmatch(source) and len(source) <= LONGEST_ID and not Path(source).exists():
        return source
    name = safe_name(re.sub(r"[^\w.-]+", "-", summary.model))
    return f"{'evalkit' if source.startswith('package:') else 'unknown'}/{name}"
