"""Predictions to scores, scores to metric values.  The data set decides n, and every value carries its signature.

`run` and `score` share this code; it needs no images and no model libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit import __version__
from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError
from evalkit.core.reasoning import RULE
from evalkit.core.signature import REASONING, REASONING_KEPT, Signature, plain_parts
from evalkit.core.types import (
    MAX_SLICE_VALUES,
    Metric,
    MetricKey,
    MetricValue,
    Prediction,
    Sample,
    Score,
    worst_score,
)
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import MetricScores, ScoreTable, checked_scores
from evalkit.stats import AGGREGATES, ClusterCodes, Interval, cluster_codes
from evalkit.stats.labels import LABEL_AGGREGATES
from evalkit.tasks.base import LoadedTask

if TYPE_CHECKING:
    import numpy as np

# Largest error of a fraction that is computed from floating-point numbers.
ROUNDING = 1e-9
# Tags that link samples to each other and never make slices.
LINKING_TAGS = frozenset({"pair"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProvenance:
    """The origin of a run's answers, for signatures.

    limit: the run covers only so many samples.  from_file: the answers came from a file of unknown origin.
    reasoning: the setting, "auto" or "keep".  has_thoughts: at least one answer came with a thought.  continuation:
    what was scored of an option under scoring=loglikelihood; None for generated answers.
    """

    model: str
    task: LoadedTask
    image: str = "original"
    generation: str = "unknown"
    prompt: str = "unknown"
    limit: int | None = None
    from_file: bool = False
    reasoning: str = "auto"
    has_thoughts: bool = False
    continuation: str | None = None

    @property
    def extra(self) -> dict[str, str]:
        """Parts of a signature that only some runs have."""
        answers = {"answers": "file"} if self.from_file else {}
        if self.continuation is not None:
            answers |= {"scoring": "loglikelihood", "continuation": self.continuation}
        return answers | ({"limit": str(self.limit)} if self.limit else {})

    def reasoning_part(self, reads: str) -> dict[str, str]:
        """The part of a signature about thoughts; none for a run without any, under the default setting.

        reads: what the protocol reads, "answer" or "raw".
        """
        if self.reasoning == REASONING_KEPT:
            return {REASONING: REASONING_KEPT}
        return {REASONING: RULE if reads == "answer" else reads} if self.has_thoughts else {}


def score_all(
    samples: Sequence[Sample], predictions: Sequence[Prediction], protocols: Sequence[ScoringProtocol]
) -> list[Score]:
    """Every protocol's scores of every sample; `evalkit.scoring.score_table` has the form for a whole run.

    Raises:
        ConfigError: see `checked_scores`.
    """
    pairs = list(zip(samples, predictions, strict=True))
    return [score for protocol in protocols for pair in pairs for score in checked_scores(protocol, *pair)]


def tabulate(
    samples: Sequence[Sample],
    scores: Sequence[Score] | ScoreTable,
    protocols: Sequence[ScoringProtocol],
    run: RunProvenance,
) -> list[MetricValue]:
    """Aggregate scores into metric values: for every protocol and metric the slice `all`, then one value per tag value.

    A metric that covers no sample of the data gets value None and n = 0.

    Raises:
        ConfigError: a score is outside of its metric's range.
    """
    import numpy as np

    table = ScoreTable.of(scores, samples)
    slices = _Slices(samples)
    groups: list[_Group] = []
    grouped: np.ndarray[Any, Any] | None = None
    values: list[MetricValue] = []
    for protocol in protocols:
        for metric in protocol.metrics:
            own = table.metrics.get(MetricKey(protocol.name, metric.of or metric.name), MetricScores())
            if grouped is None or not np.array_equal(own.places, grouped):
                grouped = own.places
                groups = slices.groups(grouped)
            _check_range(metric, protocol, own, samples)
            values += [_value(group, own, samples, protocol, metric, run) for group in groups]
    return values


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Group:
    """A slice of a metric's samples; shared by all metrics over the same samples.

    places: positions among the metric's samples.  clusters: their images.
    """

    name: str
    places: np.ndarray[Any, Any]
    clusters: ClusterCodes


class _Slices:
    """The slices of a run's samples."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        import numpy as np

        self.images = cluster_codes(samples, tuple(column_values(samples, "image_id")))
        # For each tag that makes slices: its values, and for each sample the number of its value, or -1.
        self.tags: dict[str, tuple[list[str], np.ndarray[Any, Any]]] = {}
        for tag in slice_tags(samples):
            known: dict[str, int] = {}
            found = (
                known.setdefault(of[tag], len(known)) if tag in of else -1 for of in column_values(samples, "tags")
            )
            numbers = np.fromiter(found, dtype=np.int16, count=len(samples))
            self.tags[tag] = list(known), numbers

    def groups(self, covered: np.ndarray[Any, Any]) -> list[_Group]:
        """Of the samples at these positions: the slice `all`, then, by name, each slice without some of them."""
        import numpy as np

        parts = {}
        for tag, (names, numbers) in self.tags.items():
            found = numbers[covered]
            for number, name in enumerate(names):
                places = np.flatnonzero(found == number).astype(np.int32)
                if 0 < len(places) < len(covered):
                    parts[f"{tag}={name}"] = places
        every = {"all": np.arange(len(covered), dtype=np.int32), **{name: parts[name] for name in sorted(parts)}}
        return [
            _Group(name=name, places=places, clusters=self.images.at(covered[places])) for name, places in every.items()
        ]


