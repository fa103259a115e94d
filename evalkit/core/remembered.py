"""Results of functions of texts, kept for the texts that come up again without holding long ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

# Characters of the longest text, and the number of results that are kept: essays hardly ever come up twice, and their
# results are as large as they are.
_WORDS, _SENTENCES = (64, 1 << 15), (256, 1 << 12)
_FEW = 32


class remembered(Generic[Given, Result]):
    """A decorator that keeps the results of a pure function of texts: the longer the texts, the fewer.

    >>> remembered(str.upper)("yes")
    'YES'
    """

    def __init__(self, function: Callable[Given, Result]) -> None:
        self._of_words: Callable[..., Result] = lru_cache(maxsize=_WORDS[1])(function)
        self._of_sentences: Callable[..., Result] = lru_cache(maxsize=_SENTENCES[1])(function)
        self._of_essays: Callable[..., Result] = lru_cache(maxsize=_FEW)(function)
        update_wrapper(self, function)

    def __call__(self, *texts: Given.args, **more: Given.kwargs) -> Result:
        """The function's result."""
        length = max((len(t) for t in texts if isinstance(t, str)), default=0)
        kept: Any = self._of_essays if length > _SENTENCES[0] else self._of_sentences
        kept = self._of_words if length <= _WORDS[0] else kept
        result: Result = kept(*texts, **more)
        return result
