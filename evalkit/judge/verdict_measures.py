"""Measures of a judge's verdicts against people's: shares with intervals, the accuracy of the run that they imply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.judge.correction import CorrectedAccuracy, corrected_accuracy, effective_size, weighted_share
from evalkit.judge.label_sampling import Sampling
from evalkit.judge.labelled_answers import LabelledAnswer
from evalkit.judge.prediction_powered import JudgedAnswers, LabelledAnswers, prediction_powered_accuracy
from evalkit.stats import Interval, mean_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementMeasure:
    """The value of one measure over n answers, with its 95 % interval; `why`: the reason where there is none."""

    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""


def binary_measures(answers: Sequence[LabelledAnswer], sampling: Sampling) -> list[AgreementMeasure]:
    """Sensitivity, specificity, judged and corrected accuracy; an answer that is partly correct counts as wrong."""
    right = [a for a in answers if a.human == 1.0]
    wrong = [a for a in answers if a.human != 1.0]
    sensitivity = _of("sensitivity", right, [float(a.judge == 1.0) for a in right])
    specificity = _of("specificity", wrong, [float(a.judge != 1.0) for a in wrong])
    measures = [sensitivity, specificity]
    if sampling.right is None:
        return measures
    judged = share("judged_accuracy", [float(v) for v in sampling.right], sampling.images)
    if sampling.refusal or not sampling.right:
        found = CorrectedAccuracy(value=None, why=sampling.refusal or "no answer of the run has a verdict")
    elif sampling.elsewhere:
        found = _corrected(judged, sensitivity, specificity, right, wrong, sampling)
    else:
        labelled = LabelledAnswers(
            [a.human == 1.0 for a in answers],
            [a.judge == 1.0 for a in answers],
            [a.image_id for a in answers],
            [a.weight for a in answers],
        )
        found = prediction_powered_accuracy(JudgedAnswers(sampling.right, sampling.images), labelled)
    corrected = AgreementMeasure(
        measure="corrected_accuracy",
        value=found.value,
        low=found.low,
        high=found.high,
        n=len(sampling.right),
        why=found.why,
    )
    return [*measures, judged, corrected]


def _corrected(
    judged: AgreementMeasure,
    sensitivity: AgreementMeasure,
    specificity: AgreementMeasure,
    right: Sequence[LabelledAnswer],
    wrong: Sequence[LabelledAnswer],
    sampling: Sampling,
) -> CorrectedAccuracy:
    """The judged accuracy corrected by the judge's errors on labelled answers of another run."""
    if sensitivity.value is None or specificity.value is None or judged.value is None:
        return CorrectedAccuracy(value=None, why="labels of correct and of wrong answers are both needed")
    assert sampling.right is not None
    return corrected_accuracy(
        judged.value,
        specificity.value,
        sensitivity.value,
        effective_size([float(v) for v in sampling.right], sampling.images),
        effective_size([float(a.judge != 1.0) for a in wrong], [a.image_id for a in wrong]),
        effective_size([float(a.judge == 1.0) for a in right], [a.image_id for a in right]),
    )


def _of(measure: str, answers: Sequence[LabelledAnswer], values: Sequence[float]) -> AgreementMeasure:
    return share(measure, values, [a.image_id for a in answers], [a.weight for a in answers])


def share(
    measure: str, values: Sequence[float], clusters: Sequence[str], weights: Sequence[float] = ()
) -> AgreementMeasure:
    """The mean of values, weighted where weights differ."""
    if len(set(weights)) > 1 and len(set(values)) > 1:
        found = weighted_share(values, clusters, weights)
        return measured(measure, found.value, found.interval, len(values))
    # Of equal values the mean is that value, whatever the weights, and the interval an exact one.
    value = math.fsum(values) / len(values) if values else None
    return measured(measure, value, mean_interval(values, clusters), len(values))


def measured(measure: str, value: float | None, interval: Interval | None, n: int) -> AgreementMeasure:
    if value is None:
        return AgreementMeasure(measure=measure, value=None, n=n, why="undefined: no such labels, or all are equal")
    if interval is None or interval.low is None or interval.high is None:
        return AgreementMeasure(measure=measure, value=value, n=n, why=interval.method if interval is not None else "")
    return AgreementMeasure(measure=measure, value=value, low=interval.low, high=interval.high, n=n)
