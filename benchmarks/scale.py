"""Memory and speed of everything but the model: python benchmarks/scale.py --out benchmarks/results/scale-cpu.json

`run` with the scripted model on the built-in task at 10,000, 50,000 and 100,000 questions, each in a separate process
from start to exit: loading, generation, writing, scoring under the task's three protocols, slices, intervals, text-only
baselines, leaderboard.  Memory is the process's high-water mark.  The scripted model has its default batches of eight
answers, so that the pipeline processes as many batches as with a real model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

QUESTIONS_PER_IMAGE = 10
SIZES = (10_000, 50_000, 100_000)
TARGET = {"peak_mib": 400, "samples_per_second": 2000}


def measured(n: int, out: Path) -> dict[str, Any]:
    """Run n questions in a new process and measure wall time, processor time and peak memory."""
    arguments = ["model=scripted", "task=phantom", f"task.n_test={n // QUESTIONS_PER_IMAGE}", f"out={out}"]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "evalkit", *arguments], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"the run of {n} ended with {code}")
    folder = Path(output.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    with (folder / "predictions.jsonl").open("rb") as file:
        lines = sum(1 for _ in file)
    if not n == summary["n"] == lines == summary["timing"]["n_asked"]:
        sys.exit(f"the run of {n} wrote {lines} answers")
    return {
        "n": n,
        "seconds": round(seconds, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "seconds_asking_and_writing": summary["timing"]["seconds"],
        "samples_per_second": round(n / seconds),
        "samples_per_second_asking_and_writing": round(n / summary["timing"]["seconds"]),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure each size, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from evalkit.engines.profiling import machine

    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(arguments.repetitions):
            for n in arguments.sizes:
                run = measured(n, Path(folder) / str(repetition))
                print(json.dumps(run), flush=True)
                runs.append(run)
    best = {n: min((r for r in runs if r["n"] == n), key=lambda r: r["seconds"]) for n in arguments.sizes}
    few, many = best[min(best)], best[max(best)]
    more = many["n"] - few["n"]
    result = {
        "about": " ".join(__doc__.split("\n\n")[1].split()),
        "command": "python benchmarks/scale.py " + " ".join(sys.argv[1:]),
        "target": TARGET,
        "kib_a_sample": round(1024 * (many["peak_mib"] - few["peak_mib"]) / more, 2) if more else None,
        "fastest": list(best.values()),
        "runs": runs,
        "machine": machine(),
    }
    print(json.dumps({k: v for k, v in result.items() if k != "runs"}, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
