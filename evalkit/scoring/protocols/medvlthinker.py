"""MedVLThinker's multiple choice over closed questions: the answer is the option, its letter, or both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.core.types import CHOICE, LETTERS, Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, one_of, references

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FIRST_LINE = re.compile(r"\s*([^\n\r]+)")
# Marks of the second script, tried in this order; what follows the last one in its line is the answer.
_MARKS = tuple(
    re.compile(mark + r"\s*(.*)\s*", re.IGNORECASE) for mark in ("answer:", "answer is:", "answer is", "is:")
)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


class MedVLThinker(RowProtocol):
    """Closed rows with options (of the data set, or of task.options_file), and rows of multiple choice.

    Right where the text that was read is "X. option", "X" or the option, whatever the case and outer white space; X
    is the letter of the option that equals the gold answer.  Nothing else is removed: "B." and "(B)" are wrong.

    reading: "tag" is the first <answer> tag, else the whole text.  "regraded" is the authors' second script: the first
    line of the last tag, else the line after the last "answer:", "answer is" or "is:", else the whole text.
    substring: a text that contains the right option is right as well, which the authors use for LLaVA-Med alone.
    """

    metrics = (Metric(name="closed_accuracy", rows="closed"), Metric(name="choice_accuracy", rows="choice"))

    rule = "choices"
    rules = ("choices",)
    norm = "lower"
    reads_letters = True

    def __init__(self, *, reading: str = "tag", substring: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.reading = one_of("reading", reading, ("tag", "regraded"))
        self.substring = substring

    def settings(self) -> dict[str, str]:
        substring = {"substring": "right"} if self.substring else {}
        return super().settings() | {"reading": self.reading} | substring

    def is_closed(self, sample: Sample) -> bool | None:
        return True if _right_options(sample) else None

    def uncounted(self, sample: Sample) -> str:
        if _right_options(sample):
            return ""
        return "its gold answer is none of its options" if sample.choices else "it offers no options"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        found = regraded_answer(answer) if self.reading == "regraded" else tagged_answer(answer)
        said = found.strip().lower()
        right = _right_options(sample)
        hit = any(said in _forms(letter, option) for letter, option in right)
        hit = hit or (self.substring and any(option.lower() in said for _, option in right))
        result = MetricResult(value=float(hit), extracted=found)
        return {"choice_accuracy" if sample.answer_type == CHOICE else "closed_accuracy": result}


def _right_options(sample: Sample) -> list[tuple[str, str]]:
    """Letter and text of each option that equals a gold answer; where none does, whatever their case."""
    golds = {gold.strip() for gold in references(sample)}
    options = list(zip(LETTERS, sample.choices, strict=False))
    if exact := [(letter, option) for letter, option in options if option.strip() in golds]:
        return exact
    folded = {gold.casefold() for gold in golds}
    return [(letter, option) for letter, option in options if option.strip().casefold() in folded]


def _forms(letter: str, option: str) -> tuple[str, str, str]:
    return f"{letter}. {option}".strip().lower(), letter.lower(), option.strip().lower()


def tagged_answer(text: str) -> str:
    """The content of the first <answer> tag, else the whole text, without outer white space.

    >>> tagged_answer("<think>A?</think><answer> B. MRI </answer>"), tagged_answer(" MRI ")
    ('B. MRI', 'MRI')
    """
    found = _TAG.search(text)
    return found[1].strip() if found else text.strip()


def regraded_answer(text: str) -> str:
    """The answer as the authors' second script reads it, see `MedVLThinker`.

    >>> regraded_answer("<answer>A</answer> or <answer>B. MRI\\nsurely</answer>"), regraded_answer("The answer is: MRI")
    ('B. MRI', 'MRI')
    """
    found = _marked_answer(text)
    for tag in _TAGS:
        found = found.replace(tag, "")
    return found.strip()


def _marked_answer(text: str) -> str:
    if tags := _TAG.findall(text):
        content = tags[-1].strip()
        line = _FIRST_LINE.search(content)
        return line[1].strip() if line else content
    for mark in _MARKS:
        if lines := mark.findall(text):
            return str(lines[-1]).strip()
    return text.strip()
