"""Detecting a refusal to answer in a model's free text."""

from __future__ import annotations

import re

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not)|as an ai|unable to (?:determine|answer|"
    r"provide)|cannot be determined|consult (?:a|your) (?:doctor|physician|radiologist))\b",
    re.I,
)


def contains_refusal(answer: str) -> bool:
    """Whether an answer contains a phrase of refusal anywhere, even if it also answers.

    Broader than the check of a judge's reply (`evalkit.judge.parse_response`), which looks only at its beginning,
    and than that of ColonINST's reference captions (`evalkit.tasks.coloninst`), which compares fixed prefixes.

    >>> contains_refusal("I'm sorry, I cannot read this."), contains_refusal("No consolidation is seen.")
    (True, False)
    """
    return _REFUSAL.search(answer) is not None
