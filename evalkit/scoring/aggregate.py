"""Predictions to scores, scores to metric values.  The data set decides n, and every value carries its signature.

`run` and `score` share this code; it needs no images and no model libraries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit import __version__
from evalkit.core.errors import ConfigError
from evalkit.core.reasoning import RULE
from evalkit.core.signature import REASONING, REASONING_KEPT, Signature, plain_parts
from evalkit.core.types import (
    MAX_SLICE_VALUES,
    Metric,
    MetricValue,
    Prediction,
    Sample,
    Score,
    UnscoredCount,
    worst_score,
)
from evalkit.scoring.base import ScoringProtocol
from evalkit.stats import AGGREGATES, Interval
from evalkit.stats.labels import LABEL_AGGREGATES
from evalkit.tasks.base import LoadedTask

# Largest error of a fraction that is computed from floating-point numbers.
ROUNDING = 1e-9
# Tags that link samples to each other and never make slices.
LINKING_TAGS = frozenset({"pair"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProvenance:
    """The origin of a run's answers, for signatures.

    limit: the run covers only so many samples.  from_file: the answers came from a file of unknown origin.
    reasoning: the setting, "auto" or "keep".  has_thoughts: at least one answer came with a thought.
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

    @property
    def extra(self) -> dict[str, str]:
        """Parts of a signature that only some runs have."""
        answers = {"answers": "file"} if self.from_file else {}
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
    """Every protocol's scores of every sample.

    Raises:
        ConfigError: a protocol returned a metric twice, or one that it does not define.
    """
    scores: list[Score] = []
    for protocol in protocols:
        names = {m.name for m in protocol.metrics}
        for sample, prediction in zip(samples, predictions, strict=True):
            scored = protocol.score(sample, prediction)
            returned = [s.metric for s in scored]
            if len(set(returned)) != len(returned) or not names.issuperset(returned):
                raise ConfigError(
                    f"The protocol {protocol.name} returned the metrics {', '.join(returned)} for sample {sample.id}; "
                    f"expected each at most once, and only those that it defines: {', '.join(sorted(names))}. Correct "
                    "its class."
                )
            scores += scored
    return scores


def tabulate(
    samples: Sequence[Sample], scores: Sequence[Score], protocols: Sequence[ScoringProtocol], run: RunProvenance
) -> list[MetricValue]:
    """Aggregate scores into metric values: for every protocol and metric the slice `all`, then one value per tag value.

    A metric that covers no sample of the data gets value None and n = 0.

    Raises:
        ConfigError: a score is outside of its metric's range.
    """
    by_metric: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        by_metric.setdefault((score.protocol, score.metric), []).append(score)
    sample_of = {s.id: s for s in samples}
    sliced = slice_tags(samples)
    groups: list[_Group] = []
    grouped: list[str] | None = None
    values: list[MetricValue] = []
    for protocol in protocols:
        for metric in protocol.metrics:
            own = by_metric.get((protocol.name, metric.of or metric.name), [])
            ids = [s.sample_id for s in own]
            if ids != grouped:
                groups, grouped = _groups([sample_of[i] for i in ids], sliced), ids
            values += [_value(group, [own[i] for i in group.places], protocol, metric, run) for group in groups]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A slice's samples and their positions; shared by all metrics over the same samples."""

    name: str
    places: Sequence[int]
    samples: Sequence[Sample]
    clusters: Sequence[str]


def _groups(samples: Sequence[Sample], sliced: frozenset[str]) -> list[_Group]:
    """The slice `all`, then, by name, each slice that does not contain every sample."""
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        for tag, value in sample.tags.items():
            if tag in sliced:
                places.setdefault(f"{tag}={value}", []).append(place)
    parts = [("all", list(range(len(samples))))]
    parts += [(name, places[name]) for name in sorted(places) if len(places[name]) < len(samples)]
    return [
        _Group(
            name=name,
            places=where,
            samples=[samples[i] for i in where],
            clusters=[samples[i].image_id for i in where],
        )
        for name, where in parts
    ]


def slice_tags(samples: Sequence[Sample]) -> frozenset[str]:
    """The tags whose values make slices: few enough values to be groups rather than names of samples."""
    values: dict[str, set[str]] = {}
    for sample in samples:
        for tag, value in sample.tags.items():
            values.setdefault(tag, set()).add(value)
    return frozenset(tag for tag, seen in values.items() if len(seen) <= MAX_SLICE_VALUES and tag not in LINKING_TAGS)


def _value(
    group: _Group, scores: Sequence[Score], protocol: ScoringProtocol, metric: Metric, run: RunProvenance
) -> MetricValue:
    scored = [i for i, s in enumerate(scores) if s.value is not None]
    if group.name == "all":
        _check_range(metric, protocol, scores)
    everyone = _aggregate(metric, scores, group.samples, group.clusters)
    value, interval, clusters = *everyone, group.clusters
    # `everyone` counts each unscored sample as the worst case.
    if len(scored) < len(scores) and protocol.unscored != "wrong":
        clusters = [group.clusters[i] for i in scored]
        value, interval = _aggregate(metric, [scores[i] for i in scored], [group.samples[i] for i in scored], clusters)
    return MetricValue(
        protocol=protocol.name,
        metric=metric.name,
        slice=group.name,
        value=value,
        value_worst_case=everyone[0],
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=len(scores),
        n_unscored=len(scores) - len(scored),
        n_clusters=len(set(clusters)),
        higher_is_better=metric.higher_is_better,
        signature=signature(metric, protocol, run, len(scores), group.name),
    )


def _check_range(metric: Metric, protocol: ScoringProtocol, scores: Sequence[Score]) -> None:
    if metric.aggregate == "unbounded_mean":
        return
    for s in scores:
        if s.value is not None and not -ROUNDING <= s.value <= 1 + ROUNDING:
            raise ConfigError(
                f"The protocol {protocol.name} gave sample {s.sample_id} the score {s.value:g} in {s.metric}; expected "
                "a fraction from 0 to 1. Correct its class; a metric on another scale has aggregate='unbounded_mean'."
            )


def _aggregate(
    metric: Metric, scores: Sequence[Score], samples: Sequence[Sample], clusters: Sequence[str]
) -> tuple[float | None, Interval | None]:
    """One value from the scores, each unscored one counted as the worst possible score."""
    worst = worst_score(metric.higher_is_better)
    values = [worst if s.value is None else s.value for s in scores]
    if metric.aggregate in LABEL_AGGREGATES:
        labels = [(sample.references[0], s.extracted) for sample, s in zip(samples, scores, strict=True)]
        return LABEL_AGGREGATES[metric.aggregate](values, labels, clusters)
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


def unscored_counts(scores: Sequence[Score]) -> list[UnscoredCount]:
    """Numbers of missing scores by protocol, metric and reason; most frequent first."""
    counted = Counter((s.protocol, s.metric, s.reason) for s in scores if s.value is None)
    return [UnscoredCount(protocol=p, metric=m, reason=r, count=n) for (p, m, r), n in counted.most_common()]
