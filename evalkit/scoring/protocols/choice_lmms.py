"""lmms-eval's two general readings of multiple-choice answers: its filter and its shared extraction."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from evalkit.core.remembered import remembered
from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choice_protocol import ChoiceProtocol, letter_result
from evalkit.scoring.row_protocol import MetricResult

_BRACKETED = re.compile(r"\(([A-Z])\)")


class LmmsFilter(ChoiceProtocol):
    """The filter multi_choice_regex with the settings of lmms-eval's GPQA tasks: the last match of each step.

    A capital letter in brackets; else an option's text, both without case and punctuation; else a letter after a
    colon.  A letter of no option is wrong, and so is an answer in which no step finds anything.
    """

    def result(self, sample: Sample, answer: str) -> MetricResult:
        if found := _BRACKETED.findall(answer):
            return letter_result(found[-1], sample)
        letter = _last_option(sample.choices, _bare(answer))
        if not letter:
            after_colon = _after_colon(len(sample.choices)).findall(answer)
            letter = after_colon[-1] if after_colon else ""
        return letter_result(letter, sample)


@cache
def _after_colon(n: int) -> re.Pattern[str]:
    return re.compile(rf":\s*([{LETTERS[:n]}])")


@cache
def _punctuation() -> dict[int, None]:
    """All characters of Unicode's punctuation categories, to be deleted."""
    return {code: None for code in range(sys.maxunicode) if unicodedata.category(chr(code)).startswith("P")}


@remembered
def _bare(text: str) -> str:
    return text.lower().translate(_punctuation())


def _last_option(choices: Sequence[str], answer: str) -> str:
    """The letter of the last option in a text that is read from left to right, an earlier option first at one place.

    Empty where an option is nothing but punctuation, because its empty text is found last of all.
    """
    letters = {_bare(choice.strip()): letter for letter, choice in zip(LETTERS, choices, strict=False)}
    if "" in letters:
        return ""
    at, last = 0, ""
    while True:
        places = [(place, order, text) for order, text in enumerate(letters) if (place := answer.find(text, at)) >= 0]
        if not places:
            return letters.get(last.strip(), "")
        place, _, last = min(places)
        at = place + len(last)


# Forms in which an option's letter is looked for, best first, with their rank.
_FORMS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_START, _END, _PHRASE = 10, 9, 7
_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is", "the best answer is"),
    *("best answer is", "the correct option is", "correct option is", "the best option is", "best option is"),
    *("the choice is", "choice is", "the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *("my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


class LmmsExtract(ChoiceProtocol):
    """lmms-eval's shared extract_mcq_answer: the best-ranked form in which a letter is found, the last one of equals.

    A letter at the start or the end of the answer ranks first, then any capital option letter after a phrase such as
    "the answer is" (of a word, too), then letters in brackets, before a full stop, a colon, a bracket or a space; else
    any capital option letter.
    """

    def result(self, sample: Sample, answer: str) -> MetricResult:
        return letter_result(extracted_letter(answer, LETTERS[: len(sample.choices)]), sample)


def extracted_letter(answer: str, letters: str) -> str:
    """The letter that extract_mcq_answer returns; empty where it finds none."""
    text = answer.strip()
    if not text:
        return ""
    for mark in ",.!?;:'\"":
        text = text.strip(mark)
    text = f" {text} "
    found = list(_candidates(text, letters)) or [
        (0, text.rfind(letter), letter) for letter in letters if letter in text
    ]
    # The first of equals, in the order of the forms.
    return max(found, key=lambda one: one[:2])[2] if found else ""


def _candidates(text: str, letters: str) -> Iterator[tuple[int, int, str]]:
    """Rank, place and letter of every form that is found."""
    for form, rank in _FORMS:
        for letter in letters:
            if (place := text.rfind(form.format(letter))) >= 0:
                yield rank, place, letter
    lower = text.lower()
    for phrase in _PHRASES:
        if (place := lower.find(phrase)) >= 0:
            after = ((text.find(letter, place + len(phrase)), letter) for letter in letters)
            yield from ((_PHRASE, at, letter) for at, letter in after if at >= 0)
    bare = text.strip()
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            yield _START, 0, letter
    for letter in letters:
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            yield _END, len(text) - 1, letter
