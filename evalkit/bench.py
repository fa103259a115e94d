"""How fast an engine answers the same requests one at a time, in static batches and with shared prefixes.

Every mode uses one loaded model and answers the same requests in the same process, mode after mode, repetition after
repetition, so that a neighbour on the machine disturbs all of them alike.  Beside the times stand counters, which do
not depend on the machine, and the time that the machine's own speed in matrix products and in copying would allow.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evalkit import console
from evalkit.engines.hf import HfEngine
from evalkit.engines.limits import clocked, machine, machine_limits, memory, seconds_at_limit
from evalkit.engines.loaded import Counters
from evalkit.engines.prepare import by_image
from evalkit.errors import EngineError
from evalkit.types import Request


def bench(
    make: Callable[..., HfEngine],
    requests: Sequence[Request],
    *,
    batch_sizes: Sequence[int] = (8, 16),
    repetitions: int = 1,
) -> dict[str, Any]:
    """Measure the modes on the same requests.

    Args:
        make: makes an engine; called with `batch_size` and `share_prefix`.
        batch_sizes: the static batches to try; the best one is named.

    Returns:
        JSON content: machine, requests, modes (name -> medians of the repetitions, all runs, counters), ratios.
    """
    modes: dict[str, dict[str, Any]] = {"one": {"batch_size": 1, "share_prefix": "off"}}
    modes |= {f"batch {n}": {"batch_size": n, "share_prefix": "off"} for n in batch_sizes}
    modes["shared"] = {"batch_size": None, "share_prefix": "auto"}
    engines = {name: make(**settings, measure_flips=0) for name, settings in modes.items()}
    first = engines["one"]
    for engine in engines.values():
        if engine is not first:
            engine.use_model_of(first)
    limits = machine_limits(first.load())
    warm = {name: warm_up(engine, requests) for name, engine in engines.items()}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in modes}
    texts: dict[str, dict[str, str | None]] = {}
    for repetition in range(repetitions):
        for name, engine in engines.items():
            texts[name], run = measure(engine, requests, limits)
            runs[name].append(run)
            console.note(
                f"{repetition + 1}/{repetitions} {name}: {run['seconds_per_sample']:.4f} s a sample, "
                f"{run['peak_mib']} MiB over the model"
            )
    result = {name: summary(runs[name]) | {"warm_up_seconds": warm[name]} for name in modes}
    for name in modes:  # none in float32; in half precision a near-tie may fall otherwise
        result[name]["texts_unlike_one"] = sum(texts[name][i] != texts["one"][i] for i in texts["one"])
    facts = {k: v for k, v in engines["shared"].facts().items() if k != "counters"}
    return {
        "machine": machine(first.load()) | limits,
        "engine": facts,
        "requests": {"n": len(requests), "images": len({r.image_digests for r in requests})},
        "modes": result,
        "ratios": ratios(result),
    }


def warm_up(engine: HfEngine, requests: Sequence[Request]) -> float:
    """Answer a few requests, untimed: first-call costs, and the check of sharing, which comes once a run.

    Returns:
        Seconds; for shared prefixes the check's cost is in them.
    """
    few = [r for group in by_image(requests)[:1] for r in group[:2]]
    started = time.perf_counter()
    for batch in engine.generate(few):
        if errors := [p.error for p in batch if p.error is not None]:
            raise EngineError(f"the benchmark's own requests fail: {errors[0]}")
    return round(time.perf_counter() - started, 3)


def measure(
    engine: HfEngine, requests: Sequence[Request], limits: dict[str, float]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """One run over all requests: its texts, and what it took."""
    loaded = engine.load()
    loaded.counters = Counters()
    texts: dict[str, str | None] = {}
    with clocked(loaded) as clock, memory(loaded) as peak:
        started, started_cpu = time.perf_counter(), time.process_time()
        for batch in engine.generate(requests):
            texts.update({p.sample_id: p.text for p in batch})
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    counters = loaded.counters
    inside = clock.vision + clock.with_image + clock.other
    limit = seconds_at_limit(loaded, counters, limits)
    questions = counters.question_seconds
    return texts, {
        "seconds_per_sample": seconds / len(requests),
        "cpu_seconds_per_sample": cpu_seconds / len(requests),
        "samples_per_second": len(requests) / seconds,
        "peak_mib": peak[0],
        "seconds": {
            "all": round(seconds, 3),
            "vision": round(clock.vision, 3),
            "prefill": round(clock.with_image + questions, 3),
            "decode": round(clock.other - questions, 3),
            "outside_the_model": round(seconds - inside, 3),
            "preparing_in_threads": round(counters.prepare_seconds, 3),
        },
        "share_of_limit": round(limit / seconds, 4),
        "counters": {k: v for k, v in asdict(counters).items() if isinstance(v, int)},
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median run by time, with the range of all."""
    times = sorted(r["seconds_per_sample"] for r in runs)
    median = min(runs, key=lambda r: abs(r["seconds_per_sample"] - statistics.median(times)))
    peaks = [r["peak_mib"] for r in runs if r["peak_mib"] is not None]
    return median | {
        "seconds_per_sample": round(statistics.median(times), 5),
        "cpu_seconds_per_sample": round(statistics.median(r["cpu_seconds_per_sample"] for r in runs), 5),
        "samples_per_second": round(1 / statistics.median(times), 3),
        "seconds_per_sample_range": [round(times[0], 5), round(times[-1], 5)],
        "peak_mib": max(peaks) if peaks else None,
        "repetitions": len(runs),
    }


def ratios(modes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How many times as fast sharing is as one at a time and as the best static batch, in time and in tokens."""
    shared, one = modes["shared"], modes["one"]
    static = {name: m for name, m in modes.items() if name.startswith("batch")} or {"one": one}
    best = min(static, key=lambda name: float(static[name]["seconds_per_sample"]))
    return {
        "over_one_at_a_time_in_cpu_time": round(one["cpu_seconds_per_sample"] / shared["cpu_seconds_per_sample"], 3),
        "over_one_at_a_time": round(one["seconds_per_sample"] / shared["seconds_per_sample"], 3),
        "best_static_batch": best,
        "over_best_static_batch": round(static[best]["seconds_per_sample"] / shared["seconds_per_sample"], 3),
        "fewer_prefill_tokens": round(one["counters"]["prefill_tokens"] / shared["counters"]["prefill_tokens"], 3),
    }


def show(result: Mapping[str, Any]) -> str:
    """The figures as a plain table, a line a mode."""
    lines = [f"{'mode':<10}{'samples/s':>10}{'MiB':>8}{'prefills':>10}{'tokens':>9}{'of limit':>10}{'other texts':>13}"]
    for name, mode in result["modes"].items():
        counters = mode["counters"]
        prefills = counters["prefix_prefills"] or result["requests"]["n"]
        lines.append(
            f"{name:<10}{mode['samples_per_second']:>10.2f}{mode['peak_mib'] or 0:>8.0f}{prefills:>10}"
            f"{counters['prefill_tokens']:>9}{mode['share_of_limit']:>10.1%}{mode['texts_unlike_one']:>13}"
        )
    ratios = result["ratios"]
    lines.append(
        f"sharing is {ratios['over_one_at_a_time']:.2f} times as fast as one at a time and "
        f"{ratios['over_best_static_batch']:.2f} times as fast as {ratios['best_static_batch']}"
    )
    return "\n".join(lines)
