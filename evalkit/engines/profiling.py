"""Measurements of a run: time inside the model, peak memory, and the machine's limits of speed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.engines.loaded_model import Counters, LoadedModel

# Names of the vision tower's module in transformers' image-text-to-text models.
VISION = ("vision_tower", "visual", "vision_model", "vision_encoder")
MIB = 2**20


@dataclass(slots=True)
class ForwardTimes:
    """Seconds in the vision tower, in forward passes with an image (without the tower) and in all other passes."""

    vision: float = 0.0
    with_image: float = 0.0
    other: float = 0.0
    tower_inside: float = 0.0


@contextmanager
def time_forwards(loaded: LoadedModel) -> Iterator[ForwardTimes]:
    """Time the forward passes of the model and, inside them, of the vision tower."""
    import torch

    times = ForwardTimes()
    started: dict[str, float] = {}

    def now() -> float:
        if loaded.device.startswith("cuda"):
            torch.cuda.synchronize(loaded.device)
        return time.perf_counter()

    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            started[name] = now()

        return hook

    def leave_tower(*_: Any) -> None:
        seconds = now() - started["tower"]
        times.vision += seconds
        times.tower_inside += seconds if "model" in started else 0.0

    def leave_model(_module: Any, _args: Any, kwargs: dict[str, Any], _output: Any) -> None:
        seconds = now() - started.pop("model")
        # transformers 5 runs the tower before the first forward pass and passes its output in.
        if any((n.startswith("pixel") or n == "mm_encoder_outputs") and v is not None for n, v in kwargs.items()):
            times.with_image += seconds
        else:
            times.other += seconds

    handles = [
        loaded.model.register_forward_pre_hook(enter("model")),
        loaded.model.register_forward_hook(leave_model, with_kwargs=True),
    ]
    if (tower := vision_tower(loaded.model)) is not None:
        handles += [tower.register_forward_pre_hook(enter("tower")), tower.register_forward_hook(leave_tower)]
    try:
        yield times
    finally:
        for handle in handles:
            handle.remove()
        times.with_image -= times.tower_inside


def vision_tower(model: Any) -> Any:
    """Find the outermost module with the name of a vision tower; None if there is none."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in VISION:
            return module
    return None


@contextmanager
def track_peak_memory(loaded: LoadedModel) -> Iterator[list[float | None]]:
    """Measure the peak of memory in MiB above the amount in use before; the list's entry is set on exit.

    None if it cannot be measured.  On a CPU this is the resident size of the process; Linux lets a process reset the
    high-water mark.
    """
    import torch

    peak: list[float | None] = [None]
    on_gpu = loaded.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(loaded.device)
        before: float | None = torch.cuda.memory_allocated(loaded.device) / MIB
    else:
        before = _resident("VmRSS") if _reset_high_water_mark() else None
    yield peak
    after = torch.cuda.max_memory_allocated(loaded.device) / MIB if on_gpu else _resident("VmHWM")
    if before is not None and after is not None:
        peak[0] = round(after - before, 1)


def _reset_high_water_mark() -> bool:
    """Release unused heap memory and reset the high-water mark; False on systems other than Linux."""
    import ctypes
    import gc

    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return False
    return True


def _resident(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def machine(loaded: LoadedModel | None = None) -> dict[str, Any]:
    """Describe the machine, for benchmark results; with a model also its device and library versions."""
    cpu = Path("/proc/cpuinfo")
    names = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    record: dict[str, Any] = {
        "cpu": next((n.partition(":")[2].strip() for n in names if n.startswith("model name")), platform.processor()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }
    if loaded is None:
        return record
    import torch
    import transformers

    on_gpu = loaded.device.startswith("cuda")
    return record | {
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(loaded.device) if on_gpu else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def machine_limits(loaded: LoadedModel) -> dict[str, float]:
    """Measure FLOP/s of matrix products and bytes/s of memory traffic, in the model's dtype on its device."""
    import torch

    dtype = getattr(torch, loaded.dtype)
    on_gpu = loaded.device.startswith("cuda")
    size = 8192 if on_gpu else 1024
    a = torch.randn(size, size, device=loaded.device).to(dtype)
    big = torch.zeros((2**30 if on_gpu else 2**27) // dtype.itemsize, device=loaded.device, dtype=dtype)
    # A copy reads and writes every byte.
    return {
        "matmul_flops": 2.0 * size**3 / _best(lambda: a @ a, on_gpu),
        "bytes_per_second": 2.0 * big.numel() * dtype.itemsize / _best(big.clone, on_gpu),
    }


def _best(work: Any, on_gpu: bool, seconds: float = 1.0) -> float:
    """Seconds of the fastest of the calls within a second; other processes use the machine for tenths of a second."""
    import torch

    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - started)
        if now > until:
            return best


def estimate_work(loaded: LoadedModel, counters: Counters, limits: dict[str, float]) -> dict[str, float]:
    """Estimate floating-point operations and bytes of the counted work, and its seconds at the machine's limits.

    Prompt tokens and images run at the speed of matrix products; a decoding step takes that time or the time of
    reading the weights, whichever is longer.  Attention products (about 5 % at 600 tokens) and padding are not counted,
    so the true lower bound of the time is slightly higher.
    """
    import torch

    tower = vision_tower(loaded.model)
    in_tower = {id(p) for p in tower.parameters()} if tower is not None else set()
    embedding = id(loaded.model.get_input_embeddings().weight)
    head = loaded.model.get_output_embeddings()
    excluded = in_tower | {embedding} | ({id(head.weight)} if head is not None else set())
    layers = sum(p.numel() for p in loaded.model.parameters() if id(p) not in excluded)
    with_head = layers + (head.weight.numel() if head is not None else 0)
    size = torch.finfo(getattr(torch, loaded.dtype)).bits / 8
    prefill: float = 2.0 * layers * counters.prefill_tokens + vision_flops(loaded) * counters.vision_encodes
    decode: float = 2.0 * with_head * counters.decode_tokens
    reading: float = with_head * size * counters.decode_steps
    flops, speed = limits["matmul_flops"], limits["bytes_per_second"]
    return {
        "flops": prefill + decode,
        "bytes_of_weights_read_to_decode": reading,
        "seconds_at_limit": round(prefill / flops + max(decode / flops, reading / speed), 4),
    }


def vision_flops(loaded: LoadedModel) -> float:
    """FLOPs of the vision tower's layers for one image, without attention; 0 if its size is not known."""
    tower = vision_tower(loaded.model)
    vision = getattr(loaded.model.config, "vision_config", None)
    image, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if tower is None or not isinstance(image, int) or not isinstance(patch, int):
        return 0.0
    parameters: int = sum(p.numel() for p in tower.parameters())
    return 2.0 * parameters * (image // patch) ** 2
