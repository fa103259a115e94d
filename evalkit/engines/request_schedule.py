"""In which order a server is asked, and how many requests are in flight."""

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
class Group:
    """The requests about one image (or one tuple of images), and its encoding, made once."""

    requests: Sequence[Request]
    _urls: asyncio.Task[list[str]] | None = None

    async def urls(self) -> list[str]:
        """The images as data URLs.  Raises DataError."""
        if self._urls is None:
            self._urls = asyncio.create_task(asyncio.to_thread(data_urls, self.requests[0].images))
        return await asyncio.shield(self._urls)


@dataclass(frozen=True, slots=True)
class Turn:
    """A request whose turn it is.  leads: the group's other requests wait for it."""

    request: Request
    group: Group
    leads: bool


@dataclass(slots=True)
class Schedule:
    """Hands out requests image by image, the rest of an image already begun before the next image.

    Where `lead` is set an image's first request goes alone, and its others when that is answered: by then the image's
    part of the prompt lies in the server's prefix cache, which requests that arrive together may each miss.
    """

    groups: Iterator[Sequence[Request]]
    lead: bool
    _ready: deque[Turn] = field(default_factory=deque)
    _leading: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> Turn | None:
        """The next request, as soon as there is one; None when all are handed out."""
        while True:
            if self._ready:
                return self._ready.popleft()
            if (requests := next(self.groups, None)) is not None:
                return self._begin(Group(requests))
            if not self._leading:
                return None
            self._news.clear()
            await self._news.wait()

    def _begin(self, group: Group) -> Turn:
        leads = self.lead and len(group.requests) > 1 and bool(group.requests[0].images)
        if leads:
            self._leading += 1
        else:
            self._ready.extend(Turn(r, group, False) for r in group.requests[1:])
        return Turn(group.requests[0], group, leads)

    def landed(self, turn: Turn) -> None:
        """A request is answered, or has failed."""
        if turn.leads:
            self._leading -= 1
            self._ready.extend(Turn(r, turn.group, False) for r in turn.group.requests[1:])
            self._news.set()


@dataclass(slots=True)
class Session:
    """Requests in flight, at most `concurrency` of them, and what they brought.

    ask: answers one turn; what it raises ends the session.  interrupted: it was told to end.
    """

    schedule: Schedule
    ask: Callable[[Turn], Awaitable[Prediction]]
    interrupted: bool = False
    _landed: asyncio.Queue[Prediction | None] = field(default_factory=asyncio.Queue)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)
    _working: int = 0
    _broken: bool = False

    async def start(self, concurrency: int) -> None:
        """Begin asking."""
        self._working = concurrency
        self._workers = [asyncio.create_task(self._work()) for _ in range(concurrency)]

    async def _work(self) -> None:
        whole = False
        try:
            while not self._broken and (turn := await self.schedule.take()) is not None:
                prediction = await self.ask(turn)
                self.schedule.landed(turn)
                self._landed.put_nowait(prediction)
            whole = True
        finally:
            self._broken = self._broken or not whole
            self._working -= 1
            self._landed.put_nowait(None)

    async def batch(self) -> list[Prediction]:
        """What has landed since the last call, at least one; none when all is done.

        What ended the session early is raised when all that had landed before was given out; an interrupt is not:
        asyncio itself raises it out of its loop, and a second one would end the closing.
        """
        found: list[Prediction] = []
        while not found or not self._landed.empty():
            if self._landed.empty() and (self._working == 0 or self._broken):
                break
            if (prediction := await self._landed.get()) is not None:
                found.append(prediction)
        if not found:
            for worker in self._workers:
                if worker.done() and not worker.cancelled() and isinstance(problem := worker.exception(), Exception):
                    raise problem
        return found

    def interrupt(self) -> None:
        """Give out what has landed, and no more."""
        self.interrupted = self._broken = True
        self._landed.put_nowait(None)

    async def close(self) -> None:
        """Give up what is in flight."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)


@contextmanager
def told_of_interrupts(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C comes as a call in the loop; a second one is Python's own again.

    By itself Python raises it wherever the program happens to be.  In a loop that is run for one batch after another
    that is often a task or the transport, which it leaves broken, and the message is a traceback.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        tell()

    try:
        loop.add_signal_handler(signal.SIGINT, first)
    except NotImplementedError:  # loops of Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
