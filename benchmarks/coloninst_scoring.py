"""Time of scoring ColonINST at full size, from predictions files to metrics with slices and intervals.

Makes predictions files of the unseen split's size in the authors' format (45,284 CLS, 37,631 REG, 37,631 REC; made-up
records with the published share of each source), then does what `evalkit score` does with each: read, join, score,
tabulate, write.  Run: python benchmarks/coloninst_scoring.py [--out benchmarks/results/coloninst_scoring.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = {"cls": 45284, "reg": 37631, "rec": 37631}
SOURCES = {
    "SUN": 0.653,
    "KUMC": 0.108,
    "Kvasir-Capsule": 0.051,
    "Nerthus": 0.037,
    "HyperKvasir": 0.033,
    "PolypGen": 0.025,
}
OTHERS = ("CVC-ClinicDB", "CVC-ColonDB", "ETIS-Larib", "PSNBI2K", "Kvasir", "GastroVision", "PICCOLO", "EDD2020",
          "Kvasir-Instrument", "WCE-CCDD", "CPC-Paired", "CP-CHILD", "BKAI-Small")  # fmt: skip


def made_up(kind: str, n: int, labels: list[str]) -> list[dict[str, Any]]:
    """n records with a prediction each; four fifths of the answers are correct or nearly so."""
    dice = random.Random(f"coloninst {kind}")
    items = []
    for index in range(n):
        source = dice.choices([*SOURCES, "other"], [*SOURCES.values(), 0.093])[0]
        source = dice.choice(OTHERS) if source == "other" else source
        label = labels[min(int(dice.expovariate(0.6)), len(labels) - 1)]
        stem = {
            "SUN": f"case{dice.randrange(90)}_image{index:05d}",
            "Kvasir-Capsule": f"{dice.randrange(44):016x}_{index}",
            "KUMC": f"{dice.randrange(37)}_{index}",
            "PolypGen": f"{dice.randrange(23)}_endocv2021_positive_{index}",
        }.get(source, f"img{index}")
        x, y = dice.randrange(400), dice.randrange(400)
        box = (x, y, x + dice.randrange(10, 500), y + dice.randrange(10, 500))
        written = "{" + "".join(f"<{v}>" for v in box) + "}"
        moved = "{" + "".join(f"<{max(0, v + dice.randrange(-40, 40))}>" for v in box) + "}"
        right = dice.random() < 0.8
        question, answer, predicted = {
            "cls": ("Categorize the object.", label, label if right else dice.choice(labels)),
            "reg": (f"What is the category for {written}?", label, label if right else dice.choice(labels)),
            "rec": (f"Where is the location of {label}?", written, moved if right else "I cannot see it."),
        }[kind]
        turns = {"human": f"<image>\n{question}", "gpt": answer, "prediction": predicted}
        path = f"{source}/Test/{label.replace(' ', '_')}/{stem}.jpg"
        items.append(
            {"id": path, "image": stem, "conversations": [{"from": who, "value": text} for who, text in turns.items()]}
        )
    return items


def main() -> None:
    """Time the three tasks one after another in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    arguments = parser.parse_args()
    from evalkit.__main__ import main as evalkit
    from evalkit.cli.config import load_option

    labels = load_option("protocol", "coloninst")["labels"]
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for kind, size in SIZES.items():
            n = round(size * arguments.scale)
            files[kind] = Path(folder) / f"test_pred_{kind}.json"
            items = made_up(kind, n, labels["cls" if kind == "cls" else "reg"])
            files[kind].write_text(json.dumps(items), encoding="utf-8")
            del items
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for kind, file in files.items():
            overrides = [f"task=coloninst-{kind}", f"predictions={file}", f"out={folder}/runs"]
            overrides += [] if arguments.scale == 1.0 else ["task.allow_counts=true"]
            started = time.perf_counter()
            code = evalkit(["score", *overrides])
            parts[kind] = {
                "n": round(SIZES[kind] * arguments.scale),
                "seconds": round(time.perf_counter() - started, 2),
            }
            if code:
                sys.exit(code)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "what": "evalkit score, ColonINST unseen, made-up predictions: read, join, score, slices, intervals, write",
        "seconds": round(sum(p["seconds"] for p in parts.values()), 2),
        "parts": parts,
        "peak_mib": round(peak),
        "peak_mib_before": round(before),
        "target": {"seconds": 20, "peak_mib": 1024},
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "python": platform.python_version()},
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
