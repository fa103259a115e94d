"""The option to which the model itself gives the highest log-probability; nothing is read out of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.option_scores import NORMALISATIONS, highest, normalised
from evalkit.core.types import CHOICE, CLOSED, LETTERS, Metric, Prediction, Sample, Score
from evalkit.scoring.choice_protocol import METRIC, RIGHT, WRONG
from evalkit.scoring.row_protocol import MetricResult, RowKind, RowProtocol, one_of

CLOSED_METRIC = "closed_accuracy"
NO_SCORES = "the answer has no log-probabilities of options; scoring=loglikelihood stores them"


class LogLikelihoodChoice(RowProtocol):
    """Right when a right option has the highest score, of multiple-choice rows and of yes/no rows that were asked so.

    scoring: the setting of the runs whose answers it scores.
    normalise: what an option's score is, see `evalkit.core.option_scores.NORMALISATIONS`.  Two options whose scores
    differ by at most 0.00001 at the top are a tie, which is unscored.
    """

    metrics = (Metric(name=METRIC, rows="choice"), Metric(name=CLOSED_METRIC, rows="closed"))
    rule = "label"
    rules = ("label",)
    reads_letters = True
    # It scores no text, so that baselines which answer with one have no value.
    reads_options = True

    def __init__(self, *, normalise: str = "sum", scoring: str = "loglikelihood", **common: Any) -> None:
        super().__init__(**common)
        one_of("scoring", scoring, ("loglikelihood",))
        self.normalise = one_of("normalise", normalise, tuple(NORMALISATIONS))
        self.norm = self.normalise

    def row_kind(self, sample: Sample) -> RowKind | None:
        return {CHOICE: "choice", CLOSED: "closed"}.get(sample.answer_type or "")  # type: ignore[return-value]

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        del sample, answer
        raise NotImplementedError("options are scored by their log-probabilities, in `score`")

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        kind = self.row_kind(sample)
        metric = {"choice": METRIC, "closed": CLOSED_METRIC}.get(kind or "")
        if metric is None:
            return []
        if prediction.text is None:
            reason = str(prediction.error) if prediction.is_cut else f"error: {prediction.error}"
            result = MetricResult(value=None, reason=reason)
        elif not prediction.options:
            result = MetricResult(value=None, reason=NO_SCORES)
        else:
            result = self._result(sample, prediction)
        return [
            Score(
                sample_id=sample.id,
                protocol=self.name,
                metric=metric,
                value=result.value,
                extracted=result.extracted,
                reason=result.reason,
            )
        ]

    def _result(self, sample: Sample, prediction: Prediction) -> MetricResult:
        is_choice = sample.answer_type == CHOICE
        labels = tuple(LETTERS) if is_choice else tuple(option.text for option in prediction.options)
        best = [labels[k] for k in highest(normalised(prediction.options, self.normalise))]
        if len(best) > 1:
            return MetricResult(value=None, reason="tie at the highest score", extracted=",".join(best))
        golds = {reference.strip().rstrip(".").casefold() for reference in sample.references}
        hit = best[0] in sample.letters if is_choice else best[0].casefold() in golds
        return MetricResult(value=RIGHT if hit else WRONG, extracted=best[0])
