"""Coverage of the intervals of `diagnose`: `python benchmarks/diagnostic.py [--sets 2000] [--out FILE]`.

Answers to yes/no questions of images with a sensitivity and a specificity per image (beta, with the stated intraclass
correlation) and references drawn with a prevalence per image around the stated one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.stats.diagnostic import Counts, balanced_accuracy, diagnostic_measures, matthews

SEED, AT = 20261128, 0.05
SHAPES = {"135 images, 251 rows": (135, 251), "60 images, 355 rows": (60, 355), "20 images, 100 rows": (20, 100)}
# Sensitivity, specificity, prevalence.
TESTS = ((0.9, 0.85, 0.5), (0.88, 0.3, 0.5), (0.7, 0.97, 0.15))
NAMES = ("sensitivity", "specificity", "ppv_at", "npv_at", "lr_positive", "lr_negative", "balanced_accuracy", "mcc")


def drawn(
    rng: np.random.Generator, image: np.ndarray, k: int, test: tuple[float, float, float], icc: float
) -> tuple[np.ndarray, np.ndarray]:
    """References and answers, True for yes."""

    def per_image(mean: float) -> np.ndarray:
        spread = (1 - icc) / icc if icc else 0.0
        return rng.beta(mean * spread, (1 - mean) * spread, size=k) if icc else np.full(k, mean)

    sensitivity, specificity, prevalence = test
    gold = rng.random(len(image)) < per_image(prevalence)[image]
    says_yes = np.where(gold, per_image(sensitivity)[image], 1 - per_image(specificity)[image])
    return gold, rng.random(len(image)) < says_yes


def truth(test: tuple[float, float, float]) -> dict[str, float]:
    """The measures of the population."""
    se, sp, prevalence = test
    counts = Counts(prevalence * se, prevalence * (1 - se), (1 - prevalence) * (1 - sp), (1 - prevalence) * sp)
    plus, minus = se / (1 - sp), (1 - se) / sp
    odds, odds_no = AT / (1 - AT) * plus, AT / (1 - AT) * minus
    return {
        "sensitivity": se, "specificity": sp, "ppv_at": odds / (1 + odds), "npv_at": 1 / (1 + odds_no),
        "lr_positive": plus, "lr_negative": minus, "balanced_accuracy": balanced_accuracy(counts),
        "mcc": matthews(counts),
    }  # fmt: skip


def cell(
    rng: np.random.Generator, name: str, test: tuple[float, float, float], icc: float, sets: int
) -> dict[str, object]:
    """Share of sets whose interval holds the true value, of the sets with an interval."""
    k, n = SHAPES[name]
    image = np.concatenate([np.arange(k), rng.integers(0, k, size=n - k)])
    true, covered, given = truth(test), dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    for _ in range(sets):
        gold, said = drawn(rng, image, k, test, icc)
        for m in diagnostic_measures(gold.tolist(), said.tolist(), image.tolist(), AT):
            if m.name in true and m.low is not None:
                given[m.name] += 1
                covered[m.name] += m.low <= true[m.name] <= (math.inf if m.high is None else m.high)
    found = {name: round(covered[name] / max(1, given[name]), 4) for name in NAMES}
    return {"shape": name, "test": test, "icc": icc, "coverage": found, "with_interval": min(given.values()) / sets}


def table(result: dict[str, Any]) -> str:
    """Coverage as docs/statistics.md shows it."""
    lines = [
        "| set | test | ICC | sens | spec | PPV | NPV | LR+ | LR- | balanced | MCC |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for c in result["cells"]:
        shown = " | ".join(f"{100 * value:.1f}" for value in c["coverage"].values())
        lines.append(f"| {c['shape']} | {' / '.join(f'{t:g}' for t in c['test'])} | {c['icc']:g} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(SEED)
    cells = [cell(rng, s, t, icc, options.sets) for s in SHAPES for t in TESTS for icc in (0.0, 0.2)]
    result = {"command": f"python benchmarks/diagnostic.py --sets {options.sets}", "sets": options.sets, "cells": cells}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
