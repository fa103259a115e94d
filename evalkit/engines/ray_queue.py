"""Queue of image groups for workers that may be lost: hands out, requeues and gives up requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.core.types import Prediction, Request
from evalkit.engines.loaded_model import failed_prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """Questions about one image, and the reason for each worker that was lost while it held them."""

    requests: tuple[Request, ...]
    losses: tuple[str, ...] = ()


class WorkQueue:
    """Work items that wait for a worker.

    Args:
        groups: requests grouped by image; the requests of one image are always answered by the same worker.
        chunk: maximum number of requests handed out at once; one image's requests are never divided.
        retries: how often an item is given to another worker after a worker was lost with it.
    """

    def __init__(self, groups: Sequence[Sequence[Request]], *, chunk: int, retries: int) -> None:
        self.chunk = chunk
        self.retries = retries
        self.redone = self.given_up = 0
        self._waiting = deque(WorkItem(requests=tuple(g)) for g in groups)
        self._requests = sum(len(item.requests) for item in self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, workers: int) -> list[WorkItem]:
        """Take the items for one worker out of `workers`; empty when nothing waits.

        Hands out fewer requests towards the end, so that the workers finish at about the same time.  An item that was
        lost before is handed out alone: if it is what kills workers, no other item is lost with it again.
        """
        taken: list[WorkItem] = []
        size, limit = 0, max(1, min(self.chunk, -(-self._requests // (2 * max(1, workers)))))
        while self._waiting and not (taken and (taken[0].losses or self._waiting[0].losses)):
            if taken and size + len(self._waiting[0].requests) > limit:
                break
            taken.append(self._waiting.popleft())
            size += len(taken[-1].requests)
        self._requests -= size
        return taken

    def requeue(self, items: Sequence[WorkItem], reason: str) -> list[Prediction]:
        """Put the items of a lost worker at the end of the queue; return failures for those without retries left."""
        failures: list[Prediction] = []
        for item in (replace(i, losses=(*i.losses, reason)) for i in items):
            if len(item.losses) <= self.retries:
                self.redone += 1
                self._waiting.append(item)
                self._requests += len(item.requests)
            else:
                self.given_up += 1
                failures += [_failure(request, item.losses) for request in item.requests]
        return failures


def _failure(request: Request, losses: Sequence[str]) -> Prediction:
    workers = f"{len(losses)} workers in turn" if len(losses) > 1 else "its worker"
    return failed_prediction(request, f"lost with {workers}, the last: {losses[-1]}")
