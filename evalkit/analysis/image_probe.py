"""Whether a model's answers depend on the picture: the same questions with and without it, paired.

Reference: a model that answers from the text keeps its right answers when the picture is taken away or exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.analysis.paired import Paired, aligned, pair
from evalkit.analysis.run_scores import RunScores
from evalkit.core.format import MISSING, interval, percent, shown_metric
from evalkit.core.types import MetricKey
from evalkit.stats import Interval, mean_interval

LEVEL = 0.95
# The score of a right answer; a part of it, as recall has, is not right.
RIGHT = 1.0
HEADER = ("images", "value", "change", "worse / better", "right without", "answers changed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEffect:
    """One metric with the own images and with those of one control.

    image: the control, as in `image=`.  paired: control - own images.  n_right: samples with a right answer (a score of
    1) to the own images.  kept: the share of these that are right under the control too, with its interval clustered as
    the run's; None where none is right, or where lower is better.  n_changed: of the metric's samples, those whose
    answers are other texts.
    """

    image: str
    paired: Paired
    n_right: int
    kept: float | None
    kept_interval: Interval | None
    n_changed: int


def image_effects(own: RunScores, controls: Sequence[RunScores], keys: Sequence[MetricKey]) -> list[ImageEffect]:
    """The effect of every control on every metric that the runs have, metric by metric.

    Raises:
        DataError: the runs are not over the same samples.
    """
    shared = [k for k in keys if k in own.columns and own.columns[k].n and all(k in c.columns for c in controls)]
    return [_effect(own, control, key) for key in shared for control in controls]


def _effect(own: RunScores, control: RunScores, key: MetricKey) -> ImageEffect:
    import numpy as np

    paired = pair(own, control, key, LEVEL)
    first, second, clusters = aligned(own, control, key)
    right = np.flatnonzero(first == RIGHT) if paired.higher_is_better else np.array([], dtype=int)
    still = (second[right] == RIGHT).astype(float)
    answers = dict(zip(control.ids, control.answers, strict=True))
    return ImageEffect(
        image=control.header.image,
        paired=paired,
        n_right=len(right),
        kept=float(still.mean()) if len(right) else None,
        kept_interval=mean_interval(still, clusters.at(right), LEVEL) if len(right) else None,
        n_changed=sum(own.answers[k] != answers[own.ids[k]] for k in own.rows(key)),
    )


def table_rows(effects: Sequence[ImageEffect]) -> list[Sequence[str] | None]:
    """Rows for a table under HEADER, in percent: a heading a metric, the own images, the controls; None between."""
    rows: list[Sequence[str] | None] = []
    for effect in effects:
        p = effect.paired
        heading = (shown_metric(str(p.key)), *[""] * (len(HEADER) - 1))
        if heading not in rows:
            rows += [None] if rows else []
            own = ("original", percent(p.first), MISSING, MISSING, f"{effect.n_right} right", MISSING)
            rows += [heading, own]
        rows.append(_row(effect))
    return rows


def _row(effect: ImageEffect) -> Sequence[str]:
    p, kept = effect.paired, effect.kept_interval
    bounds = "" if kept is None else interval(kept.low, kept.high)
    return (
        effect.image,
        percent(p.second),
        f"{percent(p.difference, signed=True)} {interval(p.interval.low, p.interval.high, signed=True)}",
        f"{p.n_worse} / {p.n_better} of {p.n}",
        f"{percent(effect.kept)} {bounds}".strip(),
        f"{effect.n_changed} of {p.n}",
    )


def unscored_text(effects: Sequence[ImageEffect]) -> str:
    """The unscored answers by images, of the metric with the most; "" where every answer is scored."""
    most: dict[str, int] = {}
    for effect in effects:
        for image, n in (("original", effect.paired.first_unscored), (effect.image, effect.paired.second_unscored)):
            most[image] = max(most.get(image, 0), n)
    counts = ", ".join(f"{image} {n}" for image, n in most.items())
    return f"unscored, in the metric with the most: {counts}" if any(most.values()) else ""


def to_json(own: RunScores, controls: Sequence[RunScores], effects: Sequence[ImageEffect]) -> dict[str, Any]:
    """The effects as JSON: fractions, with the runs that they are of."""
    return {
        "probe": "image",
        "level": LEVEL,
        "cluster": own.cluster,
        "runs": {run.header.image: run.header.run_id for run in (own, *controls)},
        "effects": [_effect_record(effect) for effect in effects],
    }


def _effect_record(effect: ImageEffect) -> Mapping[str, Any]:
    p, kept = effect.paired, effect.kept_interval
    return {
        "protocol": p.key.protocol,
        "metric": p.key.metric,
        "image": effect.image,
        "n": p.n,
        "n_clusters": p.n_clusters,
        "original": p.first,
        "value": p.second,
        "original_unscored": p.first_unscored,
        "unscored": p.second_unscored,
        "difference": {"value": p.difference, **asdict(p.interval)},
        "n_worse": p.n_worse,
        "n_better": p.n_better,
        "n_right": effect.n_right,
        "right_without": None if kept is None else {"value": effect.kept, **asdict(kept)},
        "n_changed": effect.n_changed,
    }
