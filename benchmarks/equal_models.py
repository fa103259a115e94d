"""Equal models on a board, and equal runs under `compare`: how often one of them is called different.

    python benchmarks/equal_models.py [--sets 2000] [--out benchmarks/results/equal-models.json]

Every question has a difficulty that all models share, correlated within an image; each model answers it independently
at that rate.  All are equal, so each shares rank 1 to M with all others.  "Before": Holm over the pairs with the first,
and the percentile interval of each rank alone; in `compare`, Holm within each run and metric family of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate_simulation import sizes
from evalkit import __version__
from evalkit.stats import holm, sign_flip_p_of_sums
from evalkit.stats.differences import different_pairs
from evalkit.stats.intervals import resampled_weights

ACCURACY, ICC, SPREAD = 0.7, 0.25, 0.15


def sums_of(rng: np.random.Generator, shape: np.ndarray, models: int) -> np.ndarray:
    """Right answers of each model on each image, shape (models, images)."""
    image = np.repeat(np.arange(len(shape)), shape)
    scale = (1 - ICC) / ICC
    rate = rng.beta(ACCURACY * scale, (1 - ACCURACY) * scale, size=len(shape))[image]
    rate = np.clip(rate + rng.normal(0, SPREAD, len(image)), 0, 1)
    hits = rng.random((models, len(image))) < rate
    return np.stack([np.bincount(image, weights=row) for row in hits])


def simulate(task: str, models: int, *, sets: int, flips: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Shares of sets in which some model differs, and in which every interval of a rank holds rank 1 and rank M."""
    shape = sizes(task)
    rng = np.random.default_rng([seed, models, *map(ord, task)])
    weights = np.concatenate(list(resampled_weights(len(shape), 300, 0)))
    counts = dict.fromkeys(("somebody_differs", "all_ranks_hold", "before_differs", "before_ranks_hold"), 0)
    compared = {"before": 0, "now": 0}
    for _ in range(sets):
        sums = sums_of(rng, shape, models)
        found = different_pairs(sums, 0.95, flips=flips)
        counts["somebody_differs"] += bool(found.better.any())
        counts["all_ranks_hold"] += not (found.better.any() or found.worse.any())
        first = int(sums.sum(axis=1).argmax())
        others = [sums[m] - sums[first] for m in range(models) if m != first]
        counts["before_differs"] += min(holm(sign_flip_p_of_sums(others, permutations=flips))) < 0.05
        drawn = sums @ weights.T
        ranks = 1 + (drawn[None] > drawn[:, None]).sum(axis=1)
        low = np.quantile(ranks, 0.025, axis=1, method="inverted_cdf")
        counts["before_ranks_hold"] += bool((low == 1).all())
        p = sign_flip_p_of_sums([s - sums[0] for s in sums[1:]], permutations=flips)
        compared["before"] += min(p) < 0.05
        compared["now"] += min(holm(p)) < 0.05
    return {
        "task": task, "models": models, "sets": sets, **{name: n / sets for name, n in counts.items()},
        "compare_before": compared["before"] / sets, "compare_now": compared["now"] / sets,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Shares before -> now as docs/statistics.md shows them."""
    lines = ["| set | models | somebody differs | all rank intervals hold | some p < .05 in compare |"]
    lines.append("|---|---|---|---|---|")
    pairs = (("before_differs", "somebody_differs"), ("before_ranks_hold", "all_ranks_hold"))
    for c in result["cells"]:
        shown = [f"{100 * c[a]:.1f} → {100 * c[b]:.1f}" for a, b in (*pairs, ("compare_before", "compare_now"))]
        lines.append(f"| {c['task']} | {c['models']} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/equal-models.json"))
    arguments = parser.parse_args()
    started = time.monotonic()
    cells = [simulate(t, m, sets=arguments.sets) for t in ("vqa-rad", "slake") for m in (2, 10, 20)]
    result = {
        "command": f"python benchmarks/equal_models.py --sets {arguments.sets}", "evalkit": __version__,
        "seconds": round(time.monotonic() - started), "cells": cells,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
