"""engine=ray: several workers on a Ray cluster, each with its own engine; requests are distributed by image.

Ray places and starts the workers and reports lost ones; this module only decides which worker gets which images.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, EngineError, EvalkitError, first_line
from evalkit.core.setting_types import check_ranges
from evalkit.core.types import Prediction, Request
from evalkit.engines.base import Engine
from evalkit.engines.metadata import merge_metadata
from evalkit.engines.preprocess import group_by_image
from evalkit.engines.ray_queue import WorkQueue
from evalkit.engines.ray_workers import WorkerPool, WorkerResources

# Seconds within which the cluster's address must accept a connection.
CONNECT_TIMEOUT = 10.0


class Worker:
    """Remote actor that runs the inner engine.  Returns EvalkitErrors as data; any other exception ends the worker.

    Args:
        inner: makes the engine.
        folder: working directory of the run, so that relative paths resolve alike on a shared file system.
    """

    def __init__(self, inner: Callable[[], Engine], folder: str) -> None:
        self._inner = inner
        self._folder = folder
        self._engine: Engine | None = None

    def start(self) -> dict[str, Any]:
        """Make the engine without loading weights, and return its identity."""
        if Path(self._folder).is_dir():
            os.chdir(self._folder)
        try:
            self._engine = self._inner()
        except EvalkitError as problem:
            return _error_reply(problem)
        return {"identity": self._engine.identity}

    def answer(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Answer requests.  Returns the engine's metadata each time, so that it survives a later loss of the worker."""
        assert self._engine is not None
        try:
            predictions = [p for batch in self._engine.generate(requests) for p in batch]
        except EvalkitError as problem:
            return _error_reply(problem)
        return {"predictions": predictions, "metadata": self._engine.metadata()}


def _error_reply(problem: EvalkitError) -> dict[str, Any]:
    return {"error": type(problem).__name__, "message": str(problem)}


class RayEngine:
    """Generates with several engines at once.

    Identity and answers are those of the inner engine: a run may be started with one and continued with the other.

    Args:
        inner: makes the engine of a worker; also called in this process for the engine's identity, without loading.
        address: "local" (a cluster on this machine that ends with the run), "auto", HOST:PORT or ray://HOST:PORT.
        workers: maximum number; None: as many as the cluster has capacity for, checked again during the run.
        gpus, cpus: resources of one worker; None: one GPU if the cluster has any, and one CPU with it, else all CPUs
            of the smallest node.
        chunk: maximum number of requests sent to a worker at once; the requests of one image stay together.
        retries: how often an image's requests go to another worker after a worker was lost with them.
        runtime_env: Ray's description of the workers' environment, passed on unchanged.
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
        check_ranges(
            "engine",
            ("workers", workers, workers is None or workers >= 1, "a number of workers from 1, or null for all"),
            ("gpus", gpus, gpus is None or gpus >= 0, "a number of GPUs of each worker, 0 for none, or null"),
            ("cpus", cpus, cpus is None or cpus > 0, "a number of processors of each worker above 0, or null"),
            ("chunk", chunk, chunk >= 1, "a number of questions of 1 or more"),
            ("retries", retries, retries >= 0, "a number of further attempts, 0 for none"),
        )
        _import_ray()
        engine = inner()
        if not getattr(engine, "local_weights", True):
            raise ConfigError(
                f"engine={engine.name} cannot be the inner engine of engine=ray: it loads no weights, so there is "
                f"nothing to distribute. Use engine={engine.name} directly; it sends many requests at once."
            )
        if getattr(engine, "measure_flips", 0):
            raise ConfigError("engine.inner.measure_flips works in a single process only; measure it with engine=hf.")
        self.inner = inner
        self.inner_name = engine.name
        self.identity, self.generation, self.needs_images = engine.identity, engine.generation, engine.needs_images
        self.max_images = getattr(engine, "max_images", None)
        self.address = str(address)
        self.workers, self.gpus, self.cpus = workers, gpus, cpus
        self.chunk, self.retries = chunk, retries
        self.runtime_env = dict(runtime_env or {})
        self._metadata: dict[str, Any] = {}

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.

        Raises:
            EvalkitError: an error that a worker's engine raised, with its class.
            EngineError, Partial: workers are lost one after another.
        """
        if not requests:
            return
        with self._cluster() as ray:
            queue = WorkQueue(group_by_image(requests), chunk=self.chunk, retries=self.retries)
            resources = WorkerResources.resolve(ray.nodes(), gpus=self.gpus, cpus=self.cpus)
            if self.address == "local" and not resources.capacity(ray.nodes()):
                raise ConfigError(
                    f"This machine cannot run a worker of engine=ray, which needs {resources}. Set engine.cpus and "
                    "engine.gpus to what the machine has."
                )
            actor = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0)(Worker)
            pool = WorkerPool(
                ray, lambda: actor.remote(self.inner, str(Path.cwd())), resources, self.identity, self.workers
            )
            try:
                yield from pool.run(queue)
            finally:
                self._metadata = {
                    **merge_metadata(list(pool.metadata.values()), "differs_between_workers"),
                    "ray": {
                        "version": ray.__version__,
                        "cluster": "local" if self.address == "local" else "existing",
                        "worker_needs": str(resources),
                        "workers": pool.started,
                        "workers_lost": pool.lost,
                        "groups_redone": queue.redone,
                        "groups_given_up": queue.given_up,
                    },
                }

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Connect to Ray and disconnect afterwards; an existing connection is used and left open."""
        ray = _import_ray()
        if ray.is_initialized():
            yield ray
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports, unless the user enables them
        options = {"include_dashboard": False} if self.address == "local" else {}
        try:
            _check_reachable(self.address)
            ray.init(
                address=self.address,
                runtime_env=self.runtime_env or None,
                log_to_driver=False,
                logging_level="error",
                **options,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise EngineError(
                f"engine.address={self.address}: no Ray cluster can be reached there ({first_line(problem)}). Start "
                "one with `ray start --head` and give its HOST:6379, or use engine.address=local. The versions of Ray "
                "and Python must match those of the cluster."
            ) from problem
        try:
            yield ray
        finally:
            ray.shutdown()

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`.  The inner engine's record, counters summed over workers, and worker statistics."""
        return {**self._metadata, "engine": self.name, "inner_engine": self.inner_name}


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as problem:
        raise ConfigError(
            "engine=ray needs the package ray, which is not installed. Install it with "
            "`pip install 'evalkit-medvqa[ray]'` on this machine and on every node of the cluster, or use engine=hf."
        ) from problem
    return ray


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at the address: Ray itself would retry for hours."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()
