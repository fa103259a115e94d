"""Image groups handed out to workers that may be lost: what waits, what goes together, what is given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.core.types import Prediction, Request
from evalkit.engines.loaded_model import failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One image's questions, and how each worker that had them was lost."""

    requests: tuple[Request, ...]
    losses: tuple[str, ...] = ()


class Work:
    """The pieces that wait for a worker.

    Args:
        groups: requests by image; an image's stay together, whoever answers them.
        chunk: at most so many requests at once, one image's in any case.
        retries: how often a piece is given to another worker after one was lost with it.
    """

    def __init__(self, groups: Sequence[Sequence[Request]], *, chunk: int, retries: int) -> None:
        self.chunk = chunk
        self.retries = retries
        self.redone = self.given_up = 0
        self._waiting = deque(Piece(requests=tuple(g)) for g in groups)
        self._requests = sum(len(p.requests) for p in self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, workers: int) -> list[Piece]:
        """Pieces for one worker of so many; none when nothing waits.

        Fewer towards the end, so that the workers end together.  A piece that was lost before goes alone: should it be
        what kills workers, no other piece is lost with it again.
        """
        taken: list[Piece] = []
        size, most = 0, max(1, min(self.chunk, -(-self._requests // (2 * max(1, workers)))))
        while self._waiting and not (taken and (taken[0].losses or self._waiting[0].losses)):
            if taken and size + len(self._waiting[0].requests) > most:
                break
            taken.append(self._waiting.popleft())
            size += len(taken[-1].requests)
        self._requests -= size
        return taken

    def lost(self, pieces: Sequence[Piece], why: str) -> list[Prediction]:
        """Put pieces back behind the others; those that used up their retries come back as named failures."""
        failures: list[Prediction] = []
        for piece in (replace(p, losses=(*p.losses, why)) for p in pieces):
            if len(piece.losses) <= self.retries:
                self.redone += 1
                self._waiting.append(piece)
                self._requests += len(piece.requests)
            else:
                self.given_up += 1
                failures += [_failure(request, piece.losses) for request in piece.requests]
        return failures


def _failure(request: Request, losses: Sequence[str]) -> Prediction:
    times = f"{len(losses)} workers in turn" if len(losses) > 1 else "its worker"
    return failure(request, f"lost with {times}, the last: {losses[-1]}")
