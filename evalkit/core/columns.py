"""Columns of values: equal ones are held once, and none is held where all are None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")

# Equal values are held once among so many different ones.
_MOST = 1 << 16


class SharedValues:
    """The first of each of 65,536 different values, in place of the equal ones that follow."""

    def __init__(self) -> None:
        self._held: dict[Any, Any] = {}

    def once(self, value: _T) -> _T:
        """The value, or the equal one that is held.  Values of two types that are equal (1 and True) count as one."""
        is_full = len(self._held) >= _MOST
        held: _T = self._held.get(value, value) if is_full else self._held.setdefault(value, value)
        return held


class OptionalValues(Sequence[_T | None], Generic[_T]):
    """Values of which each may be None, in the order in which they were added."""

    def __init__(self) -> None:
        self._n = 0
        self._values: list[_T | None] = []  # empty while all values are None

    def append(self, value: _T | None) -> None:
        """Add a value."""
        if value is not None and not self._values:
            self._values = [None] * self._n
        if value is not None or self._values:
            self._values.append(value)
        self._n += 1

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, place: int) -> _T | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[_T | None]: ...
    def __getitem__(self, place: int | slice) -> _T | list[_T | None] | None:
        if isinstance(place, slice):
            return [self[k] for k in range(self._n)[place]]
        k = range(self._n)[place]  # raises IndexError
        return self._values[k] if self._values else None

    def __iter__(self) -> Iterator[_T | None]:
        return iter(self._values) if self._values else repeat(None, self._n)
