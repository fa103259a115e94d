"""engine=hf beside other engines on one machine: python benchmarks/peers.py --out benchmarks/results/peers-cpu.json

The random LLaVA of 80 million parameters of benchmarks/prefix.py in float32, 585 shared tokens, questions of 18 to 31
words, answers of exactly 12 tokens, 11, 8, 2 and 1 questions per image.  Peers: transformers' `generate` in static
batches of 8; vLLM and lmms-eval where `--vllm-python` and `--lmms-python` name the Python of an environment that has
them; engine=hf of an earlier state of the code where `--before` names its folder.  Each engine runs in its own process
with the same number of threads; one repetition asks every engine once, in turn, so that a ratio compares runs next to
each other.  Loading and one warm-up are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers_worker import NEW_TOKENS
from benchmarks.prefix import SYSTEM, build, requests
from evalkit.core.types import Generation, Request
from evalkit.engines.profiling import machine

IMAGES = {11: 2, 8: 2, 2: 4, 1: 8}
# The side that the vision tower takes: image processors with and without torchvision shrink larger images differently,
# and a random model then answers otherwise.
SIDE = 336
WORKER = Path(__file__).with_name("peers_worker.py")


@dataclass(slots=True)
class Peer:
    """Process of one engine."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, questions: Path) -> dict[str, Any]:
        """One run over a file of questions."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{questions}\n")
        self.process.stdin.flush()
        return self.reply()

    def reply(self) -> dict[str, Any]:
        """The next line of the process.  RuntimeError: it ended."""
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}; its messages are above")
        found: dict[str, Any] = json.loads(line)
        return found


def start(name: str, python: str, folder: Path, threads: int, code: Path | None = None) -> Peer | None:
    """Start an engine and wait until it is loaded; None, with a sentence, if it does not start.

    code: the folder that evalkit is imported from.
    """
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    limits["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}"
    if code is not None:
        limits["PYTHONPATH"] = str(code)
    process = subprocess.Popen(
        [python, str(WORKER), "hf" if name == "before" else name, str(folder), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | limits,
    )
    peer = Peer(name, process)
    try:
        peer.reply()
    except (RuntimeError, json.JSONDecodeError) as problem:
        print(f"{name} is left out: {problem}", flush=True)
        process.kill()
        return None
    return peer


def build_fixed_length(folder: Path) -> None:
    """Write the checkpoint, with generation settings under which no answer ends before the limit."""
    from safetensors.torch import load_file, save_file

    build(folder)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"eos_token_id": 2, "suppress_tokens": [0, 1, 2, 3, 4]}
    path.write_text(json.dumps(settings), encoding="utf-8")
    weights = folder / "model.safetensors"
    tensors = {published_name(name): tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})


def published_name(name: str) -> str:
    """Name of a tensor as published LLaVA checkpoints have it, which every engine reads.

    >>> published_name("vision_tower.embeddings.class_embedding")
    'vision_tower.vision_model.embeddings.class_embedding'
    """
    tower = "vision_tower."
    if name.startswith(tower) and not name.startswith(f"{tower}vision_model."):
        return f"{tower}vision_model.{name.removeprefix(tower)}"
    return name


def write_questions(folder: Path, made: Sequence[Request], name: str) -> Path:
    """Write the questions of a workload as the workers read them."""
    rows = [
        {
            "id": request.sample_id,
            "question": request.question,
            "prompt": f"<s> {SYSTEM} <image> {request.question}",
            "image": request.images[0].path,
        }
        for request in made
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest value."""
    found = {"median": statistics.median(values), "least": min(values), "greatest": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]], n: int) -> dict[str, Any]:
    """Speeds of every engine and, pair by pair, how many times as fast engine=hf is.

    >>> run = {"seconds": 2.0, "processor": 2.0, "texts": {"a": "x"}}
    >>> summary({"hf": [run], "static": [run | {"processor": 3.0}]}, 1)["static"]["hf_over_it_processor"]["median"]
    1.5
    """
    first, record = runs["hf"], {}
    for name, own in runs.items():
        record[name] = {
            "samples_per_second": spread([n / run["seconds"] for run in own]),
            "processor_seconds_per_sample": spread([run["processor"] / n for run in own]),
            "texts_unlike_hf": sum(own[-1]["texts"].get(i) != text for i, text in first[-1]["texts"].items()),
        }
        if name != "hf":
            for key, label in (("seconds", "hf_over_it"), ("processor", "hf_over_it_processor")):
                ratios = [b[key] / a[key] for a, b in zip(first, own, strict=True)]
                record[name][label] = spread(ratios)
    return record


def measure(peers: Sequence[Peer], file: Path, repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Ask every engine in turn, repetition after repetition."""
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for _ in range(repetitions):
        for peer in peers:
            runs[peer.name].append(peer.ask(file))
    return runs


def warmed_up(peers: Sequence[Peer], file: Path) -> list[Peer]:
    """The engines that answer a few questions; the others are named and left out."""
    kept = []
    for peer in peers:
        try:
            peer.ask(file)
        except (RuntimeError, BrokenPipeError) as problem:
            if peer.name == "hf":
                raise
            print(f"{peer.name} is left out: {problem}", flush=True)
        else:
            kept.append(peer)
    return kept


def main() -> None:
    """Measure, print the ratios and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vllm-python", help="Python of an environment with vLLM's CPU build")
    parser.add_argument("--lmms-python", help="Python of an environment with lmms-eval")
    parser.add_argument("--before", type=Path, help="folder of an earlier state of this repository")
    parser.add_argument("--questions", type=int, nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pythons = {"hf": sys.executable, "static": sys.executable}
    if arguments.before:
        pythons["before"] = sys.executable
    for name in ("vllm", "lmms"):
        if python := getattr(arguments, f"{name}_python"):
            pythons[name] = python
        else:
            print(f"{name} is not measured: --{name}-python names no environment.", flush=True)
    results: dict[str, Any] = {"about": " ".join(__doc__.split("\n\n")[1].split()), "threads": arguments.threads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_fixed_length(folder / "model")
        started = [
            start(key, python, folder, arguments.threads, arguments.before if key == "before" else None)
            for key, python in pythons.items()
        ]
        peers = [peer for peer in started if peer is not None]
        few = requests(folder, 1, 2, Generation(max_new_tokens=NEW_TOKENS), side=SIDE)
        peers = warmed_up(peers, write_questions(folder, few, "warm-up"))
        results["workloads"] = {}
        for questions in arguments.questions:
            made = requests(folder, IMAGES[questions], questions, Generation(max_new_tokens=NEW_TOKENS), side=SIDE)
            runs = measure(peers, write_questions(folder, made, str(questions)), arguments.repetitions)
            results["workloads"][str(questions)] = summary(runs, len(made))
            print(questions, json.dumps(results["workloads"][str(questions)]), flush=True)
            results["machine"] = machine()
            if arguments.out:  # after each workload, so that an interrupted run keeps its results
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        for peer in peers:
            assert peer.process.stdin is not None
            peer.process.stdin.close()
            peer.process.wait(timeout=60)


if __name__ == "__main__":
    main()
