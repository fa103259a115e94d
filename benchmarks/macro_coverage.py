"""Coverage of the 95 % interval of macro accuracy and macro F1, with large and tiny classes.

    python benchmarks/macro_coverage.py [--sets 2000] [--out benchmarks/results/macro-coverage.json]

Rows of a cluster are of one class and share a rate of hits (beta, with the given ICC); a miss is answered with another
class.  "Before" is the delta-method interval of earlier versions, with K - 1 degrees of freedom and no smoothing.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import __version__
from evalkit.stats import Estimate
from evalkit.stats.fraction_interval import t_quantile
from evalkit.stats.labels import class_influence, f1_influence, macro_accuracy, macro_f1

# Rows of each class.  The first: ColonINST CLS unseen thinned to a tenth (43 classes).
SIZES: Mapping[str, tuple[int, ...]] = {
    "ColonINST CLS / 10": (
        2394,
        566,
        450,
        230,
        168,
        145,
        98,
        88,
        66,
        54,
        45,
        41,
        38,
        30,
        27,
        24,
        20,
        18,
        15,
        13,
        12,
        10,
        9,
        8,
        7,
        7,
        6,
        5,
        5,
        4,
        4,
        3,
        3,
        3,
        2,
        2,
        2,
        1,
        1,
        1,
        1,
        1,
        1,
    ),
    "2 to 500": (2, 3, 5, 8, 15, 30, 60, 120, 250, 500),
    "10 x 50": (50,) * 10,
}
# True rates of hits, from the largest class to the smallest.
RATES: Mapping[str, Callable[[int], np.ndarray]] = {
    "0.97": lambda k: np.full(k, 0.97),
    "0.7": lambda k: np.full(k, 0.7),
    "0.3 to 0.95": lambda k: np.linspace(0.95, 0.3, k),
}
ROWS_OF_A_CLUSTER = 5
METRICS = {"macro_accuracy": (macro_accuracy, class_influence), "macro_f1": (macro_f1, f1_influence)}


def clusters_of(classes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The class and the cluster of each row: up to five rows of a class in a cluster."""
    label = np.repeat(np.arange(len(classes)), classes)
    found, first = [], 0
    for size in classes:
        k = -(-size // ROWS_OF_A_CLUSTER)
        found.append(first + np.arange(size) * k // size)
        first += k
    return label, np.concatenate(found)


def before(estimate: Estimate, influence: list[float], cluster: np.ndarray) -> tuple[float, float]:
    """The interval of earlier versions."""
    sums = np.bincount(cluster, weights=influence)
    k, value = len(sums), estimate.value
    half = t_quantile(0.95, k - 1) * math.sqrt(k / (k - 1) * float(sums @ sums))
    return value - half, value + half


def simulate(classes: str, rates: str, icc: float, sets: int, metric: str, seed: int = 0) -> dict[str, Any]:
    """Coverage in percent over `sets` sets."""
    sizes = SIZES[classes]
    label, cluster = clusters_of(sizes)
    rate = RATES[rates](len(sizes))
    rng = np.random.default_rng([seed, *map(ord, f"{classes} {rates} {icc}")])
    of_cluster = rate[label[np.unique(cluster, return_index=True)[1]]]
    drawn = [_draw(rng, of_cluster, cluster, label, icc) for _ in range(sets)]
    aggregate, influence_of = {
        "macro_accuracy": (macro_accuracy, class_influence),
        "macro_f1": (macro_f1, f1_influence),
    }[metric]
    found, truth = [], float(rate.mean())
    for hits, said in drawn:
        labels = [(str(a), str(b)) for a, b in zip(label.tolist(), said.tolist(), strict=True)]
        estimate = aggregate(hits.tolist(), labels, cluster.tolist())
        old = before(estimate, influence_of(hits.tolist(), labels), cluster)
        found.append((estimate.value, *old, estimate.interval.low, estimate.interval.high))
    value, old_low, old_high, low, high = np.array(found).T
    if metric == "macro_f1":
        truth = float(value.mean())  # its bias in small classes is not what an interval is about
    return {
        "classes": classes, "rates": rates, "icc": icc, "metric": metric, "rows": int(sum(sizes)),
        "before": round(100 * float(((old_low <= truth) & (truth <= old_high)).mean()), 1),
        "covered": round(100 * float(((low <= truth) & (truth <= high)).mean()), 1),
        "width_before": round(100 * float((old_high - old_low).mean()), 2),
        "width": round(100 * float((high - low).mean()), 2),
    }  # fmt: skip


def _draw(
    rng: np.random.Generator, rate: np.ndarray, cluster: np.ndarray, label: np.ndarray, icc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Hits and predicted classes of one set."""
    chance = rate if not icc else rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc)
    hits = rng.random(len(label)) < chance[cluster]
    other = (label + rng.integers(1, label.max() + 1, size=len(label))) % (label.max() + 1)
    return hits.astype(float), np.where(hits, label, other)


def table(result: dict[str, Any]) -> str:
    """Coverage and width, earlier and now, as docs/statistics.md shows them."""
    lines = ["| metric | classes (rows) | rates | ICC | before | now | width before | width |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for c in result["cells"]:
        about = f"{c['metric']} | {c['classes']} ({c['rows']:,}) | {c['rates']} | {c['icc']:g}"
        lines.append(f"| {about} | {c['before']} | {c['covered']} | {c['width_before']} | {c['width']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/macro-coverage.json"))
    arguments = parser.parse_args()
    started = time.monotonic()
    cells = [
        simulate(classes, rates, icc, arguments.sets, metric)
        for metric in ("macro_accuracy", "macro_f1")
        for classes in SIZES
        for rates in RATES
        for icc in ((0.0, 0.1, 0.3) if metric == "macro_accuracy" else (0.1,))
    ]
    result = {
        "command": f"python benchmarks/macro_coverage.py --sets {arguments.sets}", "evalkit": __version__,
        "sets": arguments.sets, "seconds": round(time.monotonic() - started),
        "lowest_coverage": min(c["covered"] for c in cells), "cells": cells,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
