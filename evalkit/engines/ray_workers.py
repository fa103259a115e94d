"""Pool of workers on a Ray cluster: starts workers as there is capacity, hands out work, replaces lost workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core import console, errors
from evalkit.core.errors import ConfigError, EngineError, EvalkitError, Partial
from evalkit.core.types import Prediction
from evalkit.engines.ray_queue import WorkItem, WorkQueue

# Seconds after which the cluster is inspected again: nodes may have joined.
POLL_SECONDS = 2.0
# Seconds without any started worker after which the user is notified.
STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResources:
    """GPUs and CPUs that one worker occupies on a node."""

    gpus: float
    cpus: float

    @classmethod
    def resolve(cls, nodes: Sequence[Mapping[str, Any]], *, gpus: float | None, cpus: float | None) -> WorkerResources:
        """Fill in defaults (None): one GPU if the cluster has any, then one CPU; else all CPUs of the smallest node."""
        available = [n.get("Resources", {}) for n in nodes if n.get("Alive")]
        if gpus is None:
            gpus = 1 if any(r.get("GPU", 0) >= 1 for r in available) else 0
        if cpus is None:
            cpus = 1 if gpus else min((r["CPU"] for r in available if r.get("CPU", 0) >= 1), default=1)
        return cls(gpus=gpus, cpus=cpus)

    def capacity(self, nodes: Sequence[Mapping[str, Any]]) -> int:
        """Maximum number of workers on an idle cluster."""
        available = [n.get("Resources", {}) for n in nodes if n.get("Alive")]
        needed = [(name, n) for name, n in (("CPU", self.cpus), ("GPU", self.gpus)) if n]
        return sum(min(math.floor(r.get(name, 0) / n) for name, n in needed) for r in available)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU and {self.gpus:g} GPU"


@dataclass(slots=True, kw_only=True, eq=False)
class _WorkerState:
    number: int
    handle: Any
    items: list[WorkItem] = field(default_factory=list)
    started: bool = False


class WorkerPool:
    """Workers of one run.

    Args:
        ray: the module, connected to a cluster.
        start_worker: starts one more worker; Ray places it, and it waits while there is no capacity for it.
        resources: what one worker occupies.
        identity: identity that each worker's engine must have; a different one would give the answers of another run.
        limit: maximum number of workers; None: as many as the cluster has capacity for.
    """

    def __init__(
        self, ray: Any, start_worker: Callable[[], Any], resources: WorkerResources, identity: str, limit: int | None
    ) -> None:
        self.ray = ray
        self.start_worker = start_worker
        self.resources = resources
        self.identity = identity
        self.limit = limit
        self.metadata: dict[int, Mapping[str, Any]] = {}
        self.started = self.lost = 0
        self._created = self._losses_in_a_row = self._peak = 0
        self._calls: dict[Any, _WorkerState] = {}  # the one pending call of each worker that is not idle
        self._idle: list[_WorkerState] = []
        self._last_progress = time.monotonic()

    def run(self, queue: WorkQueue) -> Iterator[list[Prediction]]:
        """Yield predictions as workers return them, every request exactly once.

        Raises:
            EvalkitError: an error that a worker's engine raised.
            EngineError, Partial: workers are lost one after another and none answers.
        """
        try:
            while len(queue) or any(w.items for w in self._calls.values()):
                self._start_workers(queue)
                self._assign(queue)
                done, _ = self.ray.wait(list(self._calls), num_returns=1, timeout=POLL_SECONDS)
                for call in done:
                    if predictions := self._collect(call, queue):
                        yield predictions
                self._report_stall()
        finally:
            for worker in [*self._calls.values(), *self._idle]:
                self.ray.kill(worker.handle)
            self._calls, self._idle = {}, []

    def _start_workers(self, queue: WorkQueue) -> None:
        """Start workers up to the cluster's capacity, and no more than there are items for."""
        starting = sum(not w.started for w in self._calls.values())
        limit = self.limit or max(1, self.resources.capacity(self.ray.nodes()))
        free = limit - len(self._calls) - len(self._idle)
        for _ in range(min(free, len(queue) - starting - len(self._idle))):
            worker = _WorkerState(number=self._created, handle=self.start_worker())
            self._created += 1
            self._calls[worker.handle.start.remote()] = worker
        self._peak = max(self._peak, len(self._calls) + len(self._idle))

    def _assign(self, queue: WorkQueue) -> None:
        while self._idle and len(queue):
            worker = self._idle.pop()
            worker.items = queue.take(len(self._calls) + len(self._idle) + 1)
            requests = [request for item in worker.items for request in item.requests]
            self._calls[worker.handle.answer.remote(requests)] = worker

    def _collect(self, call: Any, queue: WorkQueue) -> list[Prediction]:
        """Process a finished call: predictions, failures that are given up, or none for a worker that just started."""
        worker = self._calls.pop(call)
        try:
            reply = self.ray.get(call)
        except self.ray.exceptions.RayError as problem:
            return self._handle_loss(worker, problem, queue)
        self._last_progress = time.monotonic()
        if "error" in reply:
            self.ray.kill(worker.handle)
            raise _error_of(reply)
        self._idle.append(worker)
        if not worker.started:
            worker.started = True
            self.started += 1
            self._check_identity(reply["identity"])
            return []
        self._losses_in_a_row = 0
        worker.items = []
        self.metadata[worker.number] = reply["metadata"]
        predictions: list[Prediction] = reply["predictions"]
        return predictions

    def _check_identity(self, identity: str) -> None:
        if identity != self.identity:
            raise ConfigError(
                "A worker of engine=ray would give different answers than this machine: its weights differ, or "
                "engine.inner.dtype=auto resolves to another dtype there (bfloat16 on a GPU, float32 on a CPU). Set "
                "the dtype, for example engine.inner.dtype=bfloat16, and use the same model folder on every node."
            )

    def _handle_loss(self, worker: _WorkerState, problem: BaseException, queue: WorkQueue) -> list[Prediction]:
        """Discard a worker that died or whose engine raised an unexpected error, and requeue its items."""
        self.ray.kill(worker.handle)
        self.lost += 1
        self._losses_in_a_row += 1
        reason = _loss_reason(problem)
        console.note(f"a worker of engine=ray was lost ({reason}); its images are reassigned to another worker")
        failures = queue.requeue(worker.items, reason)
        # A whole node may fail at once; more losses in a row, with no answer in between, point to a systematic fault.
        if self._losses_in_a_row > 2 * self._peak + 4:
            message = f"{self._losses_in_a_row} workers of engine=ray were lost in a row, the last: {reason}."
            if not self.metadata:
                raise EngineError(f"{message} Nothing was answered; try engine=hf on one of the nodes.")
            raise Partial(f"{message} The answers so far are kept; run the same command again to continue.")
        return failures

    def _report_stall(self) -> None:
        if any(w.started for w in self._calls.values()) or time.monotonic() - self._last_progress < STALL_SECONDS:
            return
        self._last_progress = time.monotonic()
        console.note(
            f"no worker of engine=ray has started for {STALL_SECONDS:g} s; one needs {self.resources}, the cluster has "
            f"{self.ray.cluster_resources()}, free {self.ray.available_resources()}; waiting for capacity"
        )


def _loss_reason(problem: BaseException) -> str:
    """Exception type and the last line of Ray's message, which names the cause."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {lines[-1][:200]}" if lines else type(problem).__name__


def _error_of(reply: Mapping[str, Any]) -> EvalkitError:
    kind = getattr(errors, str(reply["error"]), EngineError)
    problem: EvalkitError = kind(f"{reply['message']} (reported by a worker of engine=ray)")
    return problem
