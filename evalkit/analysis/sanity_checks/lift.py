"""Lift of a run over image-blind baselines, and over the same model on blank images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.types import CHOICE, MetricKey, MetricValue, Prediction, Sample, Score, worst_score
from evalkit.models.text_only_baselines import Lookup, Majority, most_frequent_letter
from evalkit.runs.read import manifest_at
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import open_run
from evalkit.scoring.aggregate import RunProvenance, score_all
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.choice_protocol import METRIC as CHOICE_METRIC
from evalkit.stats import paired_interval
from evalkit.tasks.base import LoadedTask

# The metrics whose lift over a baseline is reported, where a protocol has them.
_IMAGE_BLANK = re.compile(rb'"image"\s*:\s*"blank"')
LIFT_METRICS = ("closed_accuracy", "open_recall", "exact_match", CHOICE_METRIC)
# Baselines of multiple choice, which need no train split.
CHANCE, LETTER = "chance", "majority letter"
# Samples that a baseline answers before they are scored: memory must not hold all their scores.
BATCH = 1000

# Sample id -> score of one metric, None where it is unscored.
Column = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class _Scores:
    """Scores of one metric, sample by sample; None where unscored."""

    ids: list[str] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)


def baseline_lifts(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    protocols: Sequence[ScoringProtocol],
    train: LoadedTask | str | None,
) -> dict[str, Any]:
    """The values of majority and lookup on the same samples, with the run's paired lift over each (95 % intervals).

    An unscored sample counts as the worst case on either side.  Multiple choice has two more, which no train split is
    needed for: see `choice_lifts`.
    """
    choices = choice_lifts(samples, scores)
    if train is None or isinstance(train, str):
        unknown = {"unknown": train or "the task has no train split to learn from"}
        return unknown | ({"metrics": choices} if choices else {})
    found: dict[str, Any] = {"train_rows": len(train.samples), "train_sha256": train.data_sha256, "metrics": choices}
    image_of = {s.id: s.image_id for s in samples}
    run = _lift_columns(scores)
    direction = {MetricKey(p.name, m.name): m.higher_is_better for p in protocols for m in p.metrics}
    for name, kind in (("majority", Majority()), ("lookup", Lookup())):
        fitted = kind.fit(train.samples)
        for key, baseline in _baseline_scores(fitted, samples, protocols).items():
            lift = _lift(run[key], baseline, image_of, direction[key])
            found["metrics"].append({"baseline": name, "protocol": key.protocol, "metric": key.metric, **lift})
    return found


def choice_lifts(samples: Sequence[Sample], scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The chance level and the majority letter of the multiple-choice rows of every protocol, with the run's lift.

    Chance is the mean of 1/n over the rows, n the number of options; of a row with several right options, all of which
    must be named, 1/(2^n - 1).  The majority letter is the most frequent one of the scored rows themselves, so that no
    constant answer does better; a run with a train split has the letter of that split as `majority` beside it.
    """
    sample_of = {s.id: s for s in samples if s.answer_type == CHOICE}
    image_of = {i: s.image_id for i, s in sample_of.items()}
    found = []
    for key, column in _columns(s for s in scores if s.metric == CHOICE_METRIC).items():
        rows = [sample_of[i] for i in column]
        letter = most_frequent_letter(rows)
        for name, values in (
            (CHANCE, [_chance(row) for row in rows]),
            (LETTER, [float(", ".join(row.letters) == letter) for row in rows]),
        ):
            lift = _lift(column, _Scores(list(column), list(values)), image_of, higher_is_better=True)
            answer = {"answer": letter} if name == LETTER else {}
            found.append({"baseline": name, "protocol": key.protocol, "metric": key.metric, **lift, **answer})
    return found


def _chance(row: Sample) -> float:
    """The probability that a random choice is right."""
    n = len(row.choices)
    return 1 / n if len(row.letters) == 1 else 1 / (2**n - 1)


