"""Two runs over the same samples: whether they are comparable, and the paired difference of a metric with its interval.

`compare`, `gate` and the leaderboards use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis.run_scores import PROMPT_DIGESTS, SHARED_FIELDS, RunScores
from evalkit.core.errors import DataError
from evalkit.core.signature import DATA_PARTS, REASONING, REASONING_KEPT
from evalkit.core.types import MetricKey
from evalkit.stats import (
    ClusterCodes,
    Interval,
    cluster_codes,
    cluster_standard_error,
    group_by_cluster,
    restricted_interval,
    restricted_t,
)

if TYPE_CHECKING:
    import numpy as np

# Parts of a signature that may differ, because they belong to the model or to the program: recorded, not refused.
MAY_DIFFER = frozenset({"gen", "v"})
# Share of samples on which two similar models differ, assumed where no two runs show it.
ASSUMED_DISCORDANCE = 0.10


def incompatibilities(
    a: RunScores, b: RunScores, keys: Sequence[MetricKey], allowed: frozenset[str] = frozenset()
) -> list[str]:
    """The reasons why two runs are not comparable, in words; empty when they are.

    allowed: fields of the header and parts of signatures that may differ.
    """
    one, two = a.header, b.header
    found = [
        f"{k}: {getattr(one, k)} against {getattr(two, k)}"
        for k in SHARED_FIELDS
        if k not in allowed and getattr(one, k) != getattr(two, k)
    ]
    for k in PROMPT_DIGESTS:
        first, second = getattr(one, k), getattr(two, k)
        if k not in allowed and None not in (first, second) and first != second:
            found.append(f"{k}: {first} against {second} (`gate prompts=true` lists the samples whose prompts differ)")
    if set(a.ids) != set(b.ids):
        only_a, only_b = sorted(set(a.ids) - set(b.ids)), sorted(set(b.ids) - set(a.ids))
        found.append(
            f"samples: {len(only_a)} only in the first {only_a[:3]}, {len(only_b)} only in the second {only_b[:3]}"
        )
    for key in keys:
        found += _metric_incompatibilities(a, b, key, allowed)
    return found


def _metric_incompatibilities(a: RunScores, b: RunScores, key: MetricKey, allowed: frozenset[str]) -> list[str]:
    found = []
    for run in (a, b):
        if key in run.refused:
            found.append(f"{key}: {run.origin}: {run.refused[key]}")
        elif key not in run.columns:
            found.append(f"{key}: not scored in {run.origin}; it has {', '.join(sorted(map(str, run.columns)))}")
    one, two = a.columns.get(key), b.columns.get(key)
    if one is None or two is None:
        return found
    if one.higher_is_better != two.higher_is_better:
        found.append(f"{key}: {_direction(one.higher_is_better)} against {_direction(two.higher_is_better)}")
    # Different data are reported once, for the runs.
    ignored = MAY_DIFFER | allowed | (DATA_PARTS if a.header.data_sha256 != b.header.data_sha256 else frozenset())
    different = one.signature.differences(two.signature, ignored=ignored)
    # Whether a model thinks before it answers is its own affair; texts scored with the thought are another quantity.
    different = [d for d in different if d[0] != REASONING or REASONING_KEPT in d[1:]]
    return found + [f"{key}, {part}: {first} against {second}" for part, first, second in different]


def _direction(higher_is_better: bool) -> str:
    return "higher is better" if higher_is_better else "lower is better"


class AlignedScores(NamedTuple):
    """Scores of two runs over the same samples, one per sample, and the images that the samples are about."""

    first: np.ndarray[Any, Any]
    second: np.ndarray[Any, Any]
    clusters: ClusterCodes


def aligned(a: RunScores, b: RunScores, key: MetricKey) -> AlignedScores:
    """The scores of both runs over the metric's samples in the first run's order, unscored ones as the worst case.

    Where one side keeps only some decimals, the other is rounded to them, so that equal scores stay equal.

    Raises:
        DataError: the metric covers no sample, or not the same ones in both runs.
    """
    import numpy as np

    rows = a.rows(key)
    if not len(rows):
        raise DataError(f"{key} covers no sample of {a.origin}, so there is nothing to compare.")
    same_order = a.ids == b.ids and np.array_equal(rows, b.rows(key))
    if not same_order and {a.ids[k] for k in rows} != {b.ids[k] for k in b.rows(key)}:
        raise DataError(f"{key} covers different samples in {a.origin} and in {b.origin}.")
    decimals = min((run.decimals for run in (a, b) if run.decimals is not None), default=None)
    one, two = (_rounded(run.columns[key].worst_case(), decimals) for run in (a, b))
    if not same_order:
        second = dict(zip((b.ids[k] for k in b.rows(key)), two.tolist(), strict=True))
        two = np.array([second[a.ids[k]] for k in rows])
    return AlignedScores(first=one, second=two, clusters=_image_codes(a.image_ids).at(rows))


@lru_cache(maxsize=2)
def _image_codes(image_ids: tuple[str, ...]) -> ClusterCodes:
    """The images as numbers, made once for all metrics of a comparison."""
    return cluster_codes(image_ids, image_ids)


def _rounded(values: np.ndarray[Any, Any], decimals: int | None) -> np.ndarray[Any, Any]:
    import numpy as np

    # Python rounds a decimal number correctly, numpy does not.
    return values if decimals is None else np.array([round(value, decimals) for value in values.tolist()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The difference second - first of one metric over the same samples.

    An unscored sample counts as the worst case in its run, so a failure never improves a value: first, second and all
    that follows from them are worst cases.  first_table, second_table: the values of the runs' tables, which may omit
    unscored samples; None where a table has no value.  interval: of the difference.  n_worse, n_better: samples that
    became worse and better, by the metric's direction; flipped: their positions in the first run.  p_worse: one-sided p
    value of a change this bad or worse if the two runs were equal.  standard_error: of the difference; NaN for one
    cluster.
    """

    key: MetricKey
    higher_is_better: bool
    n: int
    n_clusters: int
    first: float
    second: float
    difference: float
    interval: Interval
    standard_error: float
    p_worse: float
    n_worse: int
    n_better: int
    first_unscored: int
    second_unscored: int
    flipped: tuple[int, ...]
    first_table: float | None = None
    second_table: float | None = None

    @property
    def table_values(self) -> tuple[float | None, float | None]:
        """The values of both runs as their tables show them."""
        first = self.first_table if self.first_unscored else self.first
        return first, self.second_table if self.second_unscored else self.second

    @property
    def worst_case_differs(self) -> bool:
        """Whether a worst case is another value than that of its run's table."""
        return self.table_values != (self.first, self.second)

    @property
    def gain(self) -> float:
        """Improvement of the second run; negative where it is worse."""
        return self.difference if self.higher_is_better else -self.difference

    @property
    def gain_low(self) -> float | None:
        """The lower bound of the gain; None for one cluster."""
        if self.higher_is_better or self.interval.high is None:
            return self.interval.low
        return -self.interval.high

    @property
    def direction(self) -> str:
        """A remark for a line of text: empty, or that lower is better."""
        return "" if self.higher_is_better else ", lower is better"


