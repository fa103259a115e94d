"""Results of functions of texts, kept for the texts that come up again without holding long ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

# Characters: longer texts are essays, which hardly ever come up twice, and whose results are as large.
_SHORT = 256
_MANY, _FEW = 1 << 15, 32


class remembered(Generic[Given, Result]):
    """A decorator that keeps the results of a pure function of texts: many for short texts, a few for long ones.

    >>> remembered(str.upper)("yes")
    'YES'
    """

    def __init__(self, function: Callable[Given, Result]) -> None:
        self._of_short: Callable[..., Result] = lru_cache(maxsize=_MANY)(function)
        self._of_long: Callable[..., Result] = lru_cache(maxsize=_FEW)(function)
        update_wrapper(self, function)

    def __call__(self, *texts: Given.args, **more: Given.kwargs) -> Result:
        """The function's result."""
        kept: Any = self._of_short if all(not isinstance(t, str) or len(t) <= _SHORT for t in texts) else self._of_long
        result: Result = kept(*texts, **more)
        return result
