"""MedEvalKit's rule for multiple-choice answers, with its fallback to the most similar option."""

from __future__ import annotations

from typing import Any

from evalkit.core.remembered import remembered
from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choice_protocol import ChoiceProtocol, letter_result
from evalkit.scoring.protocols.medevalkit import final_part, tagged
from evalkit.scoring.row_protocol import MetricResult
from evalkit.scoring.text.nearest import nearest


class MedEvalKitChoice(ChoiceProtocol):
    """MedEvalKit's judge_multi_choice: a letter as the answer or after its last mark, else the most similar option.

    The fallback takes the option whose text is most alike by difflib, also for an empty answer (the first option).
    written: how the authors write an option into the prompt and compare it.  unwrap: <answer> tags are taken off
    before anything else (OmniMedVQA and MedXpertQA), not only where no letter stands alone (PMC-VQA, MedFrameQA).
    """

    def __init__(self, *, written: str = "{letter}. {option}", unwrap: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.written = written
        self.unwrap = unwrap

    def result(self, sample: Sample, answer: str) -> MetricResult:
        if self.unwrap and answer:
            answer = tagged(answer)
        options = _medevalkit_options(sample.choices, self.written)
        letters = LETTERS[: len(options)].lower()
        text, final = _medevalkit_final(answer, letters)
        if final in set(letters):
            return letter_result(final.upper(), sample)
        if final in options:
            return letter_result(LETTERS[options.index(final)], sample)
        alike = LETTERS[nearest(options, text) or 0]  # the first option where none is alike
        return letter_result(alike, sample, "guess: the option most alike by difflib")


@remembered
def _medevalkit_options(choices: tuple[str, ...], written: str) -> tuple[str, ...]:
    pairs = zip(LETTERS, choices, strict=False)
    return tuple(written.format(letter=letter, option=option).lower() for letter, option in pairs)


def _medevalkit_final(answer: str, letters: str) -> tuple[str, str]:
    """The part after the last answer mark without line breaks, and its piece before a full stop, after a colon."""
    text = answer.lower()
    blocks = text.split("\n\n")
    for piece in (blocks[0], blocks[-1].split(".")[0]):
        if piece in set(letters):
            text = piece
            break
    text = final_part(text).strip().lower().replace("\n", "")
    return text, text.split(".")[0].split(":")[-1]
