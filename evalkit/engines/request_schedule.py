"""Order in which requests are sent to a server, and the requests in flight."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from evalkit.core.types import Prediction, Request
from evalkit.engines.chat_format import data_urls


@dataclass(slots=True)
class ImageGroup:
    """Requests about one image (or one tuple of images), and the images' data URLs, encoded once.

    max_pixels: see `data_urls`.
    """

    requests: Sequence[Request]
    max_pixels: int | None = None
    _urls: asyncio.Task[list[str]] | None = None

    async def urls(self) -> list[str]:
        """Return the images as data URLs.  Raises DataError."""
        if self._urls is None:
            self._urls = asyncio.create_task(asyncio.to_thread(data_urls, self.requests[0].images, self.max_pixels))
        return await asyncio.shield(self._urls)


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """Next request to send.  is_leader: the other requests of its group wait for it."""

    request: Request
    group: ImageGroup
    is_leader: bool


@dataclass(slots=True)
class RequestSchedule:
    """Hands out requests image by image; the rest of a started image comes before the next image.

    With `lead`, the first request of an image is sent alone and the others follow once it is answered: by then the
    image's part of the prompt is in the server's prefix cache, which requests that arrive together may each miss.
    """

    groups: Iterator[Sequence[Request]]
    lead: bool
    max_pixels: int | None = None
    _ready: deque[ScheduledRequest] = field(default_factory=deque)
    _leaders_in_flight: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> ScheduledRequest | None:
        """Wait for the next request and return it; None when all are handed out."""
        while True:
            if self._ready:
                return self._ready.popleft()
            if (requests := next(self.groups, None)) is not None:
                return self._start_group(ImageGroup(requests, self.max_pixels))
            if not self._leaders_in_flight:
                return None
            self._changed.clear()
            await self._changed.wait()

    def _start_group(self, group: ImageGroup) -> ScheduledRequest:
        is_leader = self.lead and len(group.requests) > 1 and bool(group.requests[0].images)
        if is_leader:
            self._leaders_in_flight += 1
        else:
            self._release_followers(group)
        return ScheduledRequest(group.requests[0], group, is_leader)

    def _release_followers(self, group: ImageGroup) -> None:
        self._ready.extend(ScheduledRequest(r, group, False) for r in group.requests[1:])

    def mark_done(self, scheduled: ScheduledRequest) -> None:
        """Record that a request was answered or has failed."""
        if scheduled.is_leader:
            self._leaders_in_flight -= 1
            self._release_followers(scheduled.group)
            self._changed.set()


@dataclass(slots=True)
class RequestSession:
    """Requests in flight, at most `concurrency` of them, and their results.

    send: answers one request; an exception from it ends the session.  interrupted: `interrupt` was called.
    """

    schedule: RequestSchedule
    send: Callable[[ScheduledRequest], Awaitable[Prediction]]
    interrupted: bool = False
    _results: asyncio.Queue[Prediction | None] = field(default_factory=asyncio.Queue)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)
    _running: int = 0
    _stopped: bool = False

    async def start(self, concurrency: int) -> None:
        """Start sending requests."""
        self._running = concurrency
        self._workers = [asyncio.create_task(self._work()) for _ in range(concurrency)]

    async def _work(self) -> None:
        finished = False
        try:
            while not self._stopped and (scheduled := await self.schedule.take()) is not None:
                prediction = await self.send(scheduled)
                self.schedule.mark_done(scheduled)
                self._results.put_nowait(prediction)
            finished = True
        finally:
            self._stopped = self._stopped or not finished
            self._running -= 1
            self._results.put_nowait(None)

    async def next_batch(self) -> list[Prediction]:
        """Wait for at least one result and return all that arrived since the last call; empty when all is done.

        An exception that ended the session early is raised after all earlier results were returned.  An interrupt is
        not raised here: asyncio itself raises it out of its loop, and a second one would abort the closing.
        """
        batch: list[Prediction] = []
        while not batch or not self._results.empty():
            if self._results.empty() and (self._running == 0 or self._stopped):
                break
            if (prediction := await self._results.get()) is not None:
                batch.append(prediction)
        if not batch:
            for worker in self._workers:
                if worker.done() and not worker.cancelled() and isinstance(problem := worker.exception(), Exception):
                    raise problem
        return batch

    def interrupt(self) -> None:
        """Return the results that have arrived, and no more."""
        self.interrupted = self._stopped = True
        self._results.put_nowait(None)

    async def close(self) -> None:
        """Cancel the requests in flight."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)


@contextmanager
def handle_interrupt(loop: asyncio.AbstractEventLoop, on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Deliver the first Ctrl-C as a call in the event loop; a second one raises KeyboardInterrupt as usual.

    By default Python raises it wherever the program is at that moment.  In a loop that is run for one batch after
    another that is often inside a task or the transport, which is left in an inconsistent state, and the message is a
    traceback.
    """
    default_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        on_interrupt()

    try:
        loop.add_signal_handler(signal.SIGINT, first)
    except NotImplementedError:  # event loops on Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
