"""Detecting an answer that leaves the question open: neither right nor wrong, a third outcome."""

from __future__ import annotations

import re

from evalkit.scoring.text.refusals import contains_refusal

_ABSTAINS = re.compile(
    r"\b(?:(?:can ?not|can't|could not|couldn't|not possible to) (?:be )?(?:determined?|assess(?:ed)?|tell|told|say|"
    r"said|answer(?:ed)?|judged?|identif(?:y|ied)|evaluated?)|(?:i )?(?:do not|don't) know|unable to (?:tell|say|"
    r"assess|identify|judge|evaluate)|not (?:enough|sufficient) information|insufficient information|undetermined|"
    r"indeterminate)\b|无法(?:确定|判断|回答|得知)|不能(?:确定|判断)|不确定|不知道",
    re.I,
)


def abstains(answer: str) -> bool:
    """Whether an answer says that the question cannot be answered, or refuses it.

    >>> abstains("It cannot be determined from this image."), abstains("无法确定"), abstains("No mass can be seen.")
    (True, True, False)
    """
    return _ABSTAINS.search(answer) is not None or contains_refusal(answer)
