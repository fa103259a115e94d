"""An engine=hf for tests on a Ray cluster that is slow and logs its calls."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.core.types import Prediction, Request
from evalkit.engines.hf import HfEngine
from evalkit.models.checkpoint import CheckpointSpec


class SlowHf(HfEngine):
    """Sleeps before it answers; writes a line `NODE PID` to `log` at the start of each call."""

    log: Path
    seconds: float

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        import ray

        with self.log.open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()} {os.getpid()}\n")
        time.sleep(self.seconds)
        yield from super().generate(requests)


def make(spec: CheckpointSpec, log: Path, seconds: float) -> SlowHf:
    """Make the engine on the CPU in float32."""
    engine = SlowHf(spec=spec, device="cpu", dtype="float32", workers=0)
    engine.log, engine.seconds = log, seconds
    return engine
