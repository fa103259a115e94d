"""The text of a list that is most alike to another text, by difflib."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


def nearest(texts: Sequence[str], text: str) -> int | None:
    """The place of the text with the highest ratio to `text`; the first of equals, None where all are 0.

    >>> nearest(["left lung", "liver"], "the left lungs"), nearest(["left lung"], "")
    (0, None)
    """
    best, at = 0.0, None
    matcher = SequenceMatcher(None, "", text)
    for k, one in enumerate(texts):
        matcher.set_seq1(one)
        # Upper bounds of the ratio, which are cheaper.
        if matcher.real_quick_ratio() <= best or matcher.quick_ratio() <= best:
            continue
        if (ratio := matcher.ratio()) > best:
            best, at = ratio, k
    return at
