"""VLMEvalKit's exact matching of multiple-choice answers, without its model referee."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choice_protocol import ChoiceProtocol, letter_result
from evalkit.scoring.row_protocol import MetricResult

_VLM_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_VLM_FAILED = "Failed to obtain answer via API"
_VLM_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_VLM_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
# A lone letter counts if it is among the last so many words.
_VLM_LAST = 5


class VlmEvalKit(ChoiceProtocol):
    """VLMEvalKit's exact matching (its model referee off): a letter that stands alone, else one option's text.

    The letter must be the only option letter that is a word of the answer, among its last five words; else what
    follows "answer is"; else the one option whose text is a substring.  What matches nothing is the option Z, wrong.
    """

    def result(self, sample: Sample, answer: str) -> MetricResult:
        return letter_result(exact_match(answer, sample.choices), sample)


def exact_match(answer: str, choices: Sequence[str]) -> str:
    """The letter of the option that VLMEvalKit reads without its referee; Z for a refusal, empty where it reads none.

    >>> exact_match("It is B.", ["CT", "MRI"]), exact_match("an MRI", ["CT", "MRI"]), exact_match("?", ["CT"])
    ('B', 'B', '')
    """
    options = dict(zip(LETTERS, choices, strict=False))
    return vlm_letter(answer, list(options)) or _vlm_by_text(answer, options)


def vlm_letter(answer: str, letters: Sequence[str]) -> str:
    """The letter that VLMEvalKit finds as a word, Z for a refusal, or nothing."""
    if _VLM_FAILED in answer:
        return ""
    if any(refusal in answer for refusal in _VLM_REFUSALS):
        return "Z"
    words = answer.translate(_VLM_MARKS).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - _VLM_LAST:
        return named[0]
    if not named and "Z" in words:
        return "Z"
    found = _VLM_ANSWER_IS.search(answer)
    return found[1].upper() if found and found[1].upper() in letters else ""


def _vlm_by_text(answer: str, options: Mapping[str, str]) -> str:
    """The one option whose text the answer contains, if the answer is at most twice as long as all options."""
    lower = answer.lower()
    if len(lower) > 2 * sum(map(len, options.values())):
        return ""
    named = [letter for letter, option in options.items() if option.lower() in lower]
    return named[0] if len(named) == 1 else ""