def _baseline_scores(
    fitted: Majority | Lookup, samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]
) -> dict[MetricKey, _Scores]:
    found: dict[MetricKey, _Scores] = defaultdict(_Scores)
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        answers = [Prediction(sample_id=s.id, text=fitted.answer(s.question, s.answer_type)) for s in part]
        for score in score_all(part, answers, protocols):
            if score.metric in LIFT_METRICS:
                column = found[MetricKey(score.protocol, score.metric)]
                column.ids.append(score.sample_id)
                column.values.append(score.value)
    return found


def blank_image_lifts(
    runs: Path,
    samples: Sequence[Sample],
    scores: Sequence[Score],
    values: Sequence[MetricValue],
    provenance: RunProvenance,
) -> dict[str, Any]:
    """The lift over the same model on blank images, where `runs` has such a run over the same samples and prompt."""
    if provenance.image == "blank":
        return {"unknown": "this is the run with blank images"}
    found = _blank_run(runs, provenance)
    if found is None:
        return {"unknown": "no run of this model with image=blank over the same samples and prompt is in this folder"}
    image_of = {s.id: s.image_id for s in samples}
    direction = {v.key: v.higher_is_better is not False for v in values}
    blank = _columns(found.scores)
    return {
        "run_id": found.run_id,
        "metrics": [
            {"protocol": key.protocol, "metric": key.metric}
            | _lift(column, _Scores(list(blank[key]), list(blank[key].values())), image_of, direction[key])
            for key, column in _lift_columns(scores).items()
            if key in blank and blank[key].keys() <= image_of.keys()
        ],
    }


@dataclass(frozen=True, slots=True)
class _BlankRun:
    run_id: str
    scores: list[Score]


def _blank_run(runs: Path, provenance: RunProvenance) -> _BlankRun | None:
    """The first finished run with blank images that is otherwise the same; damaged and foreign ones are left out."""
    task = provenance.task
    wanted = {
        "model": provenance.model, "task": task.name, "split": task.split, "data_sha256": task.data_sha256,
        "prompt": provenance.prompt, "image": "blank", "generation": provenance.generation, "limit": provenance.limit,
    }  # fmt: skip
    for path in sorted(runs.glob("*/summary.json")):
        folder = RunFolder(path.parent)
        try:
            # Most runs are of other models and see their images: their manifests need not be parsed.
            if not _IMAGE_BLANK.search(folder.manifest.read_bytes()):
                continue
            manifest = manifest_at(folder.manifest)
            if all(getattr(manifest, k) == v for k, v in wanted.items()):
                return _BlankRun(manifest.run_id, open_run(folder.path).scores())
        except (StoreError, OSError):  # another run's damaged file must not end this one
            continue
    return None


def _columns(scores: Iterable[Score]) -> dict[MetricKey, dict[str, float | None]]:
    found: dict[MetricKey, dict[str, float | None]] = defaultdict(dict)
    for s in scores:
        found[MetricKey(s.protocol, s.metric)][s.sample_id] = s.value
    return found


def _lift_columns(scores: Iterable[Score]) -> dict[MetricKey, dict[str, float | None]]:
    return _columns(s for s in scores if s.metric in LIFT_METRICS)


def _lift(run: Column, other: _Scores, image_of: Mapping[str, str], higher_is_better: bool) -> dict[str, Any]:
    """The other's value, and how much better the run is on the same samples; unscored ones count as the worst case."""
    worst = worst_score(higher_is_better)
    ours = [worst if (v := run.get(i)) is None else v for i in other.ids]
    others = [worst if v is None else v for v in other.values]
    # The second minus the first is the gain.
    first, second = (others, ours) if higher_is_better else (ours, others)
    interval = paired_interval(first, second, [image_of[i] for i in other.ids])
    return {
        "value": sum(others) / len(others),
        "lift": (sum(second) - sum(first)) / len(others),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }
