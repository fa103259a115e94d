"""What a call leaves of the process as it found it: torch's settings, and an event loop that already runs."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from evalkit.core.types import Prediction
    from evalkit.engines.base import Engine

T = TypeVar("T")


class _TorchSettings:
    """Settings of torch that engine=hf changes for the whole process: threads, precision of float32, random numbers.

    Several calls may overlap; the first one saves them and the last one restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n = 0
        self._saved: tuple[Any, ...] = ()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Restore the settings at the end; without effect for those of a torch that nothing imports."""
        with self._lock:
            if not self._n:
                self._saved = _torch_settings()
            self._n += 1
        try:
            yield
        finally:
            with self._lock:
                self._n -= 1
                if not self._n:
                    _set_torch(self._saved)
                    self._saved = ()


torch_settings = _TorchSettings()


def _torch_settings() -> tuple[Any, ...]:
    if "torch" not in sys.modules:
        return ()
    import torch

    precisions = (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)
    numbers = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_num_threads(), precisions, torch.get_rng_state(), numbers


def _set_torch(saved: tuple[Any, ...]) -> None:
    if not saved:  # torch was not there, so that nobody has set anything; its defaults are
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(_default_threads())
        return
    import torch

    threads, (conv, matmul), cpu, gpus = saved
    torch.set_num_threads(threads)
    torch.backends.cudnn.conv.fp32_precision = conv
    torch.backends.cuda.matmul.fp32_precision = matmul
    torch.set_rng_state(cpu)
    if gpus is not None:
        torch.cuda.set_rng_state_all(gpus)


def _default_threads() -> int:
    """The number of threads that torch starts with."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdecimal() and int(stated) else len(os.sched_getaffinity(0))


def outside_event_loop(work: Callable[[Callable[[Engine], Engine]], T]) -> T:
    """The result of `work`, which may start an event loop of its own: in a thread where one runs here, as in notebooks.

    Args:
        work: gets a function that every engine passes through: an interrupt of the caller ends the engine after the
            answers that are under way.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work(lambda engine: engine)
    stop = threading.Event()
    result: list[T] = []
    problem: list[BaseException] = []

    def in_thread() -> None:
        try:
            result.append(work(lambda engine: _until(stop, engine)))
        except BaseException as raised:  # noqa: BLE001 - raised again in the caller's thread
            problem.append(raised)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(in_thread,), name="evalkit")
    thread.start()
    try:
        thread.join()
    except BaseException:
        stop.set()
        thread.join()
        raise
    if problem:
        raise problem[0]
    return result[0]


@dataclass(slots=True)
class _Stoppable:
    """An engine that stops between two batches."""

    engine: Engine
    stop: threading.Event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(self, requests: Any) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  Raises KeyboardInterrupt once the caller was interrupted."""
        for batch in self.engine.generate(requests):
            yield batch
            if self.stop.is_set():
                raise KeyboardInterrupt


def _until(stop: threading.Event, engine: Engine) -> Engine:
    found: Any = _Stoppable(engine, stop)
    return found  # type: ignore[no-any-return]
