"""The scoring rules of other harnesses and papers, each small enough to be read in one go."""

from __future__ import annotations

import math
from collections.abc import Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import Mark, RowProtocol, answers_yes_or_no, best_of, references
from evalkit.scoring.text.normalise import lmms, quac, vqa2
from evalkit.scoring.text.overlap import counted_overlap, ngram_precision

_RECALL_IS_CORRECT = 0.75
_ACCURACIES = (
    Metric(name="accuracy"),
    Metric(name="closed_accuracy", rows="closed"),
    Metric(name="open_accuracy", rows="open"),
)


def _everywhere(hit: float) -> dict[str, float]:
    """One value under the name for all rows and those of both types."""
    return dict.fromkeys((metric.name for metric in _ACCURACIES), hit)


class MultiMedEval(RowProtocol):
    """MultiMedEval at d9ac283, task_families.py: sets of cleaned words; closed is right at a recall of 0.4.

    For the gold "no", "not" counts as well.  Closed means that the cleaned gold is yes or no, for every data set.
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
        return answers_yes_or_no(sample, _clean)

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said = _clean(answer)
        return best_of((_multimedeval(said, _clean(gold)) for gold in references(sample)), said)


def _clean(text: str) -> str:
    return vqa2(text.lower())


def _multimedeval(said: str, gold: str) -> dict[str, float]:
    words, wanted = set(said.split()), set(gold.split())
    hits = len(words & wanted)
    precision = hits / len(words) if words else 0.0
    recall = hits / len(wanted) if wanted else 0.0
    closed_wanted = wanted | {"not"} if wanted == {"no"} else wanted
    closed_recall = len(words & closed_wanted) / len(closed_wanted) if closed_wanted else 0.0
    return {
        "bleu_1": _unigram_bleu(said.split(), gold.split()),
        "f1": 2 * (precision * recall) / (precision + recall + 1e-8),
        "recall": recall,
        "closed_accuracy": float(closed_recall >= 0.4),
        "open_recall": recall,
        "open_accuracy": float(recall >= _RECALL_IS_CORRECT),
    }


def _unigram_bleu(said: list[str], gold: list[str]) -> float:
    """torchmetrics' BLEU-1 of one sentence, in double precision where torchmetrics has single."""
    hits, total = ngram_precision(said, gold, 1)
    if not hits:
        return 0.0
    return hits / total * (1.0 if len(said) > len(gold) else math.exp(1 - len(gold) / len(said)))


class MedVLMBench(RowProtocol):
    """MedVLMBench at 6a7142b, eval/vqa.py: closed by substring, open right from a recall of 0.75 on.

    rule: "yesno" for data without labels (VQA-RAD and PathVQA from the hub), "label" for SLAKE.
    Precision, recall, F1 and the odd "exact match" are LLaVA-Med's, over all rows.
    """

    metrics = (
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_accuracy", rows="open"),
        Metric(name="open_recall", rows="open"),
        *(Metric(name=name) for name in ("exact", "recall", "precision", "f1")),
    )

    rule = "yesno"
    norm = "lower/vqa2"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said = answer.lower()
        return best_of((_medvlmbench(said, gold.lower()) for gold in references(sample)), said)


def _medvlmbench(said: str, gold: str) -> dict[str, float]:
    words, wanted = vqa2(said).split(), vqa2(gold).split()
    precision, recall, f1 = counted_overlap(words, wanted)
    return {
        "closed_accuracy": float(gold in said),
        "open_accuracy": float(recall >= _RECALL_IS_CORRECT),
        "open_recall": recall,
        "exact": len(set(words) & set(wanted)) / len(words) if words else 0.0,
        "recall": recall,
        "precision": precision,
        "f1": f1,
    }


class LmmsEval(RowProtocol):
    """lmms-eval's SLAKE task: equality after its normaliser, for open and closed alike; closed by label."""

    metrics = _ACCURACIES

    norm = "lmms"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said = lmms(answer)
        hits = (float(said == lmms(gold)) for gold in references(sample))
        return best_of((_everywhere(hit) for hit in hits), said)


class VqaOfficial(RowProtocol):
    """The exact match of M2I2, MUMC, PubMedCLIP and their line: equality after VQA-v2 cleaning, closed by label."""

    metrics = _ACCURACIES

    norm = "vqa2"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said = _one_line(answer)
        hits = (float(said == _one_line(gold)) for gold in references(sample))
        return best_of((_everywhere(hit) for hit in hits), said)


def _one_line(text: str) -> str:
    return vqa2(text.replace("\n", " ").replace("\t", " ").strip())


class Helm(RowProtocol):
    """VHELM's vqa_rad: exact and quasi-exact match and set F1 over all rows; it knows no closed and open."""

    metrics = (Metric(name="exact_match"), Metric(name="quasi_exact_match"), Metric(name="f1"))

    rule = "none"
    norm = "quac"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        return best_of((_helm(answer, gold) for gold in references(sample)), quac(answer))


def _helm(answer: str, gold: str) -> dict[str, float]:
    said, wanted = set(quac(answer).split()), set(quac(gold).split())
    hits = len(said & wanted)
    f1 = 1 / (0.5 / (hits / len(said)) + 0.5 / (hits / len(wanted))) if hits else 0.0
    return {
        "exact_match": float(bool(answer) and answer.strip() == gold.strip()),
        "quasi_exact_match": float(bool(answer) and quac(answer) == quac(gold)),
        "f1": f1,
    }


class Cares(RowProtocol):
    """CARES' yes/no script: the first sentence says no if one of its words is No, no or not, else yes.

    The gold answer is read by the same rule.  rule: "yesno" (rows whose gold is yes or no) or "label".
    """

    metrics = (Metric(name="closed_accuracy", rows="closed"),)

    rule = "yesno"
    norm = "first-sentence"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        denied = _denies(answer)
        hits = (float(denied == _denies(gold)) for gold in references(sample))
        return best_of(({"closed_accuracy": hit} for hit in hits), "no" if denied else "yes")


def _denies(text: str) -> bool:
    words = text.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"}.isdisjoint(words)
