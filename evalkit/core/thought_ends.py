"""The mark with which a thought that is still open is closed, in the model's own words."""

from __future__ import annotations

import re

from evalkit.core import reasoning

# Openings of `evalkit.core.reasoning` whose closing mark is not the same word with a slash.
_CLOSING = {
    "<unused94>": "<unused95>",
    "<|begin_of_thought|>": "\n<|end_of_thought|>\n\n<|begin_of_solution|>\n",
    "<|start_thinking|>": "<|END_THINKING|><|START_RESPONSE|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<start_working_out>": "<end_working_out>",
    "<|thought_start|>": "<|thought_end|>",
    "<|channel>": "<channel|>",
}
_HARMONY = "<|end|><|start|>assistant<|channel|>final<|message|>"
_HEADING = re.compile(r"\s{0,20}(#{1,4} ?)Thinking[ \t:]*\n", re.I)
_TAG = re.compile(r"<\|?\s{0,8}([\w:]+)[^<>]{0,340}>")


def closing_mark(text: str) -> str | None:
    r"""The text that closes the open thought of a text; None where its kind has no such mark, or none is open.

    A thought that is open several times is closed as often.

    >>> closing_mark("<think>\nMRI or CT"), closing_mark("[THINK]MRI"), closing_mark("<unused94>thought\nMRI")
    ('\n</think>\n\n', '[/THINK]', '<unused95>')
    >>> closing_mark("<think>MRI</think>CT") is None
    True
    """
    if "<|channel|>" in text:
        return _HARMONY if reasoning.split(text).is_cut else None
    if heading := _HEADING.match(text):
        return f"\n\n{heading[1]}Final Response\n\n" if reasoning.split(text).is_cut else None
    opening, depth = reasoning.open_thought(text)
    mark = _closing(opening)
    return mark * depth if mark and depth else None


def _closing(opening: str) -> str | None:
    if (known := _CLOSING.get(opening.lower())) is not None:
        return known
    if opening.startswith("["):
        return opening.replace("[", "[/", 1)
    if opening.startswith("◁"):
        return opening.replace("◁", "◁/", 1)
    tag = _TAG.fullmatch(opening)
    return f"\n</{tag[1]}>\n\n" if tag else None
