"""Several runs over the same samples: paired differences, each against the first, and the answers that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.analysis.adjusted import (
    FEWEST_CLUSTERS,
    LEVEL,
    SHRUNKEN_BELOW,
    AdjustedP,
    check_equivalence_margin,
    false_discovery,
    holm_over_all,
    shrunken,
)
from evalkit.analysis.paired import Paired, aligned, incompatibilities, pair
from evalkit.analysis.run_scores import PROMPT_DIGESTS, RunScores
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.format import interval, percent, shown_metric
from evalkit.core.types import MetricKey, Sample
from evalkit.runs.read import references_at
from evalkit.runs.schema import RunHeader
from evalkit.scoring.aggregate import slice_tags
from evalkit.stats import cluster_sums, equivalence_p, holm, sign_flip_p_of_sums
from evalkit.tasks.draws import id_in_data

if TYPE_CHECKING:
    import numpy as np

# A different prompt or blanked images may be what the comparison is about; the heading of each table names them.
PROMPT_PARTS = frozenset({"prompt", "image", "answers", *PROMPT_DIGESTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """A run and its paired differences from the first run, one per metric."""

    run: RunScores
    pairs: tuple[Paired, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDifference:
    """The paired difference of a metric within one slice, `tag=value`.

    paired.interval: simultaneous over all slices, metrics and runs that are shown together (Bonferroni).  q: the p
    value by sign flips, with the false discovery rate held over the same family.  shrunken: the difference drawn
    towards the mean of the tag's slices; None for slices that are not small.
    """

    slice: str
    paired: Paired
    q: AdjustedP
    shrunken: float | None = None

    @property
    def too_few(self) -> bool:
        """Whether the slice is on too few clusters for any statement."""
        return self.paired.n_clusters < FEWEST_CLUSTERS


def compare(
    runs: Sequence[RunScores], metrics: Sequence[str] | None, *, perturbed: bool = False
) -> list[RunComparison]:
    """Paired differences of each run after the first.

    Args:
        runs: two or more; the first is the reference.
        metrics: `PROTOCOL METRIC` each; None for every metric that all runs have.
        perturbed: the others are over changed copies of the first one's rows (`check_perturbed`): the data may differ.

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
    allowed = PROMPT_PARTS | {"data_sha256", "split"} if perturbed else PROMPT_PARTS
    for other in runs[1:]:
        if found := incompatibilities(first, other, wanted, allowed):
            raise DataError(f"Runs are not comparable: {first.origin} and {other.origin}: {'; '.join(found)}.")
    return [RunComparison(run=other, pairs=tuple(pair(first, other, k, LEVEL) for k in wanted)) for other in runs[1:]]


def check_perturbed(runs: Sequence[RunScores], folders: Sequence[Path]) -> None:
    """Check that a sample of the same id has the same reference answers in every run.

    Raises:
        ConfigError: an entry is no folder of a run, or nothing is changed in its rows.  DataError: the answers differ,
            so that the rows are no pair.
    """
    golds = []
    for run, folder in zip(runs, folders, strict=True):
        path = folder / "predictions.jsonl"
        if not path.is_file():
            raise ConfigError(f"perturbed=true compares folders of runs, and {folder} has no predictions.jsonl.")
        golds.append(references_at(path, frozenset(run.ids)))
    for run, other in zip(runs[1:], golds[1:], strict=True):
        if _same_input(runs[0].header, run.header):
            raise ConfigError(
                f"perturbed=true compares an original with a copy whose questions or images are changed, and "
                f"{runs[0].origin} and {run.origin} are over the same ones. Give the perturbed run, or leave out "
                "perturbed=true."
            )
        differing = [i for i in runs[0].ids if i in other and other[i] != golds[0].get(i)]
        if differing:
            i = differing[0]
            raise DataError(
                f"{runs[0].origin} and {run.origin} are no original and its perturbed copy: {len(differing)} samples "
                f"have other reference answers, such as {i!r} ({golds[0].get(i)} and {other[i]}). Rows are paired by "
                "their id; give both sets the same ids, or the same files in the same order."
            )


def _same_input(one: RunHeader, two: RunHeader) -> bool:
    """Whether two runs are known to be over the same questions and images."""
    pictures = [(h.image, h.images_sha256) for h in (one, two)]
    return one.data_sha256 == two.data_sha256 and pictures[0] == pictures[1]


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
    return slices_of(first, [second], keys, samples)[0]


