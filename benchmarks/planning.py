"""Planned powers against simulated ones: `python benchmarks/planning.py [--sets 2000] [--out FILE]`.

Differences of two models (-1, 0 or 1 on a row) on set shapes like the real ones; a row takes the value of its image
with the probability sqrt(icc), else a value of its own, so that the correlation within an image is icc.  Counted are
the intervals of `compare` that exclude 0 on the right side, and the passes of a gate.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.analysis.gate.verdicts import BOUND
from evalkit.stats import Assumptions, difference_power, group_by_cluster, pass_power, planned_rows, restricted_t
from evalkit.stats.intervals import ClusterCodes, t_quantile

SHAPES = {
    "VQA-RAD": (451, 203, 1.5),
    "VQA-RAD closed": (272, 146, 1.5),
    "SLAKE": (1061, 96, 30.0),
    "20 images": (200, 20, 1e6),
}
SEED = 20261127


def shape(rng: np.random.Generator, n: int, k: int, evenness: float) -> np.ndarray:
    """Image of each question: at least one each, the others by gamma popularity (even for a large `evenness`)."""
    popularity = rng.gamma(evenness, size=k)
    return np.concatenate([np.arange(k), rng.choice(k, size=n - k, p=popularity / popularity.sum())])


def differences(
    rng: np.random.Generator, image: np.ndarray, k: int, given: Assumptions, mean: float, n_metrics: int = 1
) -> np.ndarray:
    """Differences of shape (metrics, rows) with the assumed discordance, correlation and mean.

    A metric takes the values of a common one on an image with the probability sqrt(correlation).
    """
    up, down = (given.discordance + mean) / 2, (given.discordance - mean) / 2
    chances = [down, 1 - given.discordance, up]

    def one() -> np.ndarray:
        own = rng.choice([-1.0, 0.0, 1.0], size=len(image), p=chances)
        common = rng.choice([-1.0, 0.0, 1.0], size=k, p=chances)[image]
        return np.where(rng.random(len(image)) < np.sqrt(given.icc), common, own)

    shared = one()
    takes = [(rng.random(k) < np.sqrt(given.correlation))[image] for _ in range(n_metrics)]
    return np.stack([np.where(take, shared, one()) if n_metrics > 1 else shared for take in takes])


def cell(
    rng: np.random.Generator, name: str, icc: float, aim: str, size: float, sets: int, metrics: int
) -> dict[str, object]:
    """One setting: planned and simulated probability."""
    n, k, evenness = SHAPES[name]
    image = shape(rng, n, k, evenness)
    rows = planned_rows(name, range(n), image, k)
    given = Assumptions(icc=icc, discordance=0.1, correlation=0.25)
    hits, codes = 0, ClusterCodes(image, k)
    for _ in range(sets):
        found = differences(rng, image, k, given, size if aim == "difference" else 0.0, metrics)
        critical = t_quantile(0.95 if aim == "difference" else 1 - 2 * BOUND, k - 1)
        null = 0.0 if aim == "difference" else -size
        hits += all(restricted_t(group_by_cluster(row, codes), null) > critical for row in found)
    planned = (
        difference_power(rows, given, size) if aim == "difference" else pass_power([rows] * metrics, given, size, BOUND)
    )
    return {
        "shape": name, "icc": icc, "aim": aim, "size": size, "metrics": metrics,
        "planned": round(planned, 4), "simulated": round(hits / sets, 4),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Planned and simulated powers as docs/statistics.md shows them."""
    lines = ["| set | ICC | aim | size | metrics | planned % | simulated % |", "|---|---|---|---|---|---|---|"]
    for c in result["cells"]:
        about = f"{c['shape']} | {c['icc']:g} | {c['aim']} | {100 * c['size']:g} | {c['metrics']}"
        lines.append(f"| {about} | {100 * c['planned']:.1f} | {100 * c['simulated']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(SEED)
    cells = []
    for name, sizes in {
        "VQA-RAD": (0.03, 0.05), "VQA-RAD closed": (0.05,), "SLAKE": (0.02, 0.04), "20 images": (0.08,)
    }.items():  # fmt: skip
        for size in sizes:
            for icc in (0.0, 0.1, 0.3):
                cells += [cell(rng, name, icc, aim, size, options.sets, 1) for aim in ("difference", "margin")]
    for name, size in (("VQA-RAD", 0.05), ("SLAKE", 0.04)):
        cells += [cell(rng, name, icc, "margin", size, options.sets, 3) for icc in (0.0, 0.1)]
    result = {"command": f"python benchmarks/planning.py --sets {options.sets}", "sets": options.sets, "cells": cells}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
