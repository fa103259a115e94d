"""Time of scoring PathVQA's 6,719 rows, per protocol and with all intervals.

    python benchmarks/scoring_speed.py [--out benchmarks/scoring_speed.json]

Processor time of one core.  The rows are generated: half closed, answers from one word to a paragraph, eight questions
per image.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import time
from collections import defaultdict
from pathlib import Path

import yaml

from evalkit.core.types import CLOSED, OPEN, Prediction, Sample
from evalkit.scoring.text.overlap import sentence_bleu
from evalkit.stats import AGGREGATES

ROWS, IMAGES, SLICES = 6719, 858, 20
CONF = Path(__file__).parents[1] / "conf" / "protocol"
VOCABULARY = [
    *("the", "a", "left", "right", "lung", "lobe", "cell", "tumor", "necrosis", "of", "with", "image", "shows", "no"),
    *("yes", "not", "there", "is", "evidence", "mass", "x-ray", "magnetic", "resonance", "imaging", "two", "and"),
]


def generated(rng: random.Random) -> list[tuple[Sample, Prediction]]:
    pairs = []
    for number in range(ROWS):
        closed = rng.random() < 0.5
        gold = rng.choice(["yes", "no"]) if closed else " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 6)))
        words = rng.choices(VOCABULARY, k=rng.choice([1, 1, 2, 5, 12, 30]))
        sample = Sample(
            id=str(number),
            image_id=str(number % IMAGES),
            question=f"is there evidence of {rng.choice(VOCABULARY)} number {number % 700}?",
            references=(gold,),
            tags={"answer_type": CLOSED if closed else OPEN, "group": str(number % SLICES)},
        )
        pairs.append((sample, Prediction(sample_id=sample.id, text=" ".join(words).capitalize() + ".")))
    return pairs


def load(path: Path) -> object:
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings.pop("about")
    module, _, attribute = settings.pop("target").partition(":")
    return getattr(importlib.import_module(module), attribute)(**settings)


def tabulate(scores: list, clusters: dict[str, str], groups: dict[str, str]) -> int:
    """Compute the mean and interval of every metric over all rows and each slice; returns the number of intervals."""
    cells = defaultdict(lambda: ([], []))
    for score in scores:
        for key in ("all", groups[score.sample_id]):
            if score.value is not None:
                values, labels = cells[score.metric, key]
                values.append(score.value)
                labels.append(clusters[score.sample_id])
    return len([AGGREGATES["mean"](*cell) for cell in cells.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    pairs = generated(random.Random(1))
    clusters = {sample.id: sample.image_id for sample, _ in pairs}
    groups = {sample.id: sample.tags["group"] for sample, _ in pairs}
    AGGREGATES["mean"]([0.0, 1.0, 1.0], [1, 1, 2])  # imports first, so that they are not measured
    sentence_bleu(["left"], ["left"], ["bleu"])
    microseconds, intervals, total = {}, 0, 0.0
    for path in sorted(CONF.glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "target" not in config or "task" in config:  # "all" is a list, and coloninst scores other tasks
            continue
        protocol = load(path)
        started = time.process_time()
        scores = [score for pair in pairs for score in protocol.score(*pair)]
        microseconds[path.stem] = round((time.process_time() - started) / ROWS * 1e6, 1)
        intervals += tabulate(scores, clusters, groups)
        total += time.process_time() - started
    result = {"rows": ROWS, "images": IMAGES, "slices": SLICES, "cpu_seconds": round(total, 2), "intervals": intervals,
              "microseconds_a_row": microseconds}  # fmt: skip
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
