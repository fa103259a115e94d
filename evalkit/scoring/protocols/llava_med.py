"""The counting of LLaVA-Med v1.0: closed by substring, open by token recall (Li et al. 2023, arXiv 2306.00890)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import Mark, RowProtocol, best_of, labelled_closed, one_of, references
from evalkit.scoring.text.normalise import CACHE, strip_role, vqa2
from evalkit.scoring.text.overlap import METHOD1_EPSILON, Overlap, counted_overlap, sentence_bleu

_BLEU = ("bleu", "bleu_1", "bleu_2", "bleu_3")
_OPEN = tuple(
    Metric(name=name, rows="open") for name in ("open_recall", "open_precision", "open_f1", "open_exact", *_BLEU)
)
_CLOSED = Metric(name="closed_accuracy", rows="closed")
_DROPPED = "left out of the denominator: it says yes or no, but not the gold answer"


class LlavaMed(RowProtocol):
    """The three counting scripts that LLaVA-Med has had.

    match: "substring" (run_eval_batch.py, behind the published table): right when the normalised gold is a
    substring of the normalised answer.  "substring-and-yes-no" (run_eval.py): moreover the answer must hold "yes" or
    "no" somewhere, be it in "abnormal".  "misses-dropped" (run_eval.py before 12 December 2023): as that, but an
    answer that holds yes or no and not the gold is not counted at all, so the denominator shrinks.
    strip_role: take "Assistant:" off the answer first; the authors do not.

    Both texts are lower-cased and normalised; the overlap metrics normalise a second time, which matters only beyond
    32 full stops.  `open_exact` is what the script calls "exact match": the distinct gold words that occur, divided
    by the answer's length in words.  With several references each metric takes the best of them.
    """

    norm = "vqa2"

    def __init__(self, *, match: str = "substring", strip_role: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.match = one_of("match", match, ("substring", "substring-and-yes-no", "misses-dropped"))
        self.strip_role = strip_role
        batch = (Metric(name="open_accuracy", rows="open"), Metric(name="closed_recall", rows="closed"))
        self.metrics = (_CLOSED, *_OPEN, *(batch if match == "substring" else ()))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"match": self.match, "role": "stripped" if self.strip_role else "kept"}

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said = vqa2((strip_role(answer) if self.strip_role else answer).lower())
        golds = [vqa2(reference.lower()) for reference in references(sample)]
        if not self.is_closed(sample):
            return best_of((open_values(said, gold) for gold in golds), said)
        marks = best_of(({"closed_recall": _overlap(said, gold).recall} for gold in golds), said)
        return marks | {"closed_accuracy": self._closed(said, golds)}

    def _closed(self, said: str, golds: list[str]) -> Mark:
        hit = any(gold in said for gold in golds)
        says_either = "yes" in said or "no" in said
        if self.match == "misses-dropped" and says_either and not hit:
            return Mark(value=None, reason=_DROPPED, extracted=said)
        return Mark(value=float(hit and (self.match == "substring" or says_either)), extracted=said)


class NoCandi(RowProtocol):
    """`run_eval_nocandi.py`, the variant that MedTrinity and Med-MoE report with; not the authors' of LLaVA-Med.

    The outer normalisation is left out: closed is a raw substring in lower case, BLEU sees raw words, and its single
    orders are smoothed (method 1).  A row without any label counts as open.
    """

    metrics = (
        _CLOSED,
        *(Metric(name=f"closed_{name}", rows="closed") for name in ("recall", "precision", "f1")),
        *_OPEN,
    )

    norm = "lower/vqa2"

    def is_closed(self, sample: Sample) -> bool | None:
        return labelled_closed(sample) if sample.answer_type else False

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        said, golds = answer.lower(), [reference.lower() for reference in references(sample)]
        if not self.is_closed(sample):
            return best_of((open_values(said, gold, METHOD1_EPSILON) for gold in golds), said)
        return best_of((_closed_values(said, gold) for gold in golds), said)


def _closed_values(said: str, gold: str) -> dict[str, float]:
    precision, recall, f1 = _overlap(said, gold)
    hit = float(gold in said)
    return {"closed_accuracy": hit, "closed_precision": precision, "closed_recall": recall, "closed_f1": f1}


def _words(normalised: str) -> list[str]:
    return vqa2(normalised).split()


def _overlap(said: str, gold: str) -> Overlap:
    return counted_overlap(_words(said), _words(gold))


@lru_cache(maxsize=CACHE)
def open_values(said: str, gold: str, epsilon: float | None = None) -> Mapping[str, float]:
    """The open metrics of one answer against one gold, both lower-cased and, for LLaVA-Med itself, normalised.

    Kept, because three protocols ask for the same values.

    epsilon: smoothing of the single-order BLEU values (None or 0.1); `bleu` itself is never smoothed.
    """
    words, wanted = _words(said), _words(gold)
    precision, recall, f1 = counted_overlap(words, wanted)
    values = {"open_precision": precision, "open_recall": recall, "open_f1": f1}
    values["open_exact"] = len(set(wanted) & set(words)) / len(words) if words else 0.0
    values["open_accuracy"] = float(gold in said)
    said_words, gold_words = said.split(), gold.split()
    if epsilon is None:
        return values | sentence_bleu(said_words, gold_words, _BLEU)
    values |= sentence_bleu(said_words, gold_words, _BLEU[:1])
    return values | sentence_bleu(said_words, gold_words, _BLEU[1:], epsilon=epsilon)