def slice_tags(samples: Sequence[Sample]) -> frozenset[str]:
    """The tags whose values make slices: few enough values to be groups rather than names of samples."""
    values: dict[str, set[str]] = {}
    # Samples of one kind have one mapping of tags.
    for tags in {id(tags): tags for tags in column_values(samples, "tags")}.values():
        for tag, value in tags.items():
            values.setdefault(tag, set()).add(value)
    return frozenset(tag for tag, seen in values.items() if len(seen) <= MAX_SLICE_VALUES and tag not in LINKING_TAGS)


def _value(
    group: _Group,
    own: MetricScores,
    samples: Sequence[Sample],
    protocol: ScoringProtocol,
    metric: Metric,
    run: RunProvenance,
) -> MetricValue:
    import numpy as np

    scored = np.flatnonzero(~np.isnan(own.values[group.places]))
    n = len(group.places)
    everyone = _aggregate(metric, own, samples, group.places, group.clusters)
    value, interval, clusters = *everyone, group.clusters
    # `everyone` counts each unscored sample as the worst case.
    if len(scored) < n and protocol.unscored != "wrong":
        clusters = group.clusters.at(scored)
        value, interval = _aggregate(metric, own, samples, group.places[scored], clusters)
    return MetricValue(
        protocol=protocol.name,
        metric=metric.name,
        slice=group.name,
        value=value,
        value_worst_case=everyone[0],
        low_worst_case=everyone[1].low if everyone[1] else None,
        high_worst_case=everyone[1].high if everyone[1] else None,
        n_effective=interval.effective if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=n,
        n_unscored=n - len(scored),
        n_clusters=clusters.k,
        higher_is_better=metric.higher_is_better,
        signature=signature(metric, protocol, run, n, group.name),
    )


def _check_range(metric: Metric, protocol: ScoringProtocol, own: MetricScores, samples: Sequence[Sample]) -> None:
    if metric.aggregate == "unbounded_mean":
        return
    values = own.values
    outside = (values < -ROUNDING) | (values > 1 + ROUNDING)  # false for an unscored sample
    if outside.any():
        k = int(outside.argmax())
        raise ConfigError(
            f"The protocol {protocol.name} gave sample {samples[own.places[k]].id} the score {values[k]:g} in "
            f"{metric.of or metric.name}; expected a fraction from 0 to 1. Correct its class; a metric on another "
            "scale has aggregate='unbounded_mean'."
        )


def _aggregate(
    metric: Metric,
    own: MetricScores,
    samples: Sequence[Sample],
    places: np.ndarray[Any, Any],
    clusters: ClusterCodes,
) -> tuple[float | None, Interval | None]:
    """One value from the scores at some places, each unscored one counted as the worst possible score."""
    import numpy as np

    values = own.values[places]
    values = np.where(np.isnan(values), worst_score(metric.higher_is_better), values)
    if metric.aggregate in LABEL_AGGREGATES:
        labels = [(samples[own.places[k]].references[0], own.extracted[k]) for k in places]
        return LABEL_AGGREGATES[metric.aggregate](values.tolist(), labels, clusters.code.tolist())
    return AGGREGATES[metric.aggregate](values, clusters)


def signature(metric: Metric, protocol: ScoringProtocol, run: RunProvenance, n: int, slice_name: str) -> Signature:
    """The signature of a scored metric, its parts in a fixed order."""
    task = run.task
    settings = protocol.settings()
    parts = {
        "task": f"{task.name}.{task.split}",
        "n": str(n),
        "slice": slice_name,
        "data": task.data_sha256[:8],
        **({"cluster": task.cluster} if task.cluster != "image" else {}),
        # A protocol that uses the sample's label uses the task's rule for that label.
        "rule": task.closed_rule if settings.get("rule", "label") == "label" else settings["rule"],
        "protocol": f"{protocol.name}.{protocol.version}",
        # Where it is no mean of fractions, a reader cannot check the value against the scores without it.
        **({} if metric.of or metric.aggregate == "mean" else {"aggregate": metric.aggregate}),
        **{k: v for k, v in settings.items() if k != "rule"},
        "prompt": run.prompt,
        "image": run.image,
        "gen": run.generation,
        **run.extra,
        **run.reasoning_part(getattr(protocol, "reads", "answer")),
        "v": __version__,
    }
    return Signature.of(metric.name, plain_parts(parts))
