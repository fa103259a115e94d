"""Limits of what interpolations unfold to: a few lines of `${a}${a}` can stand for more text than a memory holds.

OmegaConf resolves a reference each time it meets it, so both the number of references and what they stand for are
counted while it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from evalkit.core.errors import ConfigError

# References that are resolved for one configuration; the built-in ones have one.
MAX_REFERENCES = 2_000
# Characters that those stand for, together.
MAX_EXPANDED = 1_000_000
# Characters that a value counts as, because it takes as long as a text of so many.
VALUE = 20


class Expansion:
    """The references resolved for one configuration, and how much they stand for."""

    def __init__(self) -> None:
        self._references = 0
        self._expanded = 0

    def restart(self) -> None:
        """Count anew, for the next configuration."""
        self._references = self._expanded = 0

    def add(self, found: Any) -> None:
        """Count what a reference stands for.

        Raises:
            ConfigError: with this one there is too much.
        """
        self._references += 1
        if self._references > MAX_REFERENCES:
            raise ConfigError(
                f"The configuration has interpolations (${{...}}) that are resolved more than {MAX_REFERENCES} times, "
                "because they refer to others that do so too. Write the values themselves."
            )
        self._expanded = _add_size(found, self._expanded)
        if self._expanded > MAX_EXPANDED:
            raise ConfigError(
                f"The configuration has interpolations (${{...}}) that stand for more than {MAX_EXPANDED} characters, "
                f"where each value counts as {VALUE}. Write shorter ones."
            )


def _add_size(found: Any, total: int) -> int:
    """`total` and the characters that a reference stands for, counted until there are too many."""
    from omegaconf import Node

    waiting = [found]
    while waiting and total <= MAX_EXPANDED:
        node = waiting.pop()
        content = node.__dict__.get("_content", node.__dict__.get("_val")) if isinstance(node, Node) else node
        total += VALUE + (len(content) if isinstance(content, str | bytes) else 0)
        if isinstance(content, dict):
            waiting += content.values()
        elif isinstance(content, list | tuple):
            waiting += content
    return total


# The innermost expansion of this thread; outside of evalkit's configurations there is none and no limit.
active: ContextVar[Expansion | None] = ContextVar("expansion", default=None)


@contextmanager
def limited() -> Iterator[None]:
    """Limit what the references of one configuration stand for."""
    outer = active.get()
    token = active.set(Expansion())
    try:
        yield
    finally:
        active.reset(token)
        if outer is not None:  # a sweep composes the next job, which has its own limit
            outer.restart()


@cache
def count_references() -> None:
    """Make OmegaConf count each reference that it resolves in the innermost expansion.

    One thread at a time: a second wrapper would count everything twice.
    """
    from omegaconf.base import Container

    def counting(resolve: Any) -> Any:
        def resolved(self: Container, *args: Any, **named: Any) -> Any:
            found = resolve(self, *args, **named)
            if (expansion := active.get()) is not None:
                expansion.add(found)
            return found

        return resolved

    for name in ("_resolve_node_interpolation", "_evaluate_custom_resolver"):
        setattr(Container, name, counting(getattr(Container, name)))
