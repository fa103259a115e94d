"""Lift of a run over image-blind baselines, and over the same model on blank images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.columns import column_values
from evalkit.core.errors import StoreError
from evalkit.core.types import MetricKey, MetricValue, Prediction, Sample, Score, worst_score
from evalkit.models.text_only_baselines import Lookup, Majority, most_frequent_letter
from evalkit.runs.read import manifest_at
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import open_run
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.choice_protocol import METRIC as CHOICE_METRIC
from evalkit.scoring.score_table import RowKinds, ScoreTable, checked_scores, column_of, is_by_row_content
from evalkit.stats import ClusterCodes, cluster_codes, restricted_interval
from evalkit.tasks.base import LoadedTask

if TYPE_CHECKING:
    import numpy as np

# The metrics whose lift over a baseline is reported, where a protocol has them.
_IMAGE_BLANK = re.compile(rb'"image"\s*:\s*"blank"')
LIFT_METRICS = ("closed_accuracy", "open_recall", "exact_match", CHOICE_METRIC)
# Baselines of multiple choice, which need no train split.
CHANCE, LETTER = "chance", "majority letter"
# Metrics of a baseline are listed as they come up, so many samples at a time.
BATCH = 1000


class _Scores(NamedTuple):
    """Scores of one metric of the rows that were scored, an unscored one as NaN, and which of them it covers.

    kinds: the scored row of each sample; None where every sample was scored.
    """

    values: np.ndarray[Any, Any]
    covered: np.ndarray[Any, Any]
    kinds: np.ndarray[Any, Any] | None

    def by_sample(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The positions of the covered samples and their scores."""
        import numpy as np

        if self.kinds is None:
            places = np.flatnonzero(self.covered)
            return places, self.values[places]
        places = np.flatnonzero(self.covered[self.kinds])
        return places, self.values[self.kinds[places]]


def baseline_lifts(
    samples: Sequence[Sample],
    scores: Sequence[Score] | ScoreTable,
    protocols: Sequence[ScoringProtocol],
    train: LoadedTask | str | None,
    kinds: RowKinds | None = None,
) -> dict[str, Any]:
    """The values of majority and lookup on the same samples, with the run's paired lift over each (95 % intervals).

    An unscored sample counts as the worst case on either side.  Multiple choice has two more, which no train split is
    needed for: see `choice_lifts`.
    """
    images = cluster_codes(samples, tuple(column_values(samples, "image_id")))
    table = ScoreTable.of(scores, samples)
    choices = choice_lifts(samples, table, images)
    if train is None or isinstance(train, str):
        unknown = {"unknown": train or "the task has no train split to learn from"}
        return unknown | ({"metrics": choices} if choices else {})
    found: dict[str, Any] = {"train_rows": len(train.samples), "train_sha256": train.data_sha256, "metrics": choices}
    direction = {MetricKey(p.name, m.name): m.higher_is_better for p in protocols for m in p.metrics}
    kinds = kinds or RowKinds.among(samples)
    protocols = [p for p in protocols if not getattr(p, "reads_options", False)]
    for name, kind in (("majority", Majority()), ("lookup", Lookup())):
        fitted = kind.fit(train.samples)
        for key, baseline in _baseline_scores(fitted, samples, protocols, kinds).items():
            places, values = baseline.by_sample()
            run = column_of(table, key, len(samples))[places]
            lift = _lift(run, values, images.at(places), direction[key])
            found["metrics"].append({"baseline": name, "protocol": key.protocol, "metric": key.metric, **lift})
    return found


def choice_lifts(samples: Sequence[Sample], table: ScoreTable, images: ClusterCodes) -> list[dict[str, Any]]:
    """The chance level and the majority letter of the multiple-choice rows of every protocol, with the run's lift.

    Chance is the mean of 1/n over the rows, n the number of options; of a row with several right options, all of which
    must be named, 1/(2^n - 1).  The majority letter is the most frequent one of the scored rows themselves, so that no
    constant answer does better; a run with a train split has the letter of that split as `majority` beside it.
    """
    import numpy as np

    found = []
    for key, column in table.metrics.items():
        if key.metric != CHOICE_METRIC:
            continue
        rows = [samples[k] for k in column.places.tolist()]
        letter = most_frequent_letter(rows)
        for name, values in (
            (CHANCE, [_chance(row) for row in rows]),
            (LETTER, [float(", ".join(row.letters) == letter) for row in rows]),
        ):
            lift = _lift(column.values, np.array(values), images.at(column.places), higher_is_better=True)
            answer = {"answer": letter} if name == LETTER else {}
            found.append({"baseline": name, "protocol": key.protocol, "metric": key.metric, **lift, **answer})
    return found


