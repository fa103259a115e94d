"""Time of everything after the last answer on PathVQA's 6,719 samples under every protocol.

    python benchmarks/lens.py [--out benchmarks/lens.json]

Scores, every metric of every slice with its interval, the comparison of protocols with all pairs and causes, the sanity
checks (two image-blind baselines scored as well).  Samples and answers are generated: half closed, half of the answers
right, most of them in sentences, because short answers are the easy case.  Wall time and processor time of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evalkit.analysis.disagreement import OTHER, compare_protocols, to_json
from evalkit.analysis.sanity_checks import check_run
from evalkit.cli.config import build, protocols_for
from evalkit.core.types import CLOSED, OPEN, Prediction, Sample
from evalkit.scoring.aggregate import RunProvenance, score_all, slice_tags, tabulate
from evalkit.tasks.base import LoadedTask

ROWS, TRAIN, IMAGES = 6719, 19654, 858
BASELINE_PROTOCOLS = ("llava-med", "strict", "exact-match")
NOUNS = (
    "lung",
    "liver",
    "heart",
    "kidney",
    "spleen",
    "tumour",
    "necrosis",
    "artery",
    "vein",
    "gland",
    "nucleus",
    "cell",
)
KINDS = ("left", "right", "upper", "lower", "normal", "abnormal", "large", "small", "chronic", "acute")
FORMS = (
    "{}", "{}.", "{}", "The {}", "Yes, the image shows {}, which is normal.", "No, there is no evidence of {}.",
    "The answer is {}.", "Assistant: {}", "{0} {0} {0}", "", "I cannot determine this from the image.",
    "It is not {}; the tissue is abnormal. No.", "The section is known to come from the {} of a patient of 54 years.",
    "yes and no", "There is {} in the middle of the field, with two cells in division.", "{} and no",
)  # fmt: skip


def thing(rng: random.Random) -> str:
    return " ".join([*rng.sample(KINDS, rng.randint(0, 2)), rng.choice(NOUNS)])


def split(rng: random.Random, name: str, n: int) -> LoadedTask:
    samples = []
    for k in range(n):
        closed = rng.random() < 0.5
        about = thing(rng)
        words = ("is", "does", "are") if closed else ("what", "where", "how", "which")
        first = rng.choice(words)
        samples.append(
            Sample(
                id=f"{name}-{k}",
                image_id=f"{name}-{k % IMAGES}",
                question=f"{first} {about} seen {rng.choice(NOUNS)} {k % 700}?",
                references=(rng.choice(["yes", "no"]) if closed else thing(rng),),
                tags={
                    "answer_type": CLOSED if closed else OPEN,
                    "question_type": first,
                    "repeats": rng.choice(["none", "none", "none", "conflicting", "duplicate"]),
                },
            )
        )
    return LoadedTask(
        name="pathvqa", split=name, form="generated", samples=tuple(samples), closed_rule="yesno", prompt="short"
    )


def answers(rng: random.Random, task: LoadedTask) -> list[Prediction]:
    golds = [s.references[0] for s in task.samples]
    return [
        Prediction(
            sample_id=s.id, text=rng.choice(FORMS).format(g if rng.random() < 0.5 else rng.choice(golds))
        )
        for s, g in zip(task.samples, golds, strict=True)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rng = random.Random(1)
    test, train = split(rng, "test", ROWS), split(rng, "train", TRAIN)
    predictions = answers(rng, test)
    chosen = protocols_for({"all": {}}, {"name": "pathvqa"})
    protocols = [build(content, name) for name, content in chosen.items()]
    provenance = RunProvenance(model="generated", task=test)
    tabulate(
        test.samples[:9], score_all(test.samples[:9], predictions[:9], protocols), protocols, provenance
    )  # imports
    baseline_protocols = [p for p in protocols if p.name in BASELINE_PROTOCOLS]
    seconds: dict[str, dict[str, float]] = {}

    def timed(stage: str, what: Callable[[], Any]) -> Any:
        wall, used = time.perf_counter(), time.process_time()
        result = what()
        seconds[stage] = {
            "wall": round(time.perf_counter() - wall, 2),
            "processor": round(time.process_time() - used, 2),
        }
        return result

    scores = timed("score", lambda: score_all(test.samples, predictions, protocols))
    values = timed("slices and intervals", lambda: tabulate(test.samples, scores, protocols, provenance))
    comparison = timed("lens", lambda: compare_protocols(test.samples, predictions, scores, values, protocols))
    with TemporaryDirectory() as folder:
        timed(
            "sanity checks",
            lambda: check_run(
                test.samples, predictions, scores, values, baseline_protocols, provenance, train, Path(folder)
            ),
        )
    causes: Counter[str] = Counter()
    for d in comparison.differences:
        causes.update(d.causes)
    result = {
        "rows": ROWS,
        "protocols": len(protocols),
        "slices": sum(len({s.tags[t] for s in test.samples}) for t in slice_tags(test.samples)),
        "intervals": len(values),
        "scores": len(scores),
        "pairs": len(to_json(comparison)["differences"]),
        "differences": causes.total(),
        "unexplained": causes[OTHER],
        "seconds": seconds,
        "total_seconds": {k: round(sum(s[k] for s in seconds.values()), 2) for k in ("wall", "processor")},
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
