"""The requests of a run, each made when it is asked for: what tells one from the next is a tenth of the object."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from evalkit.core.types import Request

# Bytes of a fingerprint.
_DIGEST = 32


class Requests(Sequence[Request]):
    """Requests in sample order, of which only the fingerprints are held.

    image_digests: of all their images.
    """

    def __init__(
        self, make: Callable[[int], Request], places: Sequence[int], digests: bytes, image_digests: frozenset[str]
    ) -> None:
        self._make = make
        self._places = places
        self._digests = digests
        self.image_digests = image_digests

    @classmethod
    def of(cls, make: Callable[[int], Request], n: int) -> Requests:
        """n requests, of which `make` makes the k-th one."""
        digests, images = bytearray(), set[str]()
        for place in range(n):
            request = make(place)
            digests += bytes.fromhex(request.fingerprint)
            images.update(request.image_digests)
        return cls(make, range(n), bytes(digests), frozenset(images))

    def at(self, places: Sequence[int]) -> Requests:
        """Those at some places."""
        return Requests(self._make, array("q", (self._places[k] for k in places)), self._digests, self.image_digests)

    def fingerprint(self, place: int) -> str:
        """The fingerprint of the request at a place, which is not made for it."""
        start = _DIGEST * self._places[place]
        return self._digests[start : start + _DIGEST].hex()

    def fingerprints(self) -> Iterator[str]:
        """The fingerprints in order."""
        return map(self.fingerprint, range(len(self)))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Request: ...
    @overload
    def __getitem__(self, place: slice) -> Requests: ...
    def __getitem__(self, place: int | slice) -> Request | Requests:
        if isinstance(place, slice):
            return Requests(self._make, self._places[place], self._digests, self.image_digests)
        return self._make(self._places[place])

    def __iter__(self) -> Iterator[Request]:
        return map(self._make, self._places)
