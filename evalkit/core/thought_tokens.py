"""Length of a thought in tokens, where an engine has the tokens of an answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from evalkit.core.reasoning import may_hold_mark, split


def thought_tokens(ids: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]) -> int | None:
    """Number of tokens up to the mark that closes the last thought, that mark included; None without a closed thought.

    Args:
        ids: tokens of the answer.
        text: what they decode to.
        decode: tokens -> text.
    """
    if not may_hold_mark(text):
        return None
    whole = split(text)
    if not whole.found or whole.is_cut:
        return None

    def is_complete(n: int) -> bool:
        found = split(decode(ids[:n]))
        return found.found and not found.is_cut and found.reasoning == whole.reasoning

    return bisect_left(range(len(ids)), True, key=is_complete)