def pair(a: RunScores, b: RunScores, key: MetricKey, level: float) -> Paired:
    """The paired difference of a metric with its image-clustered interval at `level` (two-sided).

    Raises:
        DataError: the metric covers no sample, or not the same ones in both runs.
    """
    import numpy as np

    one, two, clusters = aligned(a, b, key)
    higher_is_better = a.columns[key].higher_is_better
    deltas = two - one
    gains = deltas if higher_is_better else -deltas
    interval = restricted_interval(deltas, clusters, level)
    assert interval is not None
    return Paired(
        key=key,
        higher_is_better=higher_is_better,
        n=len(deltas),
        n_clusters=clusters.k,
        first=_mean(one),
        second=_mean(two),
        difference=_mean(deltas),
        interval=interval,
        standard_error=_standard_error(deltas, clusters),
        p_worse=_p_worse(gains, clusters),
        n_worse=int((gains < 0).sum()),
        n_better=int((gains > 0).sum()),
        first_unscored=_unscored(a, key),
        second_unscored=_unscored(b, key),
        flipped=tuple(a.rows(key)[np.flatnonzero(deltas)].tolist()),
        first_table=_table_value(a, key, _mean(one)),
        second_table=_table_value(b, key, _mean(two)),
    )


def _table_value(run: RunScores, key: MetricKey, worst_case: float) -> float | None:
    """The value of a metric in its run's table: without unscored samples, unless the protocol counts them as wrong."""
    column = run.columns[key]
    scored = column.scored()
    if len(scored) == column.n or column.signature.get("unscored") == "wrong":
        return worst_case
    return _mean(scored) if len(scored) else None


def _unscored(run: RunScores, key: MetricKey) -> int:
    column = run.columns[key]
    return column.n - len(column.scored())


def _mean(values: np.ndarray[Any, Any]) -> float:
    """The mean of values summed one after another, as in earlier versions; numpy sums in another order."""
    return float(sum(values.tolist()) / len(values))


def _standard_error(deltas: np.ndarray[Any, Any], clusters: ClusterCodes) -> float:
    return cluster_standard_error(deltas, clusters) if clusters.k > 1 else float("nan")


def _p_worse(gains: np.ndarray[Any, Any], clusters: ClusterCodes) -> float:
    """p from t with clusters - 1 degrees of freedom; 1.0 where nothing differs or there is one cluster."""
    from scipy.special import stdtr

    if clusters.k < 2 or not gains.any():
        return 1.0
    return float(stdtr(clusters.k - 1, restricted_t(group_by_cluster(gains, clusters), 0.0)))
