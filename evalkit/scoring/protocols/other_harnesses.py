"""Scoring rules of other harnesses and papers, each short enough for a shared module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import (
    ACCURACIES,
    MetricResult,
    RowProtocol,
    all_accuracies,
    answers_yes_or_no,
    best_of,
    closed_unless_open,
    one_of,
    references,
)
from evalkit.scoring.text.normalise import lmms, quac, vqa2
from evalkit.scoring.text.overlap import counted_overlap, ngram_precision

_RECALL_IS_CORRECT = 0.75


class MultiMedEval(RowProtocol):
    """MultiMedEval at d9ac283, task_families.py: sets of cleaned words; closed is correct from a recall of 0.4.

    For the gold "no", the word "not" counts as well.  A row is closed if the cleaned gold is yes or no.
    """

    metrics = (
        Metric(name="bleu_1"),
        Metric(name="f1"),
        Metric(name="recall"),
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_recall", rows="open"),
        Metric(name="open_accuracy", rows="open"),
    )

    rule = "yesno"
    norm = "vqa2"

    def is_closed(self, sample: Sample) -> bool | None:
        return answers_yes_or_no(sample, self.gold_form)

    def gold_form(self, gold: str) -> str:
        # The authors strip the gold alone before cleaning, which decides whether a mark at its end is beside a space.
        return _clean(gold.strip())

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = _clean(answer)
        return best_of((_multimedeval(predicted, self.gold_form(gold)) for gold in references(sample)), predicted)


def _clean(text: str) -> str:
    return vqa2(text.lower())


def _multimedeval(predicted: str, gold: str) -> dict[str, float]:
    words, gold_words = set(predicted.split()), set(gold.split())
    hits = len(words & gold_words)
    precision = hits / len(words) if words else 0.0
    recall = hits / len(gold_words) if gold_words else 0.0
    closed_gold = gold_words | {"not"} if gold_words == {"no"} else gold_words
    closed_recall = len(words & closed_gold) / len(closed_gold) if closed_gold else 0.0
    return {
        "bleu_1": _unigram_bleu(predicted.split(), gold.split()),
        "f1": 2 * (precision * recall) / (precision + recall + 1e-8),
        "recall": recall,
        "closed_accuracy": float(closed_recall >= 0.4),
        "open_recall": recall,
        "open_accuracy": float(recall >= _RECALL_IS_CORRECT),
    }


def _unigram_bleu(predicted: list[str], gold: list[str]) -> float:
    """torchmetrics' BLEU-1 of one sentence, in double precision (torchmetrics uses single)."""
    hits, total = ngram_precision(predicted, gold, 1)
    if not hits:
        return 0.0
    return hits / total * (1.0 if len(predicted) > len(gold) else math.exp(1 - len(gold) / len(predicted)))


class MedVLMBench(RowProtocol):
    """MedVLMBench at 6a7142b, eval/vqa.py: closed rows by substring, an open answer is correct from a recall of 0.75.

    rule: "yesno" for data without labels (VQA-RAD and PathVQA from the hub), whose gold is not stripped before the
    test; "label" for SLAKE, where a row without a label is closed.
    Precision, recall, F1 and the unusual "exact match" are those of LLaVA-Med, over all rows.
    """

    metrics = (
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_accuracy", rows="open"),
        Metric(name="open_recall", rows="open"),
        *(Metric(name=name, is_secondary=True) for name in ("exact", "recall", "precision", "f1")),
    )

    rule = "yesno"
    norm = "lower/vqa2"

    def is_closed(self, sample: Sample) -> bool | None:
        return answers_yes_or_no(sample, str.lower) if self.rule == "yesno" else closed_unless_open(sample)

    def gold_form(self, gold: str) -> str:
        return vqa2(gold.lower())

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = answer.lower()
        return best_of((_medvlmbench(predicted, gold.lower()) for gold in references(sample)), predicted)


def _medvlmbench(predicted: str, gold: str) -> dict[str, float]:
    words, gold_words = vqa2(predicted).split(), vqa2(gold).split()
    precision, recall, f1 = counted_overlap(words, gold_words)
    return {
        "closed_accuracy": float(gold in predicted),
        "open_accuracy": float(recall >= _RECALL_IS_CORRECT),
        "open_recall": recall,
        "exact": len(set(words) & set(gold_words)) / len(words) if words else 0.0,
        "recall": recall,
        "precision": precision,
        "f1": f1,
    }


class LmmsEval(RowProtocol):
    """lmms-eval's SLAKE task: equality after its normaliser, for open and closed rows; closed by label."""

    metrics = ACCURACIES

    norm = "lmms"

    def gold_form(self, gold: str) -> str:
        return lmms(gold)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = lmms(answer)
        hits = (float(predicted == lmms(gold)) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), predicted)


class VqaOfficial(RowProtocol):
    """Exact match of M2I2, MUMC, PubMedCLIP and their successors: equality after VQA-v2 cleaning; closed by label."""

    metrics = ACCURACIES

    norm = "vqa2"

    def gold_form(self, gold: str) -> str:
        return one_line(gold)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = one_line(answer)
        hits = (float(predicted == one_line(gold)) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), predicted)


def one_line(text: str) -> str:
    """A text on one line after VQA-v2 cleaning, as M2I2's evaluation has it."""
    return vqa2(text.replace("\n", " ").replace("\t", " ").strip())


class Helm(RowProtocol):
    """VHELM's vqa_rad: exact match, quasi-exact match and set F1 over all rows, closed or open.

    golds: "as-stored", or "lower-case" for a data set that the authors' code reads from a copy in lower case
    (VQA-RAD): a copy with capitals then gives the same figures.
    """

    metrics: tuple[Metric, ...] = (
        Metric(name="exact_match"),
        Metric(name="quasi_exact_match"),
        Metric(name="f1"),
    )

    rule = "none"
    norm = "quac"

    def __init__(self, *, golds: str = "as-stored", **common: Any) -> None:
        super().__init__(**common)
        self.golds = one_of("golds", golds, ("as-stored", "lower-case"))

    def settings(self) -> dict[str, str]:
        return super().settings() | ({"golds": self.golds} if self.golds != "as-stored" else {})

    def gold_form(self, gold: str) -> str:
        return quac(gold)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        golds = (gold.lower() if self.golds == "lower-case" else gold for gold in references(sample))
        return best_of((_helm(answer, gold) for gold in golds), quac(answer))


def _helm(answer: str, gold: str) -> dict[str, float]:
    answer = answer.strip()
    words, gold_words = set(quac(answer).split()), set(quac(gold).split())
    hits = len(words & gold_words)
    f1 = 1 / (0.5 / (hits / len(words)) + 0.5 / (hits / len(gold_words))) if hits else 0.0
    return {
        "exact_match": float(bool(answer) and answer == gold.strip()),
        "quasi_exact_match": float(bool(answer) and quac(answer) == quac(gold)),
        "f1": f1,
    }


class Cares(RowProtocol):
    """CARES' yes/no script: the answer means no if a word of its first sentence is No, no or not, else yes.

    The gold answer is read by the same rule.  rule: "yesno" (rows whose gold is yes or no) or "label".
    """

    metrics = (Metric(name="closed_accuracy", rows="closed"),)

    rule = "yesno"
    norm = "first-sentence"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        negative = _is_negative(answer)
        hits = (float(negative == _is_negative(gold)) for gold in references(sample))
        return best_of(({"closed_accuracy": hit} for hit in hits), "no" if negative else "yes")


def _is_negative(text: str) -> bool:
    words = text.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"}.isdisjoint(words)
