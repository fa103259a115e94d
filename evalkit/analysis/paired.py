"""Two runs over the same samples: what may be compared, and the paired difference with its interval.

`compare` and `gate` both stand on this page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.analysis.run_scores import ASKED, HEADER, Scored, signature_parts
from evalkit.core.errors import DataError
from evalkit.stats import Interval, cluster_standard_error, group_by_cluster, restricted_interval, restricted_t

# Parts of a signature that may differ: they belong to the model or to the program, and are said, not refused.
MAY_DIFFER = frozenset({"gen", "v"})


def differences(a: Scored, b: Scored, metrics: Sequence[str], allowed: frozenset[str] = frozenset()) -> list[str]:
    """Why two runs may not be compared, in words; empty when they may.

    allowed: parts of header and signature that may differ: what was asked (prompt, image) may be what is compared.
    """
    found = [
        f"{k}: {a.header[k]} against {b.header[k]}" for k in HEADER if k not in allowed and a.header[k] != b.header[k]
    ]
    for k in ASKED:
        one, two = a.header.get(k), b.header.get(k)
        if k not in allowed and None not in (one, two) and one != two:
            found.append(f"{k}: {one} against {two} (`gate prompts=true` says which samples were asked otherwise)")
    if set(a.ids) != set(b.ids):
        only_a, only_b = sorted(set(a.ids) - set(b.ids)), sorted(set(b.ids) - set(a.ids))
        found.append(
            f"samples: {len(only_a)} only in the first {only_a[:3]}, {len(only_b)} only in the second {only_b[:3]}"
        )
    for metric in metrics:
        for run in (a, b):
            if metric in run.refused:
                found.append(f"{metric}: {run.origin}: {run.refused[metric]}")
            elif metric not in run.scores:
                found.append(f"{metric}: not scored in {run.origin}; it has {', '.join(sorted(run.scores))}")
        if metric in a.scores and metric in b.scores:
            found += _signature_differences(metric, a.signatures[metric], b.signatures[metric], allowed)
    return found


def _signature_differences(metric: str, first: str, second: str, allowed: frozenset[str]) -> list[str]:
    one, two = signature_parts(first), signature_parts(second)
    keys = [k for k in dict.fromkeys((*one, *two)) if k not in MAY_DIFFER | allowed]
    return [f"{metric}, {k}: {one.get(k, '–')} against {two.get(k, '–')}" for k in keys if one.get(k) != two.get(k)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The difference second - first of one metric over the same rows.

    An unscored row counts as 0 on its side, so that failing can never help.  n_worse and n_better are the discordant
    rows, `flipped` their positions in the first run.  p_worse: one-sided p of a difference this low or lower were the
    two equal.  standard_error: under the difference that was found; NaN for one cluster.
    """

    metric: str
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
    n_unscored: tuple[int, int]
    flipped: tuple[int, ...]


def only(run: Scored, ids: frozenset[str]) -> Scored:
    """The run over some of its samples; metrics that have no row left are dropped."""
    kept = [k for k, i in enumerate(run.ids) if i in ids]
    place = {old: new for new, old in enumerate(kept)}
    rows = {m: tuple(place[k] for k in r if k in place) for m, r in run.rows.items()}
    live = [m for m, r in rows.items() if r]
    return replace(
        run,
        ids=tuple(run.ids[k] for k in kept),
        image_ids=tuple(run.image_ids[k] for k in kept),
        scores={m: tuple(run.scores[m][k] for k in kept) for m in live},
        rows={m: rows[m] for m in live},
        answers=tuple(run.answers[k] for k in kept),
        questions=tuple(run.questions[k] for k in kept) if run.questions else (),
        texts=tuple(run.texts[k] for k in kept) if run.texts else (),
    )


def aligned(a: Scored, b: Scored, metric: str) -> tuple[list[float], list[float], list[str]]:
    """The scores of both runs over the metric's rows, in the first run's order, unscored as 0, and the clusters.

    Raises:
        DataError: the metric has no rows, or not the same ones on both sides.
    """
    rows = a.rows[metric]
    if not rows:
        raise DataError(f"{metric} has no rows in {a.origin}, so there is nothing to compare.")
    if {a.ids[k] for k in rows} != {b.ids[k] for k in b.rows[metric]}:
        raise DataError(f"{metric} is over other rows in {a.origin} than in {b.origin}.")
    place = {i: k for k, i in enumerate(b.ids)}
    one = [a.scores[metric][k] or 0.0 for k in rows]
    two = [b.scores[metric][place[a.ids[k]]] or 0.0 for k in rows]
    return one, two, [a.image_ids[k] for k in rows]


def pair(a: Scored, b: Scored, metric: str, level: float) -> Paired:
    """The paired difference of a metric with its image-clustered interval at `level` (two-sided).

    Raises:
        DataError: the metric has no rows, or not the same ones on both sides.
    """
    one, two, clusters = aligned(a, b, metric)
    rows = a.rows[metric]
    deltas = [y - x for x, y in zip(one, two, strict=True)]
    interval = restricted_interval(deltas, clusters, level)
    assert interval is not None
    n = len(rows)
    return Paired(
        metric=metric,
        n=n,
        n_clusters=len(set(clusters)),
        first=sum(one) / n,
        second=sum(two) / n,
        difference=sum(deltas) / n,
        interval=interval,
        standard_error=_standard_error(deltas, clusters),
        p_worse=_p_worse(deltas, clusters),
        n_worse=sum(d < 0 for d in deltas),
        n_better=sum(d > 0 for d in deltas),
        n_unscored=(
            sum(a.scores[metric][k] is None for k in rows),
            sum(b.scores[metric][k] is None for k in b.rows[metric]),
        ),
        flipped=tuple(k for k, d in zip(rows, deltas, strict=True) if d),
    )


def _standard_error(deltas: Sequence[float], clusters: Sequence[str]) -> float:
    return cluster_standard_error(deltas, clusters) if len(set(clusters)) > 1 else float("nan")


def _p_worse(deltas: Sequence[float], clusters: Sequence[str]) -> float:
    """t with clusters - 1 degrees; 1.0 where nothing differs or there is one cluster."""
    from scipy.special import stdtr

    k = len(set(clusters))
    return float(stdtr(k - 1, restricted_t(group_by_cluster(deltas, clusters), 0.0))) if k > 1 and any(deltas) else 1.0
