"""MMMU's reading of multiple-choice answers and its descendants, with the random fallback marked as what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choice_protocol import ChoiceProtocol, hit_of
from evalkit.scoring.protocols.medevalkit import boxed, tagged
from evalkit.scoring.row_protocol import MetricResult, one_of

_OUTER_MARKS = ",.!?;:'"
# An option's text is looked for only in answers with more words than this.
_LONG = 5
_RANDOM = "random"


class Mmmu(ChoiceProtocol):
    """The last option among those that the answer names by letter, else by text; else one drawn at random.

    Letters are looked for in brackets first, then alone.  letters: "spaced" finds a letter between two spaces (MMMU);
    "loose" finds one before a space, then one before a full stop, so that a word's last capital counts (MMMU-Pro,
    lmms-eval).  before: "answer" first takes the one option letter among the characters after the last "Answer:"
    (MMMU-Pro); "tags" first unwraps <answer> and \\boxed{} (MedEvalKit); "none".

    Where no option is found, the authors draw one with one random generator for all rows, so that a row's score hangs
    on the rows before it.  Here such a row scores the expected value of the draw (0.25 for one right option of four),
    with a note; the mean is the expectation of the authors' over their seeds.
    """

    several = "any"

    def __init__(self, *, letters: str = "spaced", before: str = "none", **common: Any) -> None:
        super().__init__(**common)
        self.letters = one_of("letters", letters, ("spaced", "loose"))
        self.before = one_of("before", before, ("none", "answer", "tags"))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"fallback": "expected-random"}

    def result(self, sample: Sample, answer: str) -> MetricResult:
        options = dict(zip(LETTERS, sample.choices, strict=False))
        found = self.read(answer, options)
        if found:
            return hit_of(found, sample)
        n, right = len(options), len(sample.letters)
        note = f"{_RANDOM}: no option found; the authors draw one at random, scored as the expected value {right}/{n}"
        return MetricResult(value=right / n, extracted=_RANDOM, note=note)

    def read(self, answer: str, options: Mapping[str, str]) -> str:
        """The letter that the authors' code reads; empty where it draws one."""
        if self.before == "answer" and (letter := _only_letter_after_mark(answer, options)):
            return letter
        if self.before == "tags":
            answer = _unwrapped(answer)
        for mark in _OUTER_MARKS:
            answer = answer.strip(mark)
        text = f" {answer} "
        bracketed = [letter for letter in options if f"({letter})" in text]
        if bracketed:
            return max(bracketed, key=lambda letter: text.rfind(f"({letter})"))
        for form in ("{} ", "{}.") if self.letters == "loose" else (" {} ",):
            if alone := [letter for letter in options if form.format(letter) in text]:
                # Whatever form was found, the authors compare the places of letters between two spaces.
                return max(alone, key=lambda letter: text.rfind(f" {letter} "))
        if len(text.split()) <= _LONG:
            return ""
        lower = text.lower()
        named = [letter for letter, option in options.items() if option.lower() in lower]
        return max(named, key=lambda letter: lower.rfind(options[letter].lower()), default="")


def _only_letter_after_mark(answer: str, options: Mapping[str, str]) -> str:
    """The one option letter among the characters after the last "Answer:"; empty where there is no mark or no one."""
    _, mark, rest = answer.rpartition("Answer:")
    found = [letter for letter in options if letter in rest.strip()] if mark else []
    return found[0] if len(found) == 1 else ""


def _unwrapped(answer: str) -> str:
    """The content of <answer> tags, and of the last boxed command in it; twice, as the authors' two functions do."""
    if "<answer>" in answer:
        answer = tagged(answer)
    if (content := boxed(answer)) != "None":
        answer = content
    if "<answer>" in answer:
        answer = tagged(answer)
    elif "\\boxed" in answer:
        answer = boxed(answer)
    return answer.strip()
