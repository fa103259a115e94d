"""Cost of a run without its model: python benchmarks/host.py --out benchmarks/results/host-cpu.json

Host work: everything that `run` does except the model's forward passes and the decoding and preprocessing of each
image, on 600 questions about 60 image files of 512 x 512 pixels: checking and hashing images, prompts, tokens,
packing, masks, choosing tokens, writing, scoring under three protocols with slices, intervals and text-only baselines.
Measured in one thread, as processor time: the total minus the time inside model and preprocessing.  The model is the
built-in one with shared prefixes.  Start: from the command to the first answers on disk.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

TARGET = {"host_ms_a_sample": 3, "start_seconds": 8, "help_seconds": 0.5}
SIDE = 512


class Clock:
    """Measures processor seconds of this thread inside wrapped functions; nested calls count once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # transformers inspects forward's signature
        def clocked(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, started = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started

        return clocked


def files(task: Any, folder: Path) -> Any:
    """Save the task's drawings as image files, the usual form of data sets, and return the loaded task."""
    from PIL import Image

    from evalkit.core.images import open_image
    from evalkit.core.types import ImageRef

    loaded = task.load()
    saved: dict[ImageRef, ImageRef] = {}
    for ref in dict.fromkeys(ref for sample in loaded.samples for ref in sample.images):
        path = folder / f"{len(saved)}.png"
        open_image(ref).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
        saved[ref] = ImageRef(kind="file", path=str(path))
    samples = tuple(replace(s, images=tuple(saved[ref] for ref in s.images)) for s in loaded.samples)
    return replace(loaded, samples=samples)


def host_work(folder: Path, batch_size: int | None) -> dict[str, Any]:
    """Measure one run in this process and thread: milliseconds per sample by category."""
    import torch

    from evalkit.cli.config import build, load_option, protocols_for
    from evalkit.core import images
    from evalkit.engines.hf import HfEngine
    from evalkit.models.checkpoint import CheckpointSpec
    from evalkit.pipeline import evaluate as pipeline
    from evalkit.tasks.image_check import check_images

    torch.set_num_threads(1)
    content = load_option("task", "phantom")
    task = build(content, "task")
    protocols = [build(c, name) for name, c in protocols_for(None, content).items()]
    loaded = files(task, folder)
    spec = CheckpointSpec.from_config(load_option("model", "phantom-llava") | {"name": "phantom-llava"})
    engine = HfEngine(
        spec=spec, device="cpu", dtype="float32", workers=0, share_prefix="require", batch_size=batch_size
    )
    ready = engine.load()
    settings = pipeline.Settings(model="phantom-llava", out=folder / f"runs {batch_size}")

    def run(clock: Clock) -> float:
        opener, model, processor = images.open_image, ready.model, type(ready.processor.image_processor)
        forward, called = model.forward, processor.__call__
        features = model.get_image_features
        images.open_image = clock.around("opening images", opener)
        processor.__call__ = clock.around("preprocessing images", called)
        model.forward = clock.around("model", forward)
        model.get_image_features = clock.around("model", features)
        started = time.process_time()
        try:
            checked, digests = check_images(loaded)
            outcome = pipeline.evaluate(task, checked, digests, engine, protocols, settings, {})
        finally:
            images.open_image, processor.__call__ = opener, called
            del model.forward, model.get_image_features
        assert outcome is not None
        assert outcome.n_failed == 0
        return time.process_time() - started

    run(Clock())  # imports and first calls
    settings = replace(settings, resume=False)
    clock = Clock()
    all_seconds = run(clock)
    n = len(loaded.samples)
    assert engine.metadata()["counters"]["image_decodes"] == 2 * len({s.image_id for s in loaded.samples})
    parts = {name: round(1000 * seconds / n, 3) for name, seconds in clock.seconds.items()}
    host = all_seconds - sum(clock.seconds.values())
    return {
        "batch_size": batch_size,
        "samples": n,
        "host_ms_a_sample": round(1000 * host / n, 3),
        "beside_it_ms": parts,
    }


def start(folder: Path) -> dict[str, float]:
    """Measure seconds from the command to the first answers on disk, and to the end, on 600 questions.

    Also measures processor time, which other processes on the machine affect less than wall time.
    """
    command = [sys.executable, "-m", "evalkit", "model=phantom-llava", "task=phantom", f"out={folder}"]
    started = time.perf_counter()
    first = used = None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if first is None and any(p.stat().st_size for p in folder.glob("*/predictions.jsonl")):
                first, used = time.perf_counter() - started, processor_seconds(process.pid)
            time.sleep(0.005)
    if process.returncode or first is None or used is None:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    seconds = {"first_batch": first, "processor_to_first_batch": used, "end": time.perf_counter() - started}
    return {name: round(value, 2) for name, value in seconds.items()}


def processor_seconds(pid: int) -> float:
    """Processor seconds that a process has used so far, in all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def help_seconds() -> float:
    """Measure wall seconds of --help."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "evalkit", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure everything, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    from evalkit.engines.profiling import machine

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = [host_work(folder, size) for size in (None, 8)]
        helps = [help_seconds() for _ in range(arguments.repetitions)]
        starts = [start(folder / f"start {i}") for i in range(arguments.repetitions + 1)]
        starts = starts[1:]  # the first warms the cache
    result = {
        "about": " ".join(__doc__.split("\n\n")[1].split()),
        "command": "python benchmarks/host.py " + " ".join(sys.argv[1:]),
        "target": TARGET,
        "host": work,
        "start_seconds": statistics.median(s["first_batch"] for s in starts),
        "start_processor_seconds": statistics.median(s["processor_to_first_batch"] for s in starts),
        "starts": starts,
        "help_seconds": round(statistics.median(helps), 3),
        "help_seconds_all": [round(s, 3) for s in helps],
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
