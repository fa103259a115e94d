"""Time and memory of scoring OmniMedVQA's 127,995 multiple-choice rows, intervals and baselines included.

    python benchmarks/choice_scoring.py [--protocols choice-strict,choice-mmmu] [--out benchmarks/choice_scoring.json]

Scores of every row, the metric of every slice with its interval, chance level and majority letter, as `score` makes
them.  Rows are generated: two to five options, one or two questions an image, answers of a letter, an option's text, a
sentence with an answer mark, a paragraph, or nothing.  Wall and processor time of one process, and its largest memory
(RSS) after the rows were made and at the end.  Each protocol is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evalkit.analysis.sanity_checks.lift import choice_lifts
from evalkit.cli.config import build, load_option, options
from evalkit.core.types import CHOICE, LETTERS, Prediction, Sample
from evalkit.scoring.aggregate import RunProvenance, tabulate
from evalkit.scoring.score_table import RowKinds, score_table
from evalkit.stats import cluster_codes
from evalkit.tasks.base import LoadedTask

ROWS, IMAGES, MODALITIES = 127_995, 118_010, 12
TERMS = [
    f"{kind} {thing}"
    for kind in ("left", "right", "benign", "malignant", "small", "large", "chronic", "acute", "upper", "lower")
    for thing in (
        "lung",
        "liver mass",
        "pleural effusion",
        "nodule",
        "retina",
        "polyp",
        "fracture",
        "kidney",
        "CT",
        "MRI",
    )
]
PARAGRAPH = (
    "The image shows an axial section of the body with a bright area that is well defined at its border. The texture "
    "around it is regular, and no second finding is visible in this plane or in the part below it. "
)
FORMS = (
    *("{letter}", "{letter}.", "({letter})", "{letter}. {text}", "{letter}) {text}", "{text}", "{text}."),
    *("The answer is {letter}.", "Answer: {letter}", "The correct answer is {letter}. {text}", "\\boxed{{{letter}}}"),
    *("{paragraph}The answer is {letter}.", "{paragraph}", "{letter}\n\n{paragraph}", "", "It is a {text} here"),
)


def made_rows(rng: random.Random) -> tuple[tuple[Sample, ...], list[Prediction]]:
    samples, predictions = [], []
    for number in range(ROWS):
        texts = tuple(rng.sample(TERMS, rng.choice((2, 3, 4, 4, 4, 5))))
        said = rng.randrange(len(texts))
        samples.append(
            Sample(
                id=f"row-{number}",
                image_id=f"image-{number % IMAGES}",
                question=f"What is shown at place {number % 977}?",
                references=(texts[rng.randrange(len(texts))],),
                choices=texts,
                tags={"answer_type": CHOICE, "modality": f"m{number % MODALITIES}"},
            )
        )
        text = rng.choice(FORMS).format(letter=LETTERS[said], text=texts[said], paragraph=PARAGRAPH)
        predictions.append(Prediction(sample_id=f"row-{number}", text=text))
    return tuple(samples), predictions


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(name: str) -> dict[str, Any]:
    """The figures of one protocol."""
    samples, predictions = made_rows(random.Random(1))
    task = LoadedTask(name="made", split="test", form="made", samples=samples, closed_rule="label", prompt="letters@0")
    protocol = build(load_option("protocol", name), name)
    before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:  # as a run writes scores.jsonl
        scores = score_table(samples, predictions, [protocol], RowKinds.among(samples), file.write)
    scored = time.perf_counter() - wall
    values = tabulate(samples, scores, [protocol], RunProvenance(model="made", task=task))
    lifts = choice_lifts(samples, scores, cluster_codes(samples, [s.image_id for s in samples]))
    return {
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "of_which_scoring": round(scored, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mib_before": before,
        "peak_mib": peak_mib(),
        "metric_values": len(values),
        "unscored": values[0].n_unscored,
        "chance": round(lifts[0]["value"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocols", default=",".join(n for n in options("protocol") if n.startswith("choice-")))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one", help="measure one protocol in this process and print it")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    found = {}
    for name in arguments.protocols.split(","):
        command = [sys.executable, __file__, "--one", name]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = {"rows": ROWS, "images": IMAGES, "protocols": found}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
