"""Coverage of the printed 95 % interval of a mean, on the cluster shapes of the data sets and of small slices.

    python benchmarks/interval_coverage.py [--sets 2000] [--out benchmarks/results/interval-coverage.json]

A set has one success rate per cluster, from a beta distribution of the given mean and intraclass correlation (ICC), and
independent answers at that rate.  "Before" is the interval of earlier versions: cluster-robust t with K - 1 degrees of
freedom, exact where all answers are right or all are wrong, Wilson's for rows without clusters.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate_simulation import sizes
from evalkit import __version__
from evalkit.stats import effective_clusters
from evalkit.stats.fraction_interval import ClusteredFractions, bounds_of, normal_quantile, t_quantile, wilson_bounds

# Rows of each cluster.
SHAPES: Mapping[str, np.ndarray] = {
    "VQA-RAD": sizes("vqa-rad"),
    "SLAKE": sizes("slake"),
    "PathVQA": sizes("path-vqa"),
    "ColonINST CLS unseen": sizes("coloninst-cls"),
    "ColonINST REG seen": sizes("coloninst-reg"),
    "2 images x 5": np.full(2, 5),
    "3 images x 4": np.full(3, 4),
    "5 images x 10": np.full(5, 10),
    "8 images x 4": np.full(8, 4),
    "10 images x 1": np.full(10, 1),
    "10 images x 6": np.full(10, 6),
    "12 images, uneven": np.array([40, 20, 10, *[3] * 9]),
    "20 images x 1": np.full(20, 1),
    "20 images x 5": np.full(20, 5),
}
ACCURACIES = (0.5, 0.8, 0.9, 0.97, 0.99)
CORRELATIONS = (0.0, 0.1, 0.3)
GRADED = ("VQA-RAD", "SLAKE", "20 images x 5")


def scores(
    rng: np.random.Generator, shape: np.ndarray, mean: float, icc: float, sets: int, *, graded: bool
) -> Iterator[ClusteredFractions]:
    """Sets of scores: right or wrong, or also half right where graded."""
    spread = (1 - icc) / icc if icc else math.inf
    for _ in range(sets):
        rate = np.full(len(shape), mean) if not icc else rng.beta(mean * spread, (1 - mean) * spread, size=len(shape))
        if graded:
            each = rng.binomial(2, np.repeat(rate, shape)) / 2
            totals = np.add.reduceat(each, np.cumsum(shape) - shape)
            squares, lowest, highest = float(((each - each.mean()) ** 2).sum()), each.min(), each.max()
        else:
            totals = rng.binomial(shape, rate).astype(float)
            n, hits = shape.sum(), totals.sum()
            squares, lowest, highest = hits * (1 - hits / n), float(hits == n), float(hits > 0)
        yield ClusteredFractions(
            totals=totals, sizes=shape, squares=float(squares), lowest=lowest, highest=highest, hits=not graded
        )


def before(found: ClusteredFractions) -> tuple[float, float]:
    """The interval of earlier versions."""
    k, n = len(found.sizes), int(found.sizes.sum())
    mean = float(found.totals.sum()) / n
    if mean in (0.0, 1.0):
        tail = 0.025 ** (1 / k)
        return (tail, 1.0) if mean else (0.0, 1 - tail)
    if k == n and found.hits:
        return wilson_bounds(mean, n, normal_quantile(0.95))
    residuals = found.totals - mean * found.sizes
    half = t_quantile(0.95, k - 1) * math.sqrt(k / (k - 1) * float(residuals @ residuals)) / n
    return max(0.0, mean - half), min(1.0, mean + half)


def simulate(name: str, mean: float, icc: float, sets: int, *, graded: bool = False, seed: int = 0) -> dict[str, Any]:
    """Coverage and mean width, in percent, of both intervals over `sets` sets."""
    shape = SHAPES[name]
    rng = np.random.default_rng([seed, *map(ord, f"{name} {mean} {icc} {graded}")])
    covered, width, narrowest = np.zeros(2), np.zeros(2), 1.0
    for drawn in scores(rng, shape, mean, icc, sets, graded=graded):
        found = bounds_of(drawn, 0.95)
        for at, (low, high) in enumerate((before(drawn), (found.low, found.high))):
            covered[at] += low - 1e-12 <= mean <= high + 1e-12
            width[at] += high - low
        narrowest = min(narrowest, found.high - found.low)
    percents = np.round(100 * np.stack([covered, width]) / sets, 2).tolist()
    return {
        "shape": name, "clusters": len(shape), "rows": int(shape.sum()),
        "effective_clusters": round(effective_clusters(shape), 1), "accuracy": mean, "icc": icc, "graded": graded,
        "before": percents[0][0], "covered": percents[0][1], "width_before": percents[1][0], "width": percents[1][1],
        "narrowest": round(100 * narrowest, 3),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Coverage before -> now of each shape and ICC, a column an accuracy, as docs/statistics.md shows it."""
    cells = result["cells"]
    lines = [f"| shape (clusters / rows, effective) | ICC | {' | '.join(map(str, ACCURACIES))} |"]
    lines.append("|---" * (2 + len(ACCURACIES)) + "|")
    rows: dict[tuple[str, float, bool], list[dict[str, Any]]] = {}
    for cell in cells:
        rows.setdefault((cell["shape"], cell["icc"], cell["graded"]), []).append(cell)
    for (name, icc, graded), found in rows.items():
        about = f"{found[0]['clusters']:,} / {found[0]['rows']:,}, {found[0]['effective_clusters']:g}"
        shown = " | ".join(f"{c['before']:.1f} → {c['covered']:.1f}" for c in found)
        lines.append(f"| {name}{', graded' if graded else ''} ({about}) | {icc:g} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/interval-coverage.json"))
    arguments = parser.parse_args()
    started, cells = time.monotonic(), []
    kinds = [(name, False) for name in SHAPES] + [(name, True) for name in GRADED]
    for name, graded in kinds:
        for icc in CORRELATIONS if SHAPES[name].max() > 1 else CORRELATIONS[:1]:
            cells += [simulate(name, p, icc, arguments.sets, graded=graded) for p in ACCURACIES]
    result = {
        "command": f"python benchmarks/interval_coverage.py --sets {arguments.sets}", "evalkit": __version__,
        "sets": arguments.sets, "seconds": round(time.monotonic() - started),
        "lowest_coverage": min(c["covered"] for c in cells), "cells": cells,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
