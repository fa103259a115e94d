"""Equal values among many, found by their hashes: a dict of all values would hold each of them."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence


def repeated(values: Iterable[Hashable]) -> list[int]:
    """The places of values whose hash occurs more than once, in order: all that have an equal one are among them."""
    import numpy as np

    hashes = np.frombuffer(array("q", map(hash, values)), dtype=np.int64)
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(hashes, twice)).tolist() if twice.size else []


def is_unique(values: Sequence[Hashable]) -> bool:
    """Whether no two values are equal."""
    places = repeated(values)
    return len({values[k] for k in places}) == len(places)
