"""MedEvalKit's rule-based scoring (the Lingshu protocol without its judge), as released and as corrected.

Source: alibaba-damo-academy/MedEvalKit at 9b12e3b, utils/utils.py and the three data sets' `cal_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.core.remembered import remembered
from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, best_of, closed_unless_open, references
from evalkit.scoring.text.overlap import Overlap, bleu, set_overlap

_OVERLAP = ("precision", "recall", "f1")
_BLEU = {f"bleu_{n}": (1 / n,) * n for n in (1, 2, 3, 4)}
_ANSWER_MARKS = (
    *("**answer**:", "**answer**", "*answer*:", "**answer:**"),
    *("answer is", "answer:", "答案:", "final answer", "final answer is"),
)
_AUTHORS_RAISE = "the authors' code raises on an answer without words; counted as wrong"


class MedEvalKit(RowProtocol):
    """MedEvalKit as released, with its judge off.

    rule: "yesno" is used for VQA-RAD and PathVQA: a row is closed if the gold is yes or no, and correct if exactly one
    of the substrings yes and no occurs and it is the gold.  "label" is used for SLAKE: closed by the row's label,
    and where it has none; the yes/no rule then applies only to a gold in lower case, and everything else needs equality
    of the whole text.

    `accuracy` over all rows adds closed hits and exact open matches.  The values that it prints as precision, recall
    and F1 are in fact F1, precision and recall; they are given here under both names.
    """

    metrics = (
        Metric(name="accuracy"),
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_exact_match", rows="open"),
        *(Metric(name=f"open_{name}", rows="open", is_secondary=True) for name in _OVERLAP),
        *(Metric(name=f"open_printed_{name}", rows="open", is_secondary=True) for name in _OVERLAP),
        *(Metric(name=name, rows="open", is_secondary=True) for name in _BLEU),
    )

    rule = "yesno"
    norm = "mek"

    def is_closed(self, sample: Sample) -> bool | None:
        return closed_unless_open(sample) if self.rule == "label" else super().is_closed(sample)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        raw = unwrap(answer)
        predicted = raw.lower().strip() if self.rule == "yesno" else raw
        golds = [gold.lower().strip() if self.rule == "yesno" else gold for gold in references(sample)]
        if self.is_closed(sample) is not False:
            hits = (float(self._closed_hit(predicted, gold)) for gold in golds)
            return best_of(({"accuracy": hit, "closed_accuracy": hit} for hit in hits), predicted)
        parsed = final_part(predicted)
        if not parsed.split() or not parsed.strip("."):
            return _all_wrong(self.metrics)
        return best_of((_open_metrics(parsed, gold.lower()) for gold in golds), parsed)

    def _closed_hit(self, predicted: str, gold: str) -> bool:
        if self.rule == "yesno" or gold in {"yes", "no"}:
            return says_only(predicted, gold)
        return bare_final_part(predicted) == gold.lower()


class MedEvalKitFixed(RowProtocol):
    """The same rules with their errors corrected: letter case, names of precision and recall, empty answers.

    A gold that is yes or no, in upper or lower case, gets the yes/no rule, any other closed gold equality after
    stripping; precision, recall and F1 are named correctly.
    """

    metrics = (
        Metric(name="accuracy"),
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_exact_match", rows="open"),
        *(Metric(name=f"open_{name}", rows="open", is_secondary=True) for name in _OVERLAP),
    )

    rule = "yesno"
    norm = "mek-strip"

    def is_closed(self, sample: Sample) -> bool | None:
        return closed_unless_open(sample) if self.rule == "label" else super().is_closed(sample)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = unwrap(answer).lower().strip()
        golds = [gold.lower().strip() for gold in references(sample)]
        if self.is_closed(sample) is not False:
            hits = (
                float(
                    says_only(predicted, gold) if gold in {"yes", "no"} else bare_final_part(predicted).strip() == gold
                )
                for gold in golds
            )
            return best_of(({"accuracy": hit, "closed_accuracy": hit} for hit in hits), predicted)
        parsed = final_part(predicted).strip()
        return best_of(
            ({"accuracy": float(parsed == gold)} | _match_and_overlap(parsed, gold) for gold in golds), parsed
        )


def _match_and_overlap(parsed: str, gold: str) -> dict[str, float]:
    overlap: Overlap = set_overlap(parsed.lower().split(), gold.split())
    return {
        "open_exact_match": float(parsed == gold),
        "open_precision": overlap.precision,
        "open_recall": overlap.recall,
        "open_f1": overlap.f1,
    }


def _open_metrics(parsed: str, gold: str) -> dict[str, float]:
    values = {"accuracy": float(parsed == gold)} | _match_and_overlap(parsed, gold)
    values["open_printed_precision"] = values["open_f1"]
    values["open_printed_recall"] = values["open_precision"]
    values["open_printed_f1"] = values["open_recall"]
    return values | bleu(_bleu_tokens(parsed), _bleu_tokens(gold), _BLEU)


def _bleu_tokens(text: str) -> list[str]:
    """Tokens for BLEU as in the authors' code: a full stop is a token, and so is the empty text between two spaces."""
    return text.lower().replace(".", " .").split(" ")


def _all_wrong(metrics: tuple[Metric, ...]) -> dict[str, MetricResult]:
    return {metric.name: MetricResult(value=0.0, note=_AUTHORS_RAISE) for metric in metrics}


def unwrap(answer: str) -> str:
    r"""The content of the last \boxed{}, else of <answer> tags, else the answer itself.

    >>> unwrap(r"so \boxed{lung}"), unwrap("<answer>yes</answer>"), unwrap("no")
    ('lung', 'yes', 'no')
    """
    content = boxed(answer)
    if content != "None":
        return content
    return tagged(answer) if "<answer>" in answer else answer


def boxed(text: str) -> str:
    r"""The content of the last \boxed{} with its braces matched, or the word None."""
    _, found, rest = text.rpartition(r"\boxed{")
    depth = 1
    for place, char in enumerate(rest if found else ""):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if not depth:
            return rest[:place].strip()
    return "None"


def tagged(text: str) -> str:
    """The contents of all <answer>...</answer> tags, joined; the whole text if there are none."""
    parts = []
    rest = text
    while "<answer>" in rest and "</answer>" in (rest := rest.split("<answer>", 1)[1]):
        part, rest = rest.split("</answer>", 1)
        parts.append(part)
    return " ".join(parts).strip() or text


@remembered
def final_part(text: str) -> str:
    """The text in lower case, and only the part after the last "answer is" or similar phrase.

    A text that contains the word "boxed" without the LaTeX command becomes the word None.

    >>> final_part("The final answer is lung"), final_part("a boxed area")
    (' lung', 'None')
    """
    text = text.lower()
    if "boxed" in text:
        text = boxed(text)
    elif "<answer>" in text:
        text = tagged(text)
    for mark in _ANSWER_MARKS:
        if mark in text:
            text = text.rsplit(mark, 1)[1]
    return text


def bare_final_part(text: str) -> str:
    """The final part of a text without line breaks and full stops."""
    return final_part(text).replace("\n", "").replace(".", "")


def says_only(text: str, gold: str) -> bool:
    """Whether exactly one of the substrings yes and no is in the final part, and it is the gold answer.

    >>> says_only("unknown", "no"), says_only("yes, the diagnosis", "yes")
    (True, False)
    """
    part = bare_final_part(text)
    return ("yes" in part) != ("no" in part) and gold.lower() in part
