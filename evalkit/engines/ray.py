"""engine=ray: many workers on a Ray cluster, in each an engine of its own, work handed out by image.

Ray places the workers, starts them and says when one is lost; here is only who gets which images next.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, EngineError, EvalkitError, first_line
from evalkit.core.types import Prediction, Request
from evalkit.engines.base import Engine
from evalkit.engines.metadata import combined
from evalkit.engines.preprocess import by_image
from evalkit.engines.ray_queue import Work
from evalkit.engines.ray_workers import Crew, Needs

# Seconds in which a cluster's address must take a connection.
KNOCK = 10.0


class Member:
    """What runs in a worker: the inner engine.  What it raises for a user is told, anything else ends the worker.

    Args:
        inner: makes the engine.
        folder: where the run was started: relative paths mean the same in a worker on a shared file system.
    """

    def __init__(self, inner: Callable[[], Engine], folder: str) -> None:
        self._inner = inner
        self._folder = folder
        self._engine: Engine | None = None

    def start(self) -> dict[str, Any]:
        """Make the engine; no weights are loaded yet."""
        if Path(self._folder).is_dir():
            os.chdir(self._folder)
        try:
            self._engine = self._inner()
        except EvalkitError as problem:
            return _told(problem)
        return {"identity": self._engine.identity}

    def answer(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Answer requests; the engine's facts come along, for a later loss must not take them."""
        assert self._engine is not None
        try:
            answers = [p for batch in self._engine.generate(requests) for p in batch]
        except EvalkitError as problem:
            return _told(problem)
        return {"answers": answers, "facts": self._engine.facts()}


def _told(problem: EvalkitError) -> dict[str, Any]:
    return {"error": type(problem).__name__, "message": str(problem)}


class RayEngine:
    """Generates with several engines at once.

    Its identity is the inner engine's, and so are its answers: a run may be begun with one and ended with the other.

    Args:
        inner: makes the engine of a worker; it is called here too, for its identity, and loads nothing then.
        address: "local" (a cluster of this machine that ends with the run), "auto", HOST:PORT or ray://HOST:PORT.
        workers: at most so many; None: as many as there is room for, looked up again while the run goes on.
        gpus, cpus: what a worker takes; None: one GPU where the cluster has any, and one CPU beside it, else all CPUs
            of the smallest node.
        chunk: at most so many requests at once to a worker, an image's in any case together.
        retries: how often an image's requests go to another worker after one was lost with them.
        runtime_env: Ray's own description of what workers need, passed on.
    """

    name = "ray"

    def __init__(
        self,
        *,
        inner: Callable[[], Engine],
        address: str = "local",
        workers: int | None = None,
        gpus: float | None = None,
        cpus: float | None = None,
        chunk: int = 128,
        retries: int = 2,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, fine in (
            ("workers", workers, workers is None or workers >= 1),
            ("gpus", gpus, gpus is None or gpus >= 0),
            ("cpus", cpus, cpus is None or cpus > 0),
            ("chunk", chunk, chunk >= 1),
            ("retries", retries, retries >= 0),
        ):
            if not fine:
                raise ConfigError(f"engine.{name}={value} is not possible.")
        _ray()
        engine = inner()
        if not getattr(engine, "local_weights", True):
            raise ConfigError(
                f"engine={engine.name} cannot be the inner engine of engine=ray: it loads no weights, so there is "
                f"nothing to divide. Use engine={engine.name} itself; it asks many at once."
            )
        if getattr(engine, "measure_flips", 0):
            raise ConfigError("engine.inner.measure_flips is counted in one process; measure it with engine=hf.")
        self.inner = inner
        self.inner_name = engine.name
        self.identity, self.generation, self.needs_images = engine.identity, engine.generation, engine.needs_images
        self.address = str(address)
        self.workers, self.gpus, self.cpus = workers, gpus, cpus
        self.chunk, self.retries = chunk, retries
        self.runtime_env = dict(runtime_env or {})
        self._said: dict[str, Any] = {}

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.

        Raises:
            EvalkitError: what a worker's engine raised, of its class.
            EngineError, Partial: workers are lost one after another.
        """
        if not requests:
            return
        with self._cluster() as ray:
            work = Work(by_image(requests), chunk=self.chunk, retries=self.retries)
            needs = Needs.of(ray.nodes(), gpus=self.gpus, cpus=self.cpus)
            if self.address == "local" and not needs.room(ray.nodes()):
                raise ConfigError(f"This machine has no room for a worker of engine=ray, which needs {needs}.")
            remote = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0)(Member)
            crew = Crew(ray, lambda: remote.remote(self.inner, str(Path.cwd())), needs, self.identity, self.workers)
            try:
                yield from crew.answered(work)
            finally:
                self._said = {
                    **combined(list(crew.facts.values()), "differs_between_workers"),
                    "ray": {
                        "version": ray.__version__,
                        "cluster": "local" if self.address == "local" else "existing",
                        "worker_needs": str(needs),
                        "workers": crew.started,
                        "workers_lost": crew.lost,
                        "groups_redone": work.redone,
                        "groups_given_up": work.given_up,
                    },
                }

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected; a connection that was there before is used and left as it is."""
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a run leaves the machine unasked
        own = {"include_dashboard": False} if self.address == "local" else {}
        try:
            _knock(self.address)
            ray.init(
                address=self.address,
                runtime_env=self.runtime_env or None,
                log_to_driver=False,
                logging_level="error",
                **own,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise EngineError(
                f"engine.address={self.address}: no Ray cluster can be reached there ({first_line(problem)}). Start "
                "one with `ray start --head` and give its HOST:6379, or use engine.address=local; versions of Ray and "
                "Python must be the cluster's own."
            ) from problem
        try:
            yield ray
        finally:
            ray.shutdown()

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`: the inner engine's, all workers' counters added up, and what became of the workers."""
        return {**self._said, "engine": self.name, "inner_engine": self.inner_name}


def _ray() -> Any:
    try:
        import ray
    except ImportError as problem:
        raise ConfigError(
            "engine=ray needs the package ray, which is not installed here. Install it with "
            "`pip install 'evalkit-medvqa[ray]'` on this machine and on every node of the cluster, or use engine=hf."
        ) from problem
    return ray


def _knock(address: str) -> None:
    """OSError where nobody listens: Ray itself would try for hours."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
