"""ColonINST's official evaluator, as it scores, and evalkit's diagnostics beside it.

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
from evalkit.scoring.row_protocol import Mark, RowProtocol, one_of

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
    """The first metric of each task but CAP is the official one.

    CLS, REG: accuracy, equality after lower-casing both and taking `<|endoftext|>` out of the prediction, no
    stripping; stripped_accuracy, the same after any end mark, outer white space and punctuation are off too;
    unparsable_rate, the share that is then none of the task's labels; macro accuracy and F1 over the classes; the
    best constant answer.
    REC: mean_iou, 0 for whatever is not a box; accuracy_at_iou_0.5, IoU above 0.5 (0.5 itself is a miss, as there);
    unparsable_rate, the share that is not a box.
    CAP: sentence BLEU, ROUGE-L and token F1 over lower-cased words, evalkit's own.

    task: "cls", "reg", "rec" or "cap".  labels: the answers that cls and reg can have.
    """

    rule = "none"
    rules = ("none",)
    norm = "lower"

    def __init__(self, *, task: str, labels: Mapping[str, Sequence[str]], **common: Any) -> None:
        super().__init__(**common)
        self.task = one_of("task", task, KINDS)
        self.metrics = METRICS[self.task]
        self.labels = frozenset(tidy(label) for label in labels.get(self.task, ()))
        if self.task in ("cls", "reg") and not self.labels:
            raise ConfigError(f"protocol {self.name}: no labels for {self.task}; unparsable_rate needs them.")

    def settings(self) -> dict[str, str]:
        official = {"cls": "equality", "reg": "equality", "rec": "iou+1px", "cap": "not-scored-by-authors"}
        return super().settings() | {"match": official[self.task], "strip": "no"}

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        if (kind := sample.tags.get("task")) != self.task:
            raise ConfigError(
                f"protocol {self.name} is set to ColonINST's {self.task}, sample {sample.id} is of {kind or 'no'} task "
                "of ColonINST. Choose it through task=coloninst-cls, -reg, -rec or -cap."
            )
        said = answer.lower().replace(END, "")
        reference = sample.references[0].lower()
        if self.task == "rec":
            return _box_marks(said, reference)
        if self.task == "cap":
            return _caption_marks(_SPECIAL.sub("", said), reference)
        bare = tidy(said)
        return {
            "accuracy": Mark(value=float(said == reference), extracted=said),
            "stripped_accuracy": Mark(value=float(bare == tidy(reference)), extracted=bare),
            "unparsable_rate": Mark(value=float(bare not in self.labels)),
        }


def tidy(text: str) -> str:
    """Lower case, without end marks, outer punctuation and needless white space.

    >>> tidy(" Polyp.</s>"), tidy("UCG0-1")
    ('polyp', 'ucg0-1')
    """
    return " ".join(_SPECIAL.sub("", text.lower()).split()).strip(string.punctuation + " ")


def _box_marks(said: str, reference: str) -> dict[str, Mark]:
    box, gold = read_box(said), read_box(reference)
    value = iou(box, gold) if box and gold else 0.0
    read = "" if box is None else str(list(box))
    return {
        "mean_iou": Mark(value=value, extracted=read, note="" if gold else "the reference is not a box"),
        "accuracy_at_iou_0.5": Mark(value=float(value > 0.5)),
        "unparsable_rate": Mark(value=float(box is None)),
    }


def _caption_marks(said: str, reference: str) -> dict[str, Mark]:
    words, gold = _WORD.findall(said), _WORD.findall(reference)
    values = {f"bleu_{n}": value for n, value in enumerate(cumulative_bleu(words, gold), start=1)}
    values |= {"rouge_l": rouge_l(words, gold), "token_f1": token_f1(words, gold)}
    return {name: Mark(value=value) for name, value in values.items()}
