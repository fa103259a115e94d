"""ColonINST's official evaluator, reproduced exactly, and evalkit's additional diagnostics.

Official: script/multimodal_benchmark/multimodal_evaluator.py of ai4colonoscopy/IntelliScope since 1c3be7b (October
2024).  Its "recall" divides by the four coordinates of the box and is left out; it does not score captions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.core.boxes import iou, read_box
from evalkit.core.errors import ConfigError
from evalkit.core.types import Metric, Sample
from evalkit.scoring.protocols.text_overlap import cumulative_bleu, rouge_l, token_f1
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, one_of

KINDS = ("cls", "reg", "rec", "cap")
END = "<|endoftext|>"
_SPECIAL = re.compile(r"<\|endoftext\|>|<\|im_end\|>|</s>|<eos>")
_WORD = re.compile(r"\w+")

_LABELLED = (
    Metric(name="accuracy"),
    Metric(name="stripped_accuracy"),
    Metric(name="unparsable_rate", higher_is_better=False),
    Metric(name="macro_accuracy", aggregate="macro_accuracy", of="accuracy"),
    Metric(name="macro_f1", aggregate="macro_f1", of="accuracy"),
    Metric(name="constant_answer_baseline", aggregate="constant_answer", of="accuracy"),
)
METRICS = {
    "cls": _LABELLED,
    "reg": _LABELLED,
    "rec": (
        Metric(name="mean_iou"),
        Metric(name="accuracy_at_iou_0.5"),
        Metric(name="unparsable_rate", higher_is_better=False),
    ),
    "cap": (*(Metric(name=f"bleu_{n}") for n in range(1, 5)), Metric(name="rouge_l"), Metric(name="token_f1")),
}


class ColonInst(RowProtocol):
    """Metrics of the four ColonINST tasks.  The first metric of each task except CAP is the official one.

    CLS, REG: accuracy is equality after lower-casing both texts and removing `<|endoftext|>` from the prediction,
    without stripping; stripped_accuracy is the same after also removing every end mark, outer white space and outer
    punctuation; unparsable_rate is the share of answers that then match none of the task's labels; macro accuracy and
    macro F1 are over the classes; constant_answer_baseline is the accuracy of the best constant answer.
    REC: mean_iou, 0 for an answer that is not a box; accuracy_at_iou_0.5, IoU above 0.5 (0.5 itself is a miss, as in
    the official code); unparsable_rate, the share of answers that are not a box.
    CAP: sentence BLEU, ROUGE-L and token F1 over lower-cased words; evalkit's own, the authors do not score captions.

    task: "cls", "reg", "rec" or "cap".  labels: by task, the possible answers of cls and reg.
    """

    rule = "none"
    rules = ("none",)
    norm = "lower"

    def __init__(self, *, task: str, labels: Mapping[str, Sequence[str]], **common: Any) -> None:
        super().__init__(**common)
        self.task = one_of("task", task, KINDS)
        self.metrics = METRICS[self.task]
        self.labels = frozenset(normalise_label(label) for label in labels.get(self.task, ()))
        if self.task in ("cls", "reg") and not self.labels:
            raise ConfigError(
                f"protocol {self.name}: no labels for {self.task}, which unparsable_rate needs. "
                f"List them under labels.{self.task}."
            )

    def settings(self) -> dict[str, str]:
        official = {"cls": "equality", "reg": "equality", "rec": "iou+1px", "cap": "not-scored-by-authors"}
        return super().settings() | {"match": official[self.task], "strip": "no"}

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        if (kind := sample.tags.get("task")) != self.task:
            raise ConfigError(
                f"protocol {self.name} is set to ColonINST's task {self.task}, but sample {sample.id} has the task tag "
                f"{kind!r}. Use it through task=coloninst-cls, -reg, -rec or -cap."
            )
        predicted = answer.lower().replace(END, "")
        reference = sample.references[0].lower()
        if self.task == "rec":
            return _box_results(predicted, reference)
        if self.task == "cap":
            return _caption_results(_SPECIAL.sub("", predicted), reference)
        normalised = normalise_label(predicted)
        return {
            "accuracy": MetricResult(value=float(predicted == reference), extracted=predicted),
            "stripped_accuracy": MetricResult(
                value=float(normalised == normalise_label(reference)), extracted=normalised
            ),
            "unparsable_rate": MetricResult(value=float(normalised not in self.labels)),
        }


def normalise_label(text: str) -> str:
    """Lower case, without end marks and outer punctuation, white space as single spaces.

    >>> normalise_label(" Polyp.</s>"), normalise_label("UCG0-1")
    ('polyp', 'ucg0-1')
    """
    return " ".join(_SPECIAL.sub("", text.lower()).split()).strip(string.punctuation + " ")


def _box_results(predicted: str, reference: str) -> dict[str, MetricResult]:
    box, gold = read_box(predicted), read_box(reference)
    value = iou(box, gold) if box and gold else 0.0
    extracted = "" if box is None else str(list(box))
    return {
        "mean_iou": MetricResult(value=value, extracted=extracted, note="" if gold else "the reference is not a box"),
        "accuracy_at_iou_0.5": MetricResult(value=float(value > 0.5)),
        "unparsable_rate": MetricResult(value=float(box is None)),
    }


def _caption_results(predicted: str, reference: str) -> dict[str, MetricResult]:
    words, gold = _WORD.findall(predicted), _WORD.findall(reference)
    values = {f"bleu_{n}": value for n, value in enumerate(cumulative_bleu(words, gold), start=1)}
    values |= {"rouge_l": rouge_l(words, gold), "token_f1": token_f1(words, gold)}
    return {name: MetricResult(value=value) for name, value in values.items()}
