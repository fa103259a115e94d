"""LLaVA-Med v1.0 and its descendants: closed rows by substring, open rows by token recall (arXiv 2306.00890)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.remembered import remembered
from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import (
    MetricResult,
    RowProtocol,
    answers_yes_or_no,
    best_of,
    labelled_closed,
    one_of,
    references,
)
from evalkit.scoring.text.normalise import strip_role, vqa2
from evalkit.scoring.text.overlap import METHOD1_EPSILON, Overlap, counted_overlap, sentence_bleu

_BLEU = ("bleu", "bleu_1", "bleu_2", "bleu_3")
_OPEN = tuple(
    Metric(name=name, rows="open", is_secondary=name != "open_recall")
    for name in ("open_recall", "open_precision", "open_f1", "open_exact", *_BLEU)
)
_CLOSED = Metric(name="closed_accuracy", rows="closed")
_DROPPED = "left out of the denominator: it says yes or no, but not the gold answer"


class LlavaMed(RowProtocol):
    """The three scoring scripts that LLaVA-Med has released.

    match: "substring" (run_eval_batch.py, which made the published table): correct if the normalised gold is a
    substring of the normalised answer.  "substring-and-yes-no" (run_eval.py): in addition the answer must contain
    "yes" or "no" as a substring, even inside "abnormal".  "misses-dropped" (run_eval.py before 12 December 2023): the
    same, but an answer that contains yes or no and not the gold is not counted at all, so the denominator shrinks.
    strip_role: remove "Assistant:" from the answer first; the authors do not.

    Both texts are lower-cased and normalised; the overlap metrics normalise a second time, which matters only beyond
    32 full stops.  `open_exact` is the script's "exact match": the number of distinct gold words in the answer,
    divided by the answer's length in words.  With several references each metric takes the best of them.
    """

    norm = "vqa2"

    def __init__(self, *, match: str = "substring", strip_role: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.match = one_of("match", match, ("substring", "substring-and-yes-no", "misses-dropped"))
        self.strip_role = strip_role
        batch = (
            Metric(name="open_accuracy", rows="open", is_secondary=True),
            Metric(name="closed_recall", rows="closed", is_secondary=True),
        )
        self.metrics = (_CLOSED, *_OPEN, *(batch if match == "substring" else ()))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"match": self.match, "role": "stripped" if self.strip_role else "kept"}

    def gold_form(self, gold: str) -> str:
        return vqa2(gold.lower())

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = vqa2((strip_role(answer) if self.strip_role else answer).lower())
        golds = [vqa2(reference.lower()) for reference in references(sample)]
        if not self.is_closed(sample):
            return best_of((open_metrics(predicted, gold) for gold in golds), predicted)
        results = best_of(({"closed_recall": _overlap(predicted, gold).recall} for gold in golds), predicted)
        return results | {"closed_accuracy": self._closed(predicted, golds)}

    def _closed(self, predicted: str, golds: list[str]) -> MetricResult:
        hit = any(gold in predicted for gold in golds)
        has_yes_or_no = "yes" in predicted or "no" in predicted
        if self.match == "misses-dropped" and has_yes_or_no and not hit:
            return MetricResult(value=None, reason=_DROPPED, extracted=predicted)
        return MetricResult(value=float(hit and (self.match == "substring" or has_yes_or_no)), extracted=predicted)


class NoCandi(RowProtocol):
    """`run_eval_nocandi.py`, the variant used by MedTrinity and Med-MoE; not by the authors of LLaVA-Med.

    The outer normalisation is left out: closed rows are matched by a raw substring in lower case, BLEU is computed
    over raw words, and its single orders are smoothed (method 1).  A row without any label counts as open.
    """

    metrics = (
        _CLOSED,
        *(Metric(name=f"closed_{name}", rows="closed", is_secondary=True) for name in ("recall", "precision", "f1")),
        *_OPEN,
    )

    norm = "lower/vqa2"

    def is_closed(self, sample: Sample) -> bool | None:
        return labelled_closed(sample) if sample.answer_type else False

    def gold_form(self, gold: str) -> str:
        return vqa2(gold.lower())

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted, golds = answer.lower(), [reference.lower() for reference in references(sample)]
        if not self.is_closed(sample):
            return best_of((open_metrics(predicted, gold, METHOD1_EPSILON) for gold in golds), predicted)
        return best_of((_closed_metrics(predicted, gold) for gold in golds), predicted)


class MedEval(RowProtocol):
    """med_eval (Stanford): the letters of yes or no anywhere in the answer, else F1 and recall of LLaVA-Med.

    A row is closed where the gold is yes or no as it is written; an outer space makes it open.
    """

    metrics = (_CLOSED, Metric(name="open_f1", rows="open"), Metric(name="open_recall", rows="open"))

    rule = "yesno"
    norm = "lower/vqa2"

    def is_closed(self, sample: Sample) -> bool | None:
        return answers_yes_or_no(sample, str.lower)

    def gold_form(self, gold: str) -> str:
        return vqa2(gold.lower())

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted, golds = answer.lower(), [reference.lower() for reference in references(sample)]
        if self.is_closed(sample):
            return best_of(({"closed_accuracy": float(gold in predicted)} for gold in golds), predicted)
        overlaps = (_overlap(predicted, gold) for gold in golds)
        return best_of(({"open_f1": o.f1, "open_recall": o.recall} for o in overlaps), predicted)


def _closed_metrics(predicted: str, gold: str) -> dict[str, float]:
    precision, recall, f1 = _overlap(predicted, gold)
    hit = float(gold in predicted)
    return {"closed_accuracy": hit, "closed_precision": precision, "closed_recall": recall, "closed_f1": f1}


def _words(normalised: str) -> list[str]:
    return vqa2(normalised).split()


def _overlap(predicted: str, gold: str) -> Overlap:
    return counted_overlap(_words(predicted), _words(gold))


@remembered
def open_metrics(predicted: str, gold: str, epsilon: float | None = None) -> Mapping[str, float]:
    """Open metrics of one answer against one gold answer, both lower-cased and, for LLaVA-Med itself, normalised.

    Cached, because three protocols need the same values.

    epsilon: smoothing of the single-order BLEU values (None or 0.1); `bleu` itself is never smoothed.
    """
    words, gold_words = _words(predicted), _words(gold)
    precision, recall, f1 = counted_overlap(words, gold_words)
    values = {"open_precision": precision, "open_recall": recall, "open_f1": f1}
    values["open_exact"] = len(set(gold_words) & set(words)) / len(words) if words else 0.0
    values["open_accuracy"] = float(gold in predicted)
    raw_words, raw_gold = predicted.split(), gold.split()
    if epsilon is None:
        return values | sentence_bleu(raw_words, raw_gold, _BLEU)
    values |= sentence_bleu(raw_words, raw_gold, _BLEU[:1])
    return values | sentence_bleu(raw_words, raw_gold, _BLEU[1:], epsilon=epsilon)
