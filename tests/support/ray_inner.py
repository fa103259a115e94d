"""An engine=hf for tests on a Ray cluster: slow, and it writes down who asks it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.core.types import Prediction, Request
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec


class SlowHf(HfEngine):
    """Waits before it answers; `log` gets a line `NODE PID` as each call begins."""

    log: Path
    seconds: float

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        import ray

        with self.log.open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()} {os.getpid()}\n")
        time.sleep(self.seconds)
        yield from super().generate(requests)


def make(spec: CheckpointSpec, log: Path, seconds: float) -> SlowHf:
    """The engine, on the CPU in float32."""
    engine = SlowHf(spec=spec, device="cpu", dtype="float32", workers=0)
    engine.log, engine.seconds = log, seconds
    return engine
