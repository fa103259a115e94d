"""Columns of values: equal ones are held once, and none is held where all are None."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")
_Value = TypeVar("_Value", covariant=True)

# Equal values are held once among so many different ones.
_MOST = 1 << 16
# What is held for None: no text in UTF-8 has this byte.
_NO_TEXT = b"\xff"


class SharedValues:
    """The first of each of 65,536 different values, in place of the equal ones that follow."""

    def __init__(self) -> None:
        self._held: dict[Any, Any] = {}

    def once(self, value: _T) -> _T:
        """The value, or the equal one that is held.  Values of two types that are equal (1 and True) count as one."""
        is_full = len(self._held) >= _MOST
        held: _T = self._held.get(value, value) if is_full else self._held.setdefault(value, value)
        return held


class Packed(Sequence[_Value]):
    """A sequence held as columns, whose values are made when they are asked for, by a subclass's `value_at`."""

    @abstractmethod
    def value_at(self, place: int) -> _Value:
        """The value of a place, which is not below 0 and not beyond the end."""

    @overload
    def __getitem__(self, place: int) -> _Value: ...
    @overload
    def __getitem__(self, place: slice) -> list[_Value]: ...
    def __getitem__(self, place: int | slice) -> _Value | list[_Value]:
        found = range(len(self))[place]  # raises IndexError
        return self.value_at(found) if isinstance(found, int) else list(map(self.value_at, found))

    def __iter__(self) -> Iterator[_Value]:
        return map(self.value_at, range(len(self)))

    def column(self, name: str) -> Iterable[Any]:
        """One attribute of all values, in order; a subclass may have it without making them."""
        return map(attrgetter(name), self)


def column_values(values: Sequence[Any], name: str) -> Iterable[Any]:
    """One attribute of all values, in order."""
    return values.column(name) if isinstance(values, Packed) else map(attrgetter(name), values)


class OptionalValues(Packed[_T | None], Generic[_T]):
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

    def value_at(self, place: int) -> _T | None:
        """The value of a place."""
        return self._values[place] if self._values else None

    def __iter__(self) -> Iterator[_T | None]:
        return iter(self._values) if self._values else repeat(None, self._n)


class PackedTexts(Packed[str | None]):
    """Texts that differ, of which each may be None, held by their bytes: a short one as a str takes 49 bytes more."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])  # a text is what is between the end of the one before it and its own

    def append(self, value: str | None) -> None:
        """Add a text."""
        self._bytes += _NO_TEXT if value is None else value.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def value_at(self, place: int) -> str | None:
        """The text of a place."""
        found = self._bytes[self._ends[place] : self._ends[place + 1]]
        return None if found == _NO_TEXT else found.decode("utf-8", "surrogatepass")
