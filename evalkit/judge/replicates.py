"""Disagreement of a judge with itself: the spread over replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.judge.items import Points, mean_points, points_of
from evalkit.judge.journal import JudgmentKey
from evalkit.runs.schema import Judgment


def replicate_spread(judgments: Sequence[Judgment], relative: bool, replicates: int) -> dict[str, Any]:
    """Spread over replicates: standard deviation within an item and order, and the score of each replicate.

    Returns:
        For the key `spread` of judged-NAME.json: replicates, within_item_sd, scores, scores_sd; standard deviations are
        None where there are too few judgments.  Empty without replicates.
    """
    if replicates < 2:
        return {}
    cells: dict[JudgmentKey, list[float]] = {}
    by_replicate: dict[int, dict[str, list[Points]]] = {}
    for judgment in judgments:
        points = points_of(judgment, relative) if judgment.status == "judged" else None
        if points is None:
            continue
        cells.setdefault(JudgmentKey(judgment.sample_id, judgment.order, 0), []).append(points.candidate)
        by_replicate.setdefault(judgment.replicate, {}).setdefault(judgment.sample_id, []).append(points)
    variances = [_variance(v) for v in cells.values() if len(v) > 1]
    scores = [_replicate_score(by_replicate[k], relative) for k in sorted(by_replicate)]
    return {
        "replicates": replicates,
        "within_item_sd": math.sqrt(math.fsum(variances) / len(variances)) if variances else None,
        "scores": scores,
        "scores_sd": math.sqrt(_variance(scores)) if len(scores) > 1 else None,
    }


def _replicate_score(samples: Mapping[str, Sequence[Points]], relative: bool) -> float:
    means = [mean_points(points) for points in samples.values()]
    values = [m.candidate / m.reference if relative else m.reference for m in means]
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
