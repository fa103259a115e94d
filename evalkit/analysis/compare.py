"""Several runs over the same samples: paired differences, each against the first, and the answers that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.analysis.paired import Paired, aligned, incompatibilities, pair
from evalkit.analysis.run_scores import PROMPT_DIGESTS, RunScores
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.format import interval, percent
from evalkit.core.types import MetricKey, Sample
from evalkit.scoring.aggregate import slice_tags
from evalkit.stats import cluster_sums, holm, sign_flip_p_of_sums

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
# A different prompt or blanked images may be what the comparison is about; the heading of each table names them.
PROMPT_PARTS = frozenset({"prompt", "image", "answers", *PROMPT_DIGESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """A run and its paired differences from the first run, one per metric."""

    run: RunScores
    pairs: tuple[Paired, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDifference:
    """The paired difference of a metric within one slice, `tag=value`."""

    slice: str
    paired: Paired


def compare(runs: Sequence[RunScores], metrics: Sequence[str] | None) -> list[RunComparison]:
    """Paired differences of each run after the first.

    Args:
        runs: two or more; the first is the reference.
        metrics: `PROTOCOL METRIC` each; None for every metric that all runs have.

    Raises:
        ConfigError: fewer than two runs, an invalid name of a metric, or no metric that all runs have.
        DataError: two runs are not over the same samples under the same protocols; names every difference.
    """
    if len(runs) < 2:
        raise ConfigError("compare needs at least two runs: runs=[DIR,DIR].")
    first = runs[0]
    shared = [key for key, c in first.columns.items() if c.n and all(key in r.columns for r in runs)]
    wanted = metric_keys(metrics) if metrics else shared
    if not wanted:
        raise ConfigError("The runs have no metric in common; score them under the same protocols first.")
    for other in runs[1:]:
        if found := incompatibilities(first, other, wanted, PROMPT_PARTS):
            raise DataError(f"Runs are not comparable: {first.origin} and {other.origin}: {'; '.join(found)}.")
    return [RunComparison(run=other, pairs=tuple(pair(first, other, k, LEVEL) for k in wanted)) for other in runs[1:]]


def metric_keys(names: Sequence[str]) -> list[MetricKey]:
    """The metrics named by a setting, each once.

    Raises:
        ConfigError: a name is not `PROTOCOL METRIC`.
    """
    try:
        return list(dict.fromkeys(MetricKey.parse(name) for name in names))
    except ValueError as problem:
        raise ConfigError(f"metrics: {problem}.") from None


def by_slice(
    first: RunScores, second: RunScores, keys: Sequence[MetricKey], samples: Sequence[Sample]
) -> list[SliceDifference]:
    """The paired differences of two runs within each tag value, in order of the slices' names."""
    groups: dict[str, set[str]] = {}
    tags = slice_tags(samples)
    for sample in samples:
        for tag in tags & sample.tags.keys():
            groups.setdefault(f"{tag}={sample.tags[tag]}", set()).add(sample.id)
    found = []
    for name in sorted(groups):
        one, two = (run.subset(frozenset(groups[name])) for run in (first, second))
        both = [k for k in keys if k in one.columns and k in two.columns]
        found += [SliceDifference(slice=name, paired=pair(one, two, k, LEVEL)) for k in both]
    return found


def render_slices(found: Sequence[SliceDifference]) -> str:
    """One line per slice and metric."""
    width = max((len(d.slice) for d in found), default=0)
    return "\n".join(
        f"  {d.slice:<{width}}  {d.paired.key}  {percent(d.paired.difference, signed=True):>6} {_bounds(d.paired)}  "
        f"{_counts(d.paired)}{_worst_case(d.paired)}"
        for d in found
    )


def render(results: Sequence[RunComparison], first: RunScores, flips: int) -> str:
    """The comparison as text: a table per run, then its first `flips` changed answers.

    The values are those of the runs' tables; worst cases follow where they differ.
    """
    parts = []
    for result in results:
        names = [f"{run.header.model} ({run.header.run_id}, image {run.header.image})" for run in (result.run, first)]
        heading = f"percent, 95 % interval clustered by {first.cluster}, p by sign flips, Holm"
        parts.append(f"{' against '.join(names)}: {heading}")
        width = max(len(str(p.key)) for p in result.pairs)
        parts += [
            f"  {p.key!s:<{width}}  {' -> '.join(f'{percent(v):>6}' for v in p.table_values)}  "
            f"{percent(p.difference, signed=True):>6} {_bounds(p):<18} p={q:.4f}  {_counts(p)}{_worst_case(p)}"
            for p, q in zip(result.pairs, p_values(first, result), strict=True)
        ]
        parts += _changed(first, result, flips)
    return "\n".join(parts)


def p_values(first: RunScores, result: RunComparison) -> list[float]:
    """p of each metric's difference by sign flips of whole images, adjusted by Holm over the metrics."""
    return list(holm(sign_flip_p_of_sums(_cluster_differences(first, result))))


def _cluster_differences(first: RunScores, result: RunComparison) -> Iterator[np.ndarray[Any, Any]]:
    """The sum of each metric's differences in each image: the sign-flip tests of all metrics share their signs."""
    for p in result.pairs:
        one, two, images = aligned(first, result.run, p.key)
        yield cluster_sums(two - one, *images)


def _bounds(p: Paired) -> str:
    return interval(p.interval.low, p.interval.high, signed=True)


def _counts(p: Paired) -> str:
    return f"worse {p.n_worse}, better {p.n_better} of {p.n}{p.direction}"


def _worst_case(p: Paired) -> str:
    """What the difference is over where unscored samples make it another one than that of the tables' values."""
    if not p.worst_case_differs:
        return ""
    return (
        f"; the difference is of the worst cases {percent(p.first)} -> {percent(p.second)}, with {p.first_unscored} "
        f"and {p.second_unscored} unscored"
    )


def _changed(first: RunScores, result: RunComparison, limit: int) -> list[str]:
    other = result.run
    place: Mapping[str, int] = {i: k for k, i in enumerate(other.ids)}
    seen = list(dict.fromkeys(k for p in result.pairs for k in p.flipped))
    lines = [f"  {len(seen)} samples changed their score in some metric"] if seen else ["  no sample changed its score"]
    for k in seen[:limit]:
        old = first.texts[k] if first.texts else "?"
        new = other.texts[place[first.ids[k]]] if other.texts else "?"
        question = first.questions[k] if first.questions else ""
        lines.append(f"    {first.ids[k]} ({first.cluster} {first.image_ids[k]}): {question!r}: {old!r} -> {new!r}")
    return lines