def slices_of(
    first: RunScores, others: Sequence[RunScores], keys: Sequence[MetricKey], samples: Sequence[Sample]
) -> list[list[SliceDifference]]:
    """The paired differences of each other run within each tag value; all of them are one family.

    A slice with every row of a metric is not a part of it: it would count in the family what is shown without slices.
    """
    groups: dict[str, set[str]] = {}
    tags = slice_tags(samples)
    for sample in samples:
        for tag in tags & sample.tags.keys():
            groups.setdefault(f"{tag}={sample.tags[tag]}", set()).add(sample.id)
    parts = []
    for other in others:
        for name in sorted(groups):
            one, two = (run.subset(frozenset(groups[name])) for run in (first, other))
            shared = [k for k in keys if k in one.columns and k in two.columns]
            parts += [(other, name, one, two, k) for k in shared if len(one.rows(k)) < len(first.rows(k))]
    level = 1 - (1 - LEVEL) / max(1, len(parts))
    pairs = [pair(one, two, key, level) for _, _, one, two, key in parts]
    sums = (_cluster_sums(one, two, key) for _, _, one, two, key in parts)
    q_values = false_discovery(sign_flip_p_of_sums(sums))
    found: list[list[SliceDifference]] = [[] for _ in others]
    for (other, name, *_), paired, q in zip(parts, pairs, q_values, strict=True):
        found[list(others).index(other)].append(SliceDifference(slice=name, paired=paired, q=q))
    return [_with_shrunken(of_run) for of_run in found]


def _with_shrunken(found: Sequence[SliceDifference]) -> list[SliceDifference]:
    """The differences with the shrunken ones of small slices."""
    families: dict[tuple[str, MetricKey], list[int]] = {}
    for place, d in enumerate(found):
        families.setdefault((d.slice.partition("=")[0], d.paired.key), []).append(place)
    estimates: dict[int, float] = {}
    for places in families.values():
        of_tag = [found[place].paired for place in places]
        drawn = shrunken([p.difference for p in of_tag], [p.standard_error for p in of_tag])
        estimates |= dict(zip(places, drawn, strict=True))
    return [
        replace(d, shrunken=estimates[place]) if d.paired.n_clusters < SHRUNKEN_BELOW else d
        for place, d in enumerate(found)
    ]


def render_slices(found: Sequence[SliceDifference]) -> str:
    """One line per slice and metric: both values, their difference, its interval."""
    width = max((len(d.slice) for d in found), default=0)
    return "\n".join(
        f"  {d.slice:<{width}}  {shown_metric(str(d.paired.key))}  "
        f"{' -> '.join(f'{percent(v):>6}' for v in d.paired.table_values)}  "
        f"{percent(d.paired.difference, signed=True):>6} {_of_slice(d)}  {_counts(d.paired)}{_worst_case(d.paired)}"
        for d in found
    )


def _of_slice(d: SliceDifference) -> str:
    if d.too_few:
        return f"too few images ({d.paired.n_clusters})"
    drawn = "" if d.shrunken is None else f" shrunken {percent(d.shrunken, signed=True)}"
    return f"{_bounds(d.paired)} q{d.q.text}{drawn}"


def slices_heading(found: Sequence[Sequence[SliceDifference]], cluster: str) -> str:
    """What the lines of slices are, and the family of their adjustment."""
    n = sum(map(len, found))
    if not n:
        return "slices: none, as no tag parts the rows of a metric"
    return (
        f"slices: {n} comparisons are one family; intervals hold together with 95 % (Bonferroni, clustered by "
        f"{cluster}), q: sign flips, false discovery rate (Benjamini-Hochberg); shrunken: drawn towards the mean of "
        f"the tag's slices, where a slice has fewer than {SHRUNKEN_BELOW} clusters; below {FEWEST_CLUSTERS}: too few "
        "images"
    )


