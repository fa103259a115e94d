"""Confidence of a run's answers: risk-coverage, selective accuracy, calibration, and abstention as a third outcome.

The confidence of an answer is its probability under the model: of all tokens that it generated (`confidence=true`), or
of the chosen option among all options (scoring=loglikelihood).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evalkit.core.columns import column_values
from evalkit.core.format import MISSING, interval, percent
from evalkit.core.remembered import remembered
from evalkit.core.types import MetricKey, Prediction, Sample
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import MetricScores, ScoreTable
from evalkit.scoring.text.abstention import abstains
from evalkit.stats import (
    ClusterCodes,
    Interval,
    aurc,
    aurc_interval,
    calibration_bins,
    calibration_error,
    calibration_interval,
    cluster_codes,
    excess_aurc,
    mean_interval,
    risk_curve,
    selected,
)

if TYPE_CHECKING:
    import numpy as np

# The coverages at which the accuracy of the most confident answers is stated.
COVERAGES = (0.5, 0.8, 0.9, 1.0)
# Points of a curve that are stored.
MAX_POINTS = 100
DIGITS = 1


def answer_confidence(prediction: Prediction) -> float | None:
    """The probability of an answer, 0 to 1; None where it is not known."""
    if prediction.error is not None:
        return None
    if prediction.options:
        values = [option.logprob for option in prediction.options]
        return 1 / math.fsum(math.exp(v - max(values)) for v in values)
    return None if prediction.logprob is None else math.exp(prediction.logprob)


def confidence_block(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: ScoreTable,
    protocols: Sequence[ScoringProtocol],
    hidden: AbstractSet[MetricKey] = frozenset(),
) -> dict[str, Any] | None:
    """The block `confidence` of a run's checks; None where no answer has a probability.

    hidden: metrics that are left out.
    """
    import numpy as np

    if not any(column_values(predictions, "options")) and all(
        logprob is None for logprob in column_values(predictions, "logprob")
    ):
        return None
    found = [answer_confidence(p) for p in predictions]
    if all(c is None for c in found):
        return None
    known = np.array([np.nan if c is None else c for c in found])
    is_abstention = remembered(abstains)
    open_ = np.array([p.text is not None and not p.options and is_abstention(p.text) for p in predictions])
    images = cluster_codes(samples, tuple(column_values(samples, "image_id")))
    metrics = [
        _metric(MetricKey(p.name, m.name), scores.metrics[MetricKey(p.name, m.name)], known, open_, images)
        for p in protocols
        for m in p.metrics
        if m.higher_is_better and (key := MetricKey(p.name, m.name)) not in hidden and key in scores.metrics
    ]
    return {
        "n": len(predictions),
        "n_known": int(np.isfinite(known).sum()),
        "metrics": [found for found in metrics if found is not None],
    }


def _metric(
    key: MetricKey,
    scores: MetricScores,
    confidence: np.ndarray[Any, Any],
    abstained: np.ndarray[Any, Any],
    images: ClusterCodes,
) -> dict[str, Any] | None:
    """One metric; None for one without fractions as scores, or without an answer of known confidence."""
    import numpy as np

    places, values = scores.places, scores.values
    scored = values[~np.isnan(values)]
    if not len(scored) or scored.min() < 0 or scored.max() > 1:
        return None
    # An answer that leaves the question open and is right, because the reference does so too, is an answer.
    is_open = abstained[places] & ~(values == 1)
    used = np.flatnonzero(~np.isnan(values) & ~is_open & np.isfinite(confidence[places]))
    if not len(used):
        return None
    own, score, clusters = confidence[places[used]], values[used], images.at(places[used])
    curve = risk_curve(own, 1 - score)
    kept = np.unique(np.linspace(0, len(curve.risk) - 1, min(MAX_POINTS, len(curve.risk))).astype(int))
    record: dict[str, Any] = {
        "protocol": key.protocol,
        "metric": key.metric,
        "n": len(values),
        "n_answered": len(used),
        "n_without_probability": int((~np.isfinite(confidence[places]) & ~is_open).sum()),
        "outcomes": _outcomes(values, is_open, images.at(places)),
        "aurc": _with_interval(aurc(own, 1 - score), aurc_interval(own, 1 - score, clusters)),
        "excess_aurc": excess_aurc(own, 1 - score),
        "selective": [_selected(own, score, clusters, coverage) for coverage in COVERAGES],
        "curve": [[round(float(x[k]), 6) for x in curve] for k in kept],
    }
    if set(scored.tolist()) <= {0.0, 1.0}:
        record |= _calibration(own, score, clusters)
    return record


def _outcomes(
    values: np.ndarray[Any, Any], is_open: np.ndarray[Any, Any], clusters: ClusterCodes
) -> dict[str, dict[str, Any]]:
    """Shares of all samples of a metric: right is the mean score, abstained, unscored, and wrong all that is left."""
    import numpy as np

    unscored = np.isnan(values) & ~is_open
    right = np.where(np.isnan(values) | is_open, 0.0, values)
    shares = {
        "right": right, "wrong": 1.0 - right - is_open - unscored, "abstained": is_open.astype(float),
        "unscored": unscored.astype(float),
    }  # fmt: skip
    return {name: _with_interval(float(share.mean()), mean_interval(share, clusters)) for name, share in shares.items()}


def _selected(own: Any, score: Any, clusters: ClusterCodes, coverage: float) -> dict[str, Any]:
    found = selected(own, score, clusters, coverage)
    return {
        "asked": coverage,
        "coverage": found.coverage,
        "n": found.n,
        "threshold": found.threshold,
        **_with_interval(found.value, found.interval),
    }


def _calibration(own: Any, score: Any, clusters: ClusterCodes) -> dict[str, Any]:
    """Calibration of answers that are right or wrong."""
    gap = own - score
    return {
        "calibration_error": _with_interval(calibration_error(own, score), calibration_interval(own, score, clusters)),
        "overconfidence": _with_interval(float(gap.mean()), mean_interval(gap, clusters, bounded=False)),
        "brier": _with_interval(float((gap * gap).mean()), mean_interval(gap * gap, clusters)),
        "bins": [asdict(b) for b in calibration_bins(own, score)],
    }


def _with_interval(value: float, bounds: Interval | None) -> dict[str, Any]:
    return {"value": value, "low": bounds and bounds.low, "high": bounds and bounds.high}


def render(block: Mapping[str, Any], protocol_name: str) -> str:
    """The block as lines, of the metrics of one protocol; of all where it has none."""
    own = [m for m in block["metrics"] if m["protocol"] == protocol_name] or block["metrics"]
    head = f"{block['n_known']} of {block['n']} answers have a probability"
    lines = [f"{'confidence':<20}{head}"]
    for m in own:
        outcomes = ", ".join(f"{name} {_shown(value)}" for name, value in m["outcomes"].items() if value["value"])
        lines.append(f"{'':<20}{m['protocol']} {m['metric']}, n {m['n']}: {outcomes}")
        parts = [f"{percent(s['coverage'], 0)} % {_shown(s)}" for s in m["selective"]]
        lines.append(f"{'':<20}  value at coverage {', '.join(parts)}; AURC {_shown(m['aurc'])}")
        if "calibration_error" in m:
            lines.append(
                f"{'':<20}  calibration error {_shown(m['calibration_error'])}, "
                f"overconfidence {_shown(m['overconfidence'], signed=True)}"
            )
    return "\n".join(lines)


def _shown(value: Mapping[str, Any], *, signed: bool = False) -> str:
    bounds = interval(value["low"], value["high"], DIGITS, signed=signed)
    return percent(value["value"], DIGITS, signed=signed) + ("" if bounds == MISSING else f" {bounds}")