def _chance(row: Sample) -> float:
    """The probability that a random choice is right."""
    n = len(row.choices)
    return 1 / n if len(row.letters) == 1 else 1 / (2**n - 1)


def _baseline_scores(
    fitted: Majority | Lookup, samples: Sequence[Sample], protocols: Sequence[ScoringProtocol], kinds: RowKinds
) -> dict[MetricKey, _Scores]:
    """The scores of a baseline by metric.

    A baseline reads the question and its type, so that samples of one kind have the same answer and, under evalkit's
    own protocols, the same scores: one of each kind is scored.
    """
    import numpy as np

    of = np.array(kinds.of, dtype=np.int32)
    found: dict[MetricKey, _Scores] = {}
    place_of_first: dict[MetricKey, tuple[int, int, int]] = {}
    for number, protocol in enumerate(protocols):
        scored = range(len(samples)) if not is_by_row_content(protocol) else kinds.first
        table = ScoreTable()
        for place, k in enumerate(scored):
            s = samples[k]
            answer = Prediction(sample_id=s.id, text=fitted.answer(s.question, s.answer_type))
            for position, score in enumerate(checked_scores(protocol, s, answer)):
                if score.metric in LIFT_METRICS:
                    key = MetricKey(score.protocol, score.metric)
                    table.add(key, place, score, keep_text=False)
                    place_of_first.setdefault(key, (number, k, position))
        for key, column in table.metrics.items():
            values, covered = np.full(len(scored), np.nan), np.zeros(len(scored), dtype=bool)
            values[column.places], covered[column.places] = column.values, True
            found[key] = _Scores(values, covered, of if is_by_row_content(protocol) else None)
    # In the order in which a protocol after the other meets them, a batch of samples at a time.
    order = sorted(found, key=lambda key: (place_of_first[key][1] // BATCH, place_of_first[key]))
    return {key: found[key] for key in order}


def blank_image_lifts(
    runs: Path,
    samples: Sequence[Sample],
    scores: Sequence[Score] | ScoreTable,
    values: Sequence[MetricValue],
    provenance: RunProvenance,
) -> dict[str, Any]:
    """The lift over the same model on blank images, where `runs` has such a run over the same samples and prompt."""
    if provenance.image == "blank":
        return {"unknown": "this is the run with blank images"}
    found = _blank_run(runs, provenance)
    if found is None:
        return {"unknown": "no run of this model with image=blank over the same samples and prompt is in this folder"}
    import numpy as np

    place = {name: k for k, name in enumerate(column_values(samples, "id"))}
    images = cluster_codes(samples, tuple(column_values(samples, "image_id")))
    direction = {v.key: v.higher_is_better is not False for v in values}
    blank = _columns(found.scores)
    table = ScoreTable.of(scores, samples)
    lifts = []
    for key in table.metrics:
        other = blank.get(key)
        if key.metric not in LIFT_METRICS or other is None or not other.keys() <= place.keys():
            continue
        places = np.array([place[i] for i in other], dtype=np.int64)
        run = column_of(table, key, len(samples))[places]
        lift = _lift(run, np.array(list(other.values()), dtype=float), images.at(places), direction[key])
        lifts.append({"protocol": key.protocol, "metric": key.metric} | lift)
    return {"run_id": found.run_id, "metrics": lifts}


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


def _sum(values: np.ndarray[Any, Any]) -> float:
    """The sum from left to right, as that of a list, some values at a time."""
    total = 0.0
    for start in range(0, len(values), BATCH):
        total = sum(values[start : start + BATCH].tolist(), total)
    return total


def _lift(
    run: np.ndarray[Any, Any], other: np.ndarray[Any, Any], images: ClusterCodes, higher_is_better: bool
) -> dict[str, Any]:
    """The other's value, and how much better the run is on the same samples; unscored ones count as the worst case."""
    import numpy as np

    worst = worst_score(higher_is_better)
    ours, others = (np.where(np.isnan(values), worst, values) for values in (run, other))
    # The second minus the first is the gain.
    first, second = (others, ours) if higher_is_better else (ours, others)
    interval = restricted_interval(second - first, images)
    return {
        "value": _sum(others) / len(others),
        "lift": (_sum(second) - _sum(first)) / len(others),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        **({"n_unscored": n_unscored} if (n_unscored := int(np.isnan(run).sum())) else {}),
    }
