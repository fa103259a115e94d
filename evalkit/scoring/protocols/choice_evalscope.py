"""EvalScope's reading of multiple-choice answers: the last ANSWER line, else the last capital letter."""

from __future__ import annotations

import re
from typing import Any

from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choice_protocol import NO_OPTION, RIGHT, WRONG, ChoiceProtocol
from evalkit.scoring.row_protocol import MetricResult, one_of

_MARKS = {
    "en": re.compile(r"ANSWER\s*:\s*\**\s*", re.IGNORECASE),
    "zh": re.compile(r"答案\s*[:：]\s*\**\s*"),
}
_PLAIN = {"en": re.compile(r"[A-Za-z\d][A-Za-z\d ,]*"), "zh": re.compile(r"[A-Za-z0-9][A-Za-z0-9,，]*")}
_BRACKETED = re.compile(r"[(\[（【]\s*([A-Za-z\d](?:\s*[,，]\s*[A-Za-z\d])*)\s*[)\]）】]")
_TOKEN = re.compile(r"[A-Za-z\d]+")
_GUESS = "guess: the last capital letter of the answer"


class EvalScopeChoice(ChoiceProtocol):
    """EvalScope's parse_answers: what follows the last ANSWER mark that has a label, else the last capital letter.

    language: "en" looks for "ANSWER:", "zh" for "答案："; EvalScope chooses by its prompt template.  A row with several
    right options is scored as EvalScope scores its tasks with several right answers: the same set of letters.
    """

    several = "all"

    def __init__(self, *, language: str = "en", **common: Any) -> None:
        super().__init__(**common)
        self.language = one_of("language", language, tuple(_MARKS))

    def settings(self) -> dict[str, str]:
        return super().settings() | {"language": self.language}

    def result(self, sample: Sample, answer: str) -> MetricResult:
        letters = frozenset(LETTERS[: len(sample.choices)])
        marked = self._marked(answer, letters)
        if marked:
            found, note = self._labels(marked, letters, several=len(sample.letters) > 1), ""
        else:
            last = next((char for char in reversed(answer) if char.isupper()), "")
            found, note = ({last} if last in letters else set()), _GUESS
        hit = found == set(sample.letters)
        note = note if found else NO_OPTION
        return MetricResult(value=RIGHT if hit else WRONG, extracted="".join(sorted(found)), note=note)

    def _marked(self, answer: str, letters: frozenset[str]) -> str:
        """The labels behind the last answer mark that is followed by some; empty where none is."""
        for mark in reversed(list(_MARKS[self.language].finditer(answer))):
            rest = answer[mark.end() :]
            for pattern, group in ((_BRACKETED, 1), (_PLAIN[self.language], 0)):
                found = pattern.match(rest)
                if found and (labels := _leading_labels(found[group], letters)):
                    return labels
        return ""

    def _labels(self, marked: str, letters: frozenset[str], *, several: bool) -> set[str]:
        """The letters that a list of labels names; empty where the authors' code does not accept it."""
        if not several:
            return {marked} if marked in letters else set()
        # "and" and "和" never reach this list in the authors' code, which cuts it at the first other word.
        bare = marked.replace(" ", "").replace("，", ",")
        split = set(bare.split(","))
        if split <= letters:
            return split
        if self.language == "zh" and "," in bare:
            return set()
        return set(bare) if set(bare) <= letters else set()


def _leading_labels(listed: str, letters: frozenset[str]) -> str:
    """The part of a list up to the first word that is not made of option letters."""
    end = 0
    for token in _TOKEN.finditer(listed):
        if not set(token[0]) <= letters:
            break
        end = token.end()
    return listed[:end]
