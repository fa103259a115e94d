"""Appending answers to predictions.jsonl, in a background thread."""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core.files import naming
from evalkit.core.types import Prediction
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import prediction_text

if TYPE_CHECKING:
    from concurrent.futures import Future


class Appender:
    """Appends answers to predictions.jsonl; `write` returns when they are on the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab")

    def write(self, lines: Iterable[PredictionLine]) -> None:
        """Append whole lines in one system call, so that at most the last one can be torn."""
        with naming(self._path):
            self._file.write("".join(prediction_text(line) for line in lines).encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BackgroundWriter:
    """Appends answers in a background thread, so that the model does not wait for the disk.

    Answers are written in the order in which `write` receives them, queued ones together; `write` blocks while more
    than `MAX_QUEUED` answers are queued.  An answer counts as written once it is on the disk: `written` is called
    then.  After a failure nothing more is written, so that no line follows a torn one.

    Args:
        line_of: makes the line of an answer; called in the background thread.
        written: called in the background thread with the number of answers that have reached the disk.
    """

    MAX_QUEUED = 4096

    def __init__(
        self,
        path: Path,
        line_of: Callable[[Prediction], PredictionLine],
        written: Callable[[int], None] | None = None,
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.seconds = 0.0
        self._line_of = line_of
        self._written = written
        self._file = Appender(path)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._queue: queue.SimpleQueue[Sequence[Prediction]] = queue.SimpleQueue()
        self._writes: deque[tuple[int, Future[None]]] = deque()
        self._n_queued = 0
        self._failed = False

    def write(self, answers: Sequence[Prediction]) -> None:
        """Queue answers; raises an error of the background thread, also one of earlier answers."""
        self._queue.put(answers)
        self._writes.append((len(answers), self._pool.submit(self._write_queued)))
        self._n_queued += len(answers)
        while self._writes and (self._writes[0][1].done() or self._n_queued > self.MAX_QUEUED):
            n, future = self._writes.popleft()
            self._n_queued -= n
            future.result()

    def _write_queued(self) -> None:
        """Write everything in the queue; it is empty where an earlier call took it."""
        if self._failed or self._queue.empty():
            return
        started = time.perf_counter()
        self._failed = True
        queued = [self._queue.get() for _ in range(self._queue.qsize())]
        self._file.write(self._line_of(answer) for answers in queued for answer in answers)
        if self._written is not None:
            self._written(sum(map(len, queued)))
        self._failed = False
        self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Wait until everything is on the disk; raises an error of the background thread."""
        try:
            for _, future in self._writes:
                future.result()
        finally:
            self._writes.clear()
            self._pool.shutdown()
            self._file.close()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
