"""Two prompt variants in one pass, against two runs: python -m benchmarks.prompt_variants --out FILE

The random LLaVA of 80 million parameters of benchmarks/prefix.py answers 11 questions of 18 to 31 words about each
image of 512 x 512 pixels under task.prompt=plain and task.prompt=short: as two runs, and as one command that lists
both.  Everything of a run but loading the model and the check of prefix sharing is included, which both need once.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.prefix import SPECIAL, WORDS, build
from evalkit.cli.config import load_option
from evalkit.cli.factories import build_protocols
from evalkit.core.types import Generation
from evalkit.engines.hf import HfEngine
from evalkit.engines.loaded_model import Counters
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.pipeline.evaluate import Job, evaluate_together
from evalkit.pipeline.settings import Settings
from evalkit.tasks.image_check import check_images
from evalkit.tasks.prompts import SHORT
from evalkit.tasks.table.task import TableTask

PROMPTS = ("plain", "short")
QUESTIONS, IMAGES, SIDE = 11, 3, 512
# The ratios that docs/speed.md states as the least.
TARGET = {"fewer_prompt_tokens": 1.8, "less_processor_time": 1.6}


def add_words(folder: Path) -> None:
    """Give the tokenizer the words of the short prompt, in ids that the model has."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True, backend="pil")
    words = [*SPECIAL, *WORDS, *dict.fromkeys(SHORT.split())]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.save(str(folder / "words.json"))
    given = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    given["model"] = json.loads((folder / "words.json").read_text(encoding="utf-8"))["model"]
    processor.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(given), encoding="utf-8")


def write_table(folder: Path, images: int) -> Path:
    """A table of questions about random pixels."""
    import numpy as np
    from PIL import Image

    rng = random.Random(QUESTIONS)
    lines = ["image,question,answer"]
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for _ in range(QUESTIONS):
            lines.append(f"{number}.png,{' '.join(rng.choices(WORDS, k=rng.randint(18, 31)))},{rng.choice(WORDS)}")
    path = folder / "questions.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_job(table: Path, prompt: str, out: Path) -> Job:
    """The run of one prompt."""
    task = TableTask(path=str(table), prompt=prompt)
    loaded, digests = check_images(task.load(), on_missing="error")
    protocols = build_protocols({"exact-match": load_option("protocol", "exact-match")})
    settings = Settings(model="benchmark", out=out)
    return Job(task=task, loaded=loaded, digests=digests, protocols=protocols, settings=settings, config={})


def texts(out: Path) -> dict[str, str]:
    """The answers of all runs in a folder, by run and sample."""
    lines = (json.loads(x) for p in out.glob("*/predictions.jsonl") for x in p.read_text(encoding="utf-8").splitlines())
    return {line["fingerprint"]: line["text"] for line in lines}


def measure(engine: HfEngine, table: Path, out: Path, *, together: bool) -> dict[str, Any]:
    """Answer both prompts; counters, times and answers."""
    counters = engine.load().counters = Counters()
    jobs = [make_job(table, prompt, out) for prompt in PROMPTS]
    started, started_cpu = time.perf_counter(), time.process_time()
    for group in [jobs] if together else [[job] for job in jobs]:
        evaluate_together(group, engine)
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - started_cpu,
        "prompt_tokens": counters.prefill_tokens,
        "image_prefills": counters.prefix_prefills,
        "images_encoded": counters.vision_encodes,
        "texts": texts(out),
    }


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {"apart": [], "together": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "model")
        add_words(folder / "model")
        table = write_table(folder, arguments.images)
        spec = CheckpointSpec(
            name="benchmark", config={"source": str(folder / "model")}, generation=Generation(max_new_tokens=12)
        )
        engine = HfEngine(spec=spec, dtype="float32", device="cpu")
        measure(engine, table, folder / "warm-up", together=True)
        for repetition in range(arguments.repetitions):
            for mode, found in runs.items():
                found.append(measure(engine, table, folder / f"{mode}-{repetition}", together=mode == "together"))
    result = summary(runs, "python -m benchmarks.prompt_variants " + " ".join(sys.argv[1:]))
    print(json.dumps(result["ratios"]), flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def summary(runs: dict[str, list[dict[str, Any]]], command: str) -> dict[str, Any]:
    """Medians of the repetitions, and the ratios that are asked for."""
    first = {mode: found[0] for mode, found in runs.items()}
    counts = ("prompt_tokens", "image_prefills", "images_encoded")
    modes = {
        mode: {
            **{key: first[mode][key] for key in counts},
            **{key: round(statistics.median(r[key] for r in found), 3) for key in ("seconds", "processor_seconds")},
            "processor_seconds_range": [round(f(r["processor_seconds"] for r in found), 3) for f in (min, max)],
        }
        for mode, found in runs.items()
    }
    apart, both = modes["apart"], modes["together"]
    given = first["apart"]["texts"]
    return {
        "about": " ".join(__doc__.split("\n\n")[1].split()),
        "command": command,
        "answers": {
            "n": len(given),
            "different_texts": len(set(given.values())),
            "other_than_apart": sum(r["texts"] != given for found in runs.values() for r in found),
        },
        "modes": modes,
        "ratios": {
            "fewer_prompt_tokens": round(apart["prompt_tokens"] / both["prompt_tokens"], 3),
            "less_processor_time": round(apart["processor_seconds"] / both["processor_seconds"], 3),
            "less_time": round(apart["seconds"] / both["seconds"], 3),
        },
        "target": TARGET,
    }


if __name__ == "__main__":
    main()
