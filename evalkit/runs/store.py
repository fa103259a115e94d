"""A run's folder: what was asked, what came back, what it scored.

Answers are appended as they arrive, one JSON line each, flushed and synced behind the model, so that a kill at any
moment loses what is in flight and nothing else.  Everything else is written whole and moved into place.
"""

from __future__ import annotations

import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import StoreError
from evalkit.core.files import json_line, write_whole
from evalkit.core.types import Prediction, Sample, Score

if TYPE_CHECKING:
    from concurrent.futures import Future

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run, `OUT/<model>-<task>-<8 hex of its content hash>/`."""

    path: Path

    @property
    def predictions(self) -> Path:
        """One line a sample, appended as answers arrive."""
        return self.path / "predictions.jsonl"

    @property
    def manifest(self) -> Path:
        """All that determines the numbers."""
        return self.path / "manifest.json"

    @property
    def scores(self) -> Path:
        """One line a sample x protocol x metric."""
        return self.path / "scores.jsonl"

    @property
    def summary(self) -> Path:
        """The numbers."""
        return self.path / "summary.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run: two processes cannot write one run.  The lock dies with its process, however that ends."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as problem:
            raise StoreError(
                f"Another process is writing the run {self.path}. Wait for it to end, or give this one another "
                "folder with out=DIR."
            ) from problem
        try:
            yield
        finally:
            lock.release()


def prediction_record(sample: Sample, prediction: Prediction) -> dict[str, Any]:
    """A line of predictions.jsonl: the answer beside what was asked, so that the file can be read on its own."""
    attempts = {"attempts": list(prediction.attempts)} if prediction.attempts else {}
    return {
        "sample_id": sample.id,
        "image_id": sample.image_id,
        "question": sample.question,
        "references": list(sample.references),
        "answer_type": sample.answer_type,
        "text": prediction.text,
        "error": prediction.error,
        "finish_reason": prediction.finish_reason,
        "n_tokens": prediction.n_tokens,
        "seconds": prediction.seconds,
        "fingerprint": prediction.fingerprint,
        **attempts,
    }


def prediction_from(record: Mapping[str, Any], where: str) -> Prediction:
    """The answer in one line of predictions.jsonl."""
    try:
        return Prediction(
            sample_id=record["sample_id"],
            text=record["text"],
            error=record["error"],
            finish_reason=record["finish_reason"],
            n_tokens=record["n_tokens"],
            seconds=record["seconds"],
            fingerprint=record["fingerprint"],
            attempts=tuple(record.get("attempts", ())),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise StoreError(
            f"{where} is not a line that evalkit wrote ({type(problem).__name__}: {problem}). Move the run's folder "
            "away, or start it anew with resume=false."
        ) from problem


def read_answered(path: Path) -> dict[str, Prediction]:
    """The answers that a run already has: fingerprint -> prediction, the last line of a fingerprint wins.

    A last line without its end is what a kill leaves: it is cut off the file.  Damage anywhere else is an error.
    """
    if not path.exists():
        return {}
    answered: dict[str, Prediction] = {}
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            prediction = _answer_in(line, f"{path}:{number}")
            answered[prediction.fingerprint] = prediction
            end += len(line)
    if end < path.stat().st_size:
        os.truncate(path, end)
    return answered


def _answer_in(line: bytes, where: str) -> Prediction:
    try:
        record = json.loads(line)
    except ValueError as problem:
        raise StoreError(
            f"{where} is not JSON: the file was damaged after it was written. Mend or remove that line (its "
            "sample is then asked again), or start anew with resume=false."
        ) from problem
    return prediction_from(record, where)


class Appender:
    """Appends answers to predictions.jsonl; `write` returns when they are on the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append whole lines in one go, so that at most the last one can be torn."""
        self._file.write("".join(json_line(r) for r in records).encode("utf-8"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Behind:
    """Appends answers in a thread of its own, so that the model does not wait for the disk.

    Answers go to the disk in the order in which they were given; those that wait together are written together, and
    at most `MOST_WAITING` wait before `write` does.  An answer counts as written when it is on the disk: `written` is
    called then, and not before.  After a failure nothing more is written, so that no line follows a torn one.

    Args:
        records: makes the lines of answers; called in the thread.
        written: called in the thread with the number of answers that have reached the disk.
    """

    MOST_WAITING = 4096

    def __init__(
        self,
        path: Path,
        records: Callable[[Prediction], Mapping[str, Any]],
        written: Callable[[int], None] | None = None,
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.seconds = 0.0
        self._records = records
        self._written = written
        self._file = Appender(path)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._given: queue.SimpleQueue[Sequence[Prediction]] = queue.SimpleQueue()
        self._turns: deque[tuple[int, Future[None]]] = deque()
        self._waiting = 0
        self._failed = False

    def write(self, answers: Sequence[Prediction]) -> None:
        """Give answers to the thread; raises what went wrong in it, be it with earlier ones."""
        self._given.put(answers)
        self._turns.append((len(answers), self._pool.submit(self._turn)))
        self._waiting += len(answers)
        while self._turns and (self._turns[0][1].done() or self._waiting > self.MOST_WAITING):
            n, turn = self._turns.popleft()
            self._waiting -= n
            turn.result()

    def _turn(self) -> None:
        """Write all that is there; nothing is, where an earlier turn took it along."""
        if self._failed or self._given.empty():
            return
        started = time.perf_counter()
        self._failed = True
        waiting = [self._given.get() for _ in range(self._given.qsize())]
        self._file.write(self._records(answer) for answers in waiting for answer in answers)
        if self._written is not None:
            self._written(sum(map(len, waiting)))
        self._failed = False
        self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Return when all is on the disk; raises what went wrong in the thread."""
        try:
            for _, turn in self._turns:
                turn.result()
        finally:
            self._turns.clear()
            self._pool.shutdown()
            self._file.close()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def set_aside(path: Path) -> Path | None:
    """Rename an existing file to NAME.1, NAME.2 ...: resume=false starts anew and still loses nothing."""
    if not path.exists():
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def write_predictions(path: Path, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> None:
    """The whole file, one line a sample."""
    pairs = zip(samples, predictions, strict=True)
    write_whole(path, (json_line(prediction_record(s, p)) for s, p in pairs))


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """One line a score; empty fields are left out."""
    write_whole(path, (json_line(_score_record(s)) for s in scores))


def _score_record(score: Score) -> dict[str, Any]:
    record: dict[str, Any] = {
        "sample_id": score.sample_id,
        "protocol": score.protocol,
        "metric": score.metric,
        "value": score.value,
    }
    more = {"extracted": score.extracted, "reason": score.reason, "note": score.note}
    return record | {k: v for k, v in more.items() if v}
