"""Coverage of the intervals and level of the tests on simulated sets shaped like VQA-RAD's test split.

    python benchmarks/coverage.py [--sets 2000] [--out benchmarks/coverage.json]

451 questions on 203 images, correct answers of one image correlated (beta-binomial, intraclass correlation 0.2).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from evalkit.stats import mean_interval, paired_interval, sign_flip_p, wilson
from tests.support.other_statistics import mcnemar

QUESTIONS, IMAGES, ICC = 451, 203, 0.2


def image_of_question(rng: np.random.Generator) -> np.ndarray:
    """Image of each question: every image has at least one; the others are distributed unevenly (gamma popularity)."""
    popularity = rng.gamma(1.5, size=IMAGES)
    more = rng.choice(IMAGES, size=QUESTIONS - IMAGES, p=popularity / popularity.sum())
    return np.concatenate([np.arange(IMAGES), more])


def answers(rng: np.random.Generator, image: np.ndarray, accuracy: float) -> np.ndarray:
    """Correct (1) or wrong (0), with a success rate per image from a beta distribution of the given mean and ICC."""
    spread = (1 - ICC) / ICC
    chance = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=IMAGES)
    return (rng.random(QUESTIONS) < chance[image]).astype(float)


def single(rng: np.random.Generator, image: np.ndarray, accuracy: float, sets: int) -> dict[str, float]:
    covered, naive = 0, 0
    for _ in range(sets):
        values = answers(rng, image, accuracy).tolist()
        interval, plain = mean_interval(values, image.tolist()), wilson(int(sum(values)), QUESTIONS)
        covered += interval.low <= accuracy <= interval.high
        naive += plain.low <= accuracy <= plain.high
    return {"accuracy": accuracy, "clustered": covered / sets, "naive": naive / sets}


def paired(rng: np.random.Generator, image: np.ndarray, accuracy: float, sets: int) -> dict[str, float]:
    """Two equally good models that agree on most rows, on the images that are hard for the one but not the other."""
    rejected = {"clustered interval": 0, "sign flip": 0, "McNemar": 0}
    for _ in range(sets):
        first, other = answers(rng, image, accuracy), answers(rng, image, accuracy)
        second = np.where(rng.random(QUESTIONS) < 0.4, other, first)
        a, b, clusters = first.tolist(), second.tolist(), image.tolist()
        interval = paired_interval(a, b, clusters)
        rejected["clustered interval"] += not interval.low <= 0 <= interval.high
        rejected["sign flip"] += sign_flip_p(a, b, clusters, permutations=1000) < 0.05
        rejected["McNemar"] += mcnemar(a, b).p < 0.05
    return {"accuracy": accuracy} | {name: count / sets for name, count in rejected.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rng = np.random.default_rng(20260101)
    image, started = image_of_question(rng), time.perf_counter()
    result = {
        "command": f"python benchmarks/coverage.py --sets {options.sets}",
        "questions": QUESTIONS,
        "images": IMAGES,
        "intraclass_correlation": ICC,
        "sets": options.sets,
        "coverage_of_95_percent_intervals": [single(rng, image, p, options.sets) for p in (0.5, 0.7, 0.8)],
        "level_of_5_percent_paired_tests": [paired(rng, image, p, options.sets) for p in (0.7,)],
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2), f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