def render(results: Sequence[RunComparison], first: RunScores, flips: int, margin: float | None = None) -> str:
    """The comparison as text: a table per run, then its first `flips` changed answers.

    The values are those of the runs' tables; worst cases follow where they differ.

    Args:
        margin: also test whether each difference is within it, as a fraction (`equivalence`).
    """
    parts = []
    same = equivalence(first, results, margin) if margin is not None else None
    for place, (result, of_run) in enumerate(zip(results, p_values(first, results), strict=True)):
        names = [f"{run.header.model} ({run.header.run_id}, image {run.header.image})" for run in (result.run, first)]
        heading = f"percent, 95 % interval clustered by {first.cluster}, p by sign flips, {_family(results)}"
        parts.append(f"{' against '.join(names)}: {heading}")
        width = max(len(shown_metric(str(p.key))) for p in result.pairs)
        parts += [
            f"  {shown_metric(str(p.key)):<{width}}  {' -> '.join(f'{percent(v):>6}' for v in p.table_values)}  "
            f"{percent(p.difference, signed=True):>6} {_bounds(p):<18} p{q.text}  {_counts(p)}{_worst_case(p)}"
            for p, q in zip(result.pairs, of_run, strict=True)
        ]
        if same is not None and margin is not None:
            parts += _equivalence_lines(result, same[place], margin)
        parts += _changed(first, result, flips)
    return "\n".join(parts)


def _family(results: Sequence[RunComparison]) -> str:
    """The family of the adjustment, in words."""
    n = sum(len(result.pairs) for result in results)
    runs = f" of {len(results)} runs" if len(results) > 1 else ""
    return f"Holm over all {n} comparisons{runs}" if n > 1 else "one comparison"


def p_values(first: RunScores, results: Sequence[RunComparison]) -> list[list[AdjustedP]]:
    """p of each difference of each run by sign flips of whole clusters, adjusted by Holm over all of them."""
    sums = (_cluster_sums(first, result.run, p.key) for result in results for p in result.pairs)
    adjusted = iter(holm_over_all(sign_flip_p_of_sums(sums)))
    return [[next(adjusted) for _ in result.pairs] for result in results]


def equivalence(first: RunScores, results: Sequence[RunComparison], margin: float) -> list[list[float]]:
    """p of "the difference is not within the margin" of each metric of each run (TOST), Holm over all of them.

    Raises:
        ConfigError: the margin is not a fraction between 0 and 1.
    """
    check_equivalence_margin(margin)
    p = []
    for result in results:
        for paired in result.pairs:
            one, two, clusters = aligned(first, result.run, paired.key)
            p.append(equivalence_p(two - one, clusters, margin))
    adjusted = iter(holm(p))
    return [[next(adjusted) for _ in result.pairs] for result in results]


def _equivalence_lines(result: RunComparison, p_values: Sequence[float], margin: float) -> list[str]:
    width = max(len(shown_metric(str(p.key))) for p in result.pairs)
    return [
        f"  {shown_metric(str(p.key)):<{width}}  {'equivalent' if q < 1 - LEVEL else 'equivalence not shown'} within "
        f"{percent(margin)} points, p={q:.4f} (two one-sided tests)"
        for p, q in zip(result.pairs, p_values, strict=True)
    ]


def _cluster_sums(first: RunScores, second: RunScores, key: MetricKey) -> np.ndarray[Any, Any]:
    """The sum of a metric's differences in each cluster."""
    one, two, clusters = aligned(first, second, key)
    return cluster_sums(two - one, *clusters)


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


def _flipped(first: RunScores, result: RunComparison) -> list[int]:
    """Positions of the answers whose score changed in some metric.

    A metric over the draws of a sample stands at the first draw; it adds nothing where a draw's own score changed.
    """
    keys = {p.key for p in result.pairs}
    derived = {p.key for p in result.pairs if p.key._replace(metric=p.key.metric.rpartition(".")[0]) in keys}
    own = dict.fromkeys(k for p in result.pairs if p.key not in derived for k in p.flipped)
    named = {id_in_data(first.ids[k]) for k in own} if derived else set()
    over = (k for p in result.pairs if p.key in derived for k in p.flipped)
    return [*own, *dict.fromkeys(k for k in over if k not in own and id_in_data(first.ids[k]) not in named)]


def _changed(first: RunScores, result: RunComparison, limit: int) -> list[str]:
    other = result.run
    place: Mapping[str, int] = {i: k for k, i in enumerate(other.ids)}
    seen = _flipped(first, result)
    lines = [f"  {len(seen)} samples changed their score in some metric"] if seen else ["  no sample changed its score"]
    for k in seen[:limit]:
        old = first.texts[k] if first.texts else "?"
        new = other.texts[place[first.ids[k]]] if other.texts else "?"
        question = first.questions[k] if first.questions else ""
        lines.append(f"    {first.ids[k]} ({first.cluster} {first.image_ids[k]}): {question!r}: {old!r} -> {new!r}")
    return lines
