"""From predictions to scores to rows: the dataset decides n, and every number says what it is.

The same code serves `run` and `score`; it needs no images and no model libraries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalkit import __version__
from evalkit.core.types import Metric, Prediction, Row, Sample, Score
from evalkit.scoring.base import ScoringProtocol
from evalkit.stats import AGGREGATES, Interval
from evalkit.stats.labels import LABEL_AGGREGATES
from evalkit.tasks.base import LoadedTask

# A tag with more values than this names samples, not groups, and is not a slice.  ColonINST has 43 categories.
MOST_VALUES = 64
# Tags that tie samples together, however few they are.
TIES = frozenset({"pair"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a signature says beside the metric: where the answers came from."""

    model: str
    task: LoadedTask
    image: str = "original"
    generation: str = "unknown"
    prompt: str = "unknown"
    extra: Mapping[str, str] = field(default_factory=dict)


def score_all(
    samples: Sequence[Sample], predictions: Sequence[Prediction], protocols: Sequence[ScoringProtocol]
) -> list[Score]:
    """Every protocol's scores of every sample.

    Raises:
        RuntimeError: a protocol gave a metric it does not define, twice, or for no stated row; the fault is ours.
    """
    scores: list[Score] = []
    for protocol in protocols:
        names = {m.name for m in protocol.metrics}
        for sample, prediction in zip(samples, predictions, strict=True):
            assert sample.id == prediction.sample_id
            mine = protocol.score(sample, prediction)
            given = [s.metric for s in mine]
            if len(set(given)) != len(given) or not names.issuperset(given):
                raise RuntimeError(f"protocol {protocol.name} gave metrics {given} for {sample.id}, defines {names}")
            scores += mine
    return scores


def tabulate(
    samples: Sequence[Sample], scores: Sequence[Score], protocols: Sequence[ScoringProtocol], context: Context
) -> list[Row]:
    """Aggregate scores into rows: for every protocol and metric the slice `all`, then one row a tag value.

    A metric that has no rows in the data gets a row with value None and n = 0.
    """
    by_metric: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        by_metric.setdefault((score.protocol, score.metric), []).append(score)
    sample_of = {s.id: s for s in samples}
    sliced = slice_tags(samples)
    groups: list[_Group] = []
    grouped: list[str] | None = None
    rows: list[Row] = []
    for protocol in protocols:
        for metric in protocol.metrics:
            mine = by_metric.get((protocol.name, metric.of or metric.name), [])
            ids = [s.sample_id for s in mine]
            if ids != grouped:
                groups, grouped = _groups([sample_of[i] for i in ids], sliced), ids
            rows += [_row(group, [mine[i] for i in group.places], protocol, metric, context) for group in groups]
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The samples of a slice, their places among a metric's rows; made once for all metrics over the same rows."""

    name: str
    places: Sequence[int]
    samples: Sequence[Sample]
    clusters: Sequence[str]


def _groups(samples: Sequence[Sample], sliced: frozenset[str]) -> list[_Group]:
    """The slice `all`, then by name each slice that does not hold every row, which would say nothing new."""
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
    """The tags whose values make groups rather than name samples."""
    values: dict[str, set[str]] = {}
    for sample in samples:
        for tag, value in sample.tags.items():
            values.setdefault(tag, set()).add(value)
    return frozenset(tag for tag, seen in values.items() if len(seen) <= MOST_VALUES and tag not in TIES)


def _row(group: _Group, scores: Sequence[Score], protocol: ScoringProtocol, metric: Metric, context: Context) -> Row:
    scored = [i for i, s in enumerate(scores) if s.value is not None]
    everyone = _aggregate(metric, scores, group.samples, group.clusters)
    value, interval, clusters = *everyone, group.clusters
    # The other reading, each unscored one as bad as can be, is `everyone`'s.
    if len(scored) < len(scores) and protocol.unscored != "wrong":
        clusters = [group.clusters[i] for i in scored]
        value, interval = _aggregate(metric, [scores[i] for i in scored], [group.samples[i] for i in scored], clusters)
    return Row(
        model=context.model,
        task=context.task.name,
        split=context.task.split,
        protocol=protocol.name,
        metric=metric.name,
        slice=group.name,
        value=value,
        value_unscored_wrong=everyone[0],
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=len(scores),
        n_unscored=len(scores) - len(scored),
        n_clusters=len(set(clusters)),
        signature=signature(metric, protocol, context, len(scores), group.name),
    )


def _aggregate(
    metric: Metric, scores: Sequence[Score], samples: Sequence[Sample], clusters: Sequence[str]
) -> tuple[float | None, Interval | None]:
    """One value from the scores, each unscored one as the worst that it could be."""
    worst = 0.0 if metric.higher_is_better else 1.0
    values = [worst if s.value is None else s.value for s in scores]
    if metric.aggregate in LABEL_AGGREGATES:
        labels = [(sample.references[0], s.extracted) for sample, s in zip(samples, scores, strict=True)]
        return LABEL_AGGREGATES[metric.aggregate](values, labels, clusters)
    return AGGREGATES[metric.aggregate](values, clusters)


def signature(metric: Metric, protocol: ScoringProtocol, context: Context, n: int, slice_name: str) -> str:
    """All that determines the number, in a fixed order, version last.

    Two numbers may share a column of a table only when their signatures differ in nothing but the model's part.
    """
    task = context.task
    own = protocol.settings()
    parts = {
        "task": f"{task.name}.{task.split}",
        "n": str(n),
        "slice": slice_name,
        "data": task.data_sha256[:8],
        # A protocol that goes by the row's label goes by the task's rule for that label.
        "rule": task.closed_rule if own.get("rule", "label") == "label" else own["rule"],
        "protocol": f"{protocol.name}.{protocol.version}",
        **{k: v for k, v in own.items() if k != "rule"},
        "prompt": context.prompt,
        "image": context.image,
        "gen": context.generation,
        **context.extra,
        "v": __version__,
    }
    return "|".join([metric.name, *(f"{k}:{v}" for k, v in parts.items())])


def reasons(scores: Sequence[Score]) -> list[tuple[str, str, str, int]]:
    """Why scores are missing: (protocol, metric, reason, how many), most frequent first."""
    counted = Counter((s.protocol, s.metric, s.reason) for s in scores if s.value is None)
    return [(p, m, r, n) for (p, m, r), n in counted.most_common()]
