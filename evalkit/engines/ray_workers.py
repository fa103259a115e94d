"""Workers on a Ray cluster while they answer: hired as there is room, given work, replaced when they are lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core import console, errors
from evalkit.core.errors import ConfigError, EngineError, EvalkitError, Partial
from evalkit.core.types import Prediction
from evalkit.engines.ray_queue import Piece, Work

# Seconds after which the cluster is looked at again: nodes may have come.
LOOK = 2.0
# Seconds without any worker after which the user is told what is waited for.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a worker takes of a node."""

    gpus: float
    cpus: float

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, Any]], *, gpus: float | None, cpus: float | None) -> Needs:
        """As asked for; None: one GPU where there is any, one CPU beside it, else all CPUs of the smallest node."""
        have = [n.get("Resources", {}) for n in nodes if n.get("Alive")]
        if gpus is None:
            gpus = 1 if any(r.get("GPU", 0) >= 1 for r in have) else 0
        if cpus is None:
            cpus = 1 if gpus else min((r["CPU"] for r in have if r.get("CPU", 0) >= 1), default=1)
        return cls(gpus=gpus, cpus=cpus)

    def room(self, nodes: Sequence[Mapping[str, Any]]) -> int:
        """How many workers the nodes that are alive have room for, were nobody else there."""
        have = [n.get("Resources", {}) for n in nodes if n.get("Alive")]
        wanted = [(name, n) for name, n in (("CPU", self.cpus), ("GPU", self.gpus)) if n]
        return sum(min(math.floor(r.get(name, 0) / n) for name, n in wanted) for r in have)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU and {self.gpus:g} GPU"


@dataclass(slots=True, kw_only=True, eq=False)
class _Worker:
    number: int
    handle: Any
    pieces: list[Piece] = field(default_factory=list)
    started: bool = False


class Crew:
    """The workers of one run.

    Args:
        ray: the module, connected.
        hire: starts one more worker; Ray decides where, and it waits where there is no room yet.
        needs: what a worker takes.
        identity: what each worker's engine must be, or its answers would be another run's.
        most: at most so many workers; None: as many as there is room for.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], needs: Needs, identity: str, most: int | None) -> None:
        self.ray = ray
        self.hire = hire
        self.needs = needs
        self.identity = identity
        self.most = most
        self.facts: dict[int, Mapping[str, Any]] = {}
        self.started = self.lost = 0
        self._hired = self._in_a_row = self._peak = 0
        self._calls: dict[Any, _Worker] = {}  # the one call that each worker which is not idle is busy with
        self._idle: list[_Worker] = []
        self._last_sign = time.monotonic()

    def answered(self, work: Work) -> Iterator[list[Prediction]]:
        """The answers as workers give them, every request once.

        Raises:
            EvalkitError: what a worker's engine raised.
            EngineError, Partial: workers are lost one after another and none answers.
        """
        try:
            while len(work) or any(w.pieces for w in self._calls.values()):
                self._fill(work)
                self._hand_out(work)
                done, _ = self.ray.wait(list(self._calls), num_returns=1, timeout=LOOK)
                for call in done:
                    if answers := self._settle(call, work):
                        yield answers
                self._say_if_stuck()
        finally:
            for worker in [*self._calls.values(), *self._idle]:
                self.ray.kill(worker.handle)
            self._calls, self._idle = {}, []

    def _fill(self, work: Work) -> None:
        """Hire up to what there is room for, and no more than there is work for."""
        starting = sum(not w.started for w in self._calls.values())
        room = self.most or max(1, self.needs.room(self.ray.nodes()))
        free = room - len(self._calls) - len(self._idle)
        for _ in range(min(free, len(work) - starting - len(self._idle))):
            worker = _Worker(number=self._hired, handle=self.hire())
            self._hired += 1
            self._calls[worker.handle.start.remote()] = worker
        self._peak = max(self._peak, len(self._calls) + len(self._idle))

    def _hand_out(self, work: Work) -> None:
        while self._idle and len(work):
            worker = self._idle.pop()
            worker.pieces = work.take(len(self._calls) + len(self._idle) + 1)
            requests = [request for piece in worker.pieces for request in piece.requests]
            self._calls[worker.handle.answer.remote(requests)] = worker

    def _settle(self, call: Any, work: Work) -> list[Prediction]:
        """What came of a call: answers, failures that are given up, or a worker that is ready."""
        worker = self._calls.pop(call)
        try:
            told = self.ray.get(call)
        except self.ray.exceptions.RayError as problem:
            return self._lose(worker, problem, work)
        self._last_sign = time.monotonic()
        if "error" in told:
            self.ray.kill(worker.handle)
            raise _raised(told)
        self._idle.append(worker)
        if not worker.started:
            worker.started = True
            self.started += 1
            self._check(told["identity"])
            return []
        self._in_a_row = 0
        worker.pieces = []
        self.facts[worker.number] = told["facts"]
        answers: list[Prediction] = told["answers"]
        return answers

    def _check(self, identity: str) -> None:
        if identity != self.identity:
            raise ConfigError(
                "A worker of engine=ray would not answer as this machine would: its weights are others, or "
                "engine.inner.dtype=auto means another dtype there (bfloat16 on a GPU, float32 on a CPU). Give the "
                "dtype, for example engine.inner.dtype=bfloat16, and the same model folder on every node."
            )

    def _lose(self, worker: _Worker, problem: BaseException, work: Work) -> list[Prediction]:
        """A worker ended, or what its engine raised is a fault of ours or of the device: it is not asked again."""
        self.ray.kill(worker.handle)
        self.lost += 1
        self._in_a_row += 1
        why = _why(problem)
        console.note(f"a worker of engine=ray was lost ({why}); its images go to another")
        failures = work.lost(worker.pieces, why)
        # A whole node may go at once; more than that in a row, with no answer between, is no accident.
        if self._in_a_row > 2 * self._peak + 4:
            said = f"{self._in_a_row} workers of engine=ray were lost in a row, the last: {why}."
            if not self.facts:
                raise EngineError(f"{said} Nothing was answered; try engine=hf on one of its nodes.")
            raise Partial(f"{said} What is answered is kept; the same command goes on from there.")
        return failures

    def _say_if_stuck(self) -> None:
        if any(w.started for w in self._calls.values()) or time.monotonic() - self._last_sign < PATIENCE:
            return
        self._last_sign = time.monotonic()
        console.note(
            f"no worker of engine=ray has started for {PATIENCE:g} s; one needs {self.needs}, the cluster has "
            f"{self.ray.cluster_resources()}, free {self.ray.available_resources()}; waiting for room"
        )


def _why(problem: BaseException) -> str:
    """The kind of a loss and the last line of what Ray says, which names the cause."""
    said = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {said[-1][:200]}" if said else type(problem).__name__


def _raised(told: Mapping[str, Any]) -> EvalkitError:
    kind = getattr(errors, str(told["error"]), EngineError)
    problem: EvalkitError = kind(f"{told['message']} (said by a worker of engine=ray)")
    return problem
