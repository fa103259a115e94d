"""Throughput of the same requests one at a time, in static batches, with shared prefixes, and with other engines.

All modes of engine=hf use one loaded model and answer the same requests in the same process, mode after mode,
repetition after repetition, so that other load on the machine affects all of them alike.  Answers are written to a file
as in a run.  The result has, next to the times, counters that do not depend on the machine, and the time that the
machine's own speed of matrix products and copies would allow.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.core import console
from evalkit.core.errors import EngineError, EvalkitError
from evalkit.core.types import Prediction, Request
from evalkit.engines.base import Engine
from evalkit.engines.hf import HfEngine
from evalkit.engines.loaded_model import Counters, LoadedModel
from evalkit.engines.preprocess import group_by_image
from evalkit.engines.profiling import estimate_work, machine, machine_limits, time_forwards, track_peak_memory
from evalkit.runs.background_writer import BackgroundWriter
from evalkit.runs.schema import PredictionLine

Texts = dict[str, str | None]


def bench(
    make: Callable[..., HfEngine],
    requests: Sequence[Request],
    *,
    batch_sizes: Sequence[int] = (8, 16),
    repetitions: int = 1,
    others: Mapping[str, Engine] | None = None,
) -> dict[str, Any]:
    """Measure the modes on the same requests.

    Args:
        make: engine factory; called with `batch_size`, `share_prefix`, `exact` and `measure_flips`.
        batch_sizes: the static batch sizes to measure; the best one is named.
        others: further engines by name, which load their own model; one that fails is left out, with the reason.

    Returns:
        JSON content: machine, requests, modes (name -> medians of the repetitions, all runs, counters), ratios.
    """
    modes: dict[str, dict[str, Any]] = {"one": {"batch_size": 1, "share_prefix": "off"}}
    modes |= {f"batch {n}": {"batch_size": n, "share_prefix": "off"} for n in batch_sizes}
    modes["shared"] = {"batch_size": None, "share_prefix": "auto"}
    own = {name: make(**settings, measure_flips=0) for name, settings in modes.items()}
    first = own["one"]
    if first.dtype != "float32":  # the cost of answers that do not depend on their batch
        own["exact"] = make(exact=True, measure_flips=0)
    for mode in own.values():
        if mode is not first:
            mode.use_model_of(first)
    loaded = first.load()
    limits = machine_limits(loaded)
    engines: dict[str, Engine] = {**own, **(others or {})}
    warm = {name: warm_up(engine, requests) for name, engine in own.items()}
    left_out: dict[str, str] = {}
    for name, other in (others or {}).items():
        try:
            warm[name] = warm_up(other, requests)
        except EvalkitError as problem:  # an installed engine need not support this model
            console.warn(f"{name} is left out: {problem}")
            left_out[name] = str(problem)
            del engines[name]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in engines}
    texts: dict[str, Texts] = {}
    for repetition in range(repetitions):
        for name, engine in engines.items():
            if isinstance(engine, HfEngine):
                texts[name], run = measure(engine, requests, limits)
            else:
                least = runs["shared"][-1]["seconds_at_limit"]
                texts[name], run = measure_other(engine, requests, loaded, least)
            runs[name].append(run)
            console.note(
                f"{repetition + 1}/{repetitions} {name}: {run['seconds_per_sample']:.4f} s a sample, "
                f"{run['peak_mib']} MiB over the model"
            )
    result = {name: summary(runs[name]) | {"warm_up_seconds": warm[name]} for name in engines}
    for name in engines:  # 0 in float32; in half precision a near-tie may be resolved differently
        result[name]["texts_unlike_one"] = sum(texts[name][i] != texts["one"][i] for i in texts["one"])
    return {
        "machine": machine(loaded) | limits,
        "engine": _facts(own["shared"]),
        "other_engines": {name: _facts(engine) for name, engine in engines.items() if name not in own},
        "left_out": left_out,
        "requests": {"n": len(requests), "images": len({r.image_digests for r in requests})},
        "modes": result,
        "ratios": ratios(result),
    }


def _facts(engine: Engine) -> dict[str, Any]:
    return {k: v for k, v in engine.metadata().items() if k != "counters"}


def warm_up(engine: Engine, requests: Sequence[Request]) -> float:
    """Answer a few requests untimed: first-call costs, and the check of shared prefixes, made once a run.

    Returns:
        Seconds; for shared prefixes the cost of the check is included.
    """
    few = [r for group in group_by_image(requests)[:1] for r in group[:2]]
    started = time.perf_counter()
    for batch in engine.generate(few):
        if errors := [p.error for p in batch if p.error is not None]:
            raise EngineError(f"the benchmark's requests fail: {errors[0]}")
    return round(time.perf_counter() - started, 3)


def answer(engine: Engine, requests: Sequence[Request]) -> tuple[Texts, dict[str, float]]:
    """Answer all requests and write the answers as in a run; the texts, and seconds of wall time."""
    texts: Texts = {}
    request_of = {r.sample_id: r for r in requests}
    with tempfile.TemporaryDirectory() as folder:
        started, started_cpu = time.perf_counter(), time.process_time()
        with BackgroundWriter(Path(folder) / "predictions.jsonl", lambda p: _line(request_of[p.sample_id], p)) as file:
            for batch in engine.generate(requests):
                file.write(batch)
                texts.update({p.sample_id: p.text for p in batch})
        seconds = {"all": time.perf_counter() - started, "processor": time.process_time() - started_cpu}
    return texts, seconds | {"writing": file.seconds}


def _line(request: Request, prediction: Prediction) -> PredictionLine:
    """The line of an answer, as long as in a run."""
    return PredictionLine(
        sample_id=request.sample_id,
        image_id=request.image_id,
        question=request.question,
        references=(),
        answer_type=request.answer_type,
        text=prediction.text,
        error=prediction.error,
        finish_reason=prediction.finish_reason,
        n_tokens=prediction.n_tokens,
        seconds=prediction.seconds,
        fingerprint=prediction.fingerprint,
    )


def measure(engine: HfEngine, requests: Sequence[Request], limits: dict[str, float]) -> tuple[Texts, dict[str, Any]]:
    """One run of engine=hf over all requests: its texts and measurements.

    Preprocessing and writing run in background threads: their seconds are not part of `all`.
    """
    loaded = engine.load()
    loaded.counters = Counters()
    with time_forwards(loaded) as clock, track_peak_memory(loaded) as peak:
        texts, seconds = answer(engine, requests)
    counters = loaded.counters
    inside = clock.vision + clock.with_image + clock.other
    done = estimate_work(loaded, counters, limits)
    questions = counters.question_seconds
    phases = {
        "vision": clock.vision,
        "prefill": clock.with_image + questions,
        "decode": clock.other - questions,
        "outside_the_model": seconds["all"] - inside,
        "preparing_in_threads": counters.prepare_seconds,
        "writing_in_a_thread": seconds["writing"],
    }
    return texts, {
        **_speed(seconds, len(requests), peak[0]),
        "seconds": {"all": round(seconds["all"], 3)} | {k: round(v, 3) for k, v in phases.items()},
        **done,
        "share_of_limit": round(done["seconds_at_limit"] / seconds["all"], 4),
        "counters": {k: v for k, v in asdict(counters).items() if isinstance(v, int)},
    }


def measure_other(
    engine: Engine, requests: Sequence[Request], loaded: LoadedModel, least: float
) -> tuple[Texts, dict[str, Any]]:
    """One run of another engine, measured from outside.

    loaded: the model whose device memory is measured.  least: seconds that the same requests take with shared prefixes
    at the machine's limits.
    """
    with track_peak_memory(loaded) as peak:
        texts, seconds = answer(engine, requests)
    return texts, {
        **_speed(seconds, len(requests), peak[0]),
        "seconds": {"all": round(seconds["all"], 3), "writing_in_a_thread": round(seconds["writing"], 3)},
        "share_of_limit": round(least / seconds["all"], 4),
        "counters": {k: v for k, v in engine.metadata().get("counters", {}).items() if isinstance(v, int)},
    }


def _speed(seconds: Mapping[str, float], n: int, peak: float | None) -> dict[str, Any]:
    return {
        "seconds_per_sample": seconds["all"] / n,
        "cpu_seconds_per_sample": seconds["processor"] / n,
        "samples_per_second": n / seconds["all"],
        "peak_mib": peak,
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median run by time, with the range over all runs."""
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
    """Speed-up of shared prefixes over one at a time and over the best static batch, in time and in prefill tokens."""
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
    """The measurements as plain tables, one line a mode: speed, and the share of time of each phase in percent."""
    lines = [f"{'mode':<10}{'samples/s':>10}{'MiB':>8}{'encodes':>9}{'tokens':>9}{'of limit':>10}{'other texts':>13}"]
    for name, mode in result["modes"].items():
        counters = mode["counters"]
        lines.append(
            f"{name:<10}{mode['samples_per_second']:>10.2f}{mode['peak_mib'] or 0:>8.0f}"
            f"{counters.get('vision_encodes', '–'):>9}{counters.get('prefill_tokens', '–'):>9}"
            f"{mode['share_of_limit']:>10.1%}{mode['texts_unlike_one']:>13}"
        )
    parts = ("vision", "prefill", "decode", "outside_the_model", "preparing_in_threads", "writing_in_a_thread")
    short = ("vision", "prefill", "decode", "outside", "preparing", "writing")
    lines += ["", f"{'% of time':<10}" + "".join(f"{name:>11}" for name in short)]
    for name, mode in result["modes"].items():
        seconds = mode["seconds"]
        shares = (f"{100 * seconds[p] / seconds['all']:>11.1f}" if p in seconds else f"{'–':>11}" for p in parts)
        lines.append(f"{name:<10}" + "".join(shares))
    ratios = result["ratios"]
    lines += [
        "",
        f"sharing is {ratios['over_one_at_a_time']:.2f} times as fast as one at a time and "
        f"{ratios['over_best_static_batch']:.2f} times as fast as {ratios['best_static_batch']}",
    ]
    return "\n".join(lines)
