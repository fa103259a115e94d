"""Coverage of the mean over sets: `python benchmarks/random_effects.py [--sets 2000] [--out FILE]`.

True values of k sets from a normal distribution, observed with standard errors like those of the published sets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.stats.random_effects import random_effects

SEED = 20261130


def cell(rng: np.random.Generator, k: int, between: float, sets: int) -> dict[str, float]:
    """Coverage of the mean and of the prediction of a further set."""
    mean_hits, further_hits = 0, 0
    for _ in range(sets):
        errors = rng.uniform(0.005, 0.05, size=k)
        values = 0.6 + between * rng.standard_normal(k) + errors * rng.standard_normal(k)
        found = random_effects(values.tolist(), errors.tolist())
        mean_hits += found.low <= 0.6 <= found.high
        further_hits += found.predicted_low <= 0.6 + between * rng.standard_normal() <= found.predicted_high
    return {"sets": k, "between": between, "mean": mean_hits / sets, "further_set": further_hits / sets}


def table(result: dict[str, Any]) -> str:
    """Coverage as docs/statistics.md shows it."""
    lines = ["| sets | τ, points | mean covered % | further set covered % |", "|---|---|---|---|"]
    for c in result["cells"]:
        shares = f"{100 * c['mean']:.1f} | {100 * c['further_set']:.1f}"
        lines.append(f"| {c['sets']} | {100 * c['between']:g} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    cells = [cell(rng, k, between, options.sets) for k in (3, 5, 10) for between in (0.0, 0.03, 0.1)]
    command = f"python benchmarks/random_effects.py --sets {options.sets}"
    result = {"command": command, "sets": options.sets, "cells": cells}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
