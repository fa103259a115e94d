"""Time and memory of the verbs on large inputs, before and after a change, on one machine.

    python benchmarks/large.py --inputs /tmp/large --tree ../before --label before --cases board-300 board-600
    python benchmarks/large.py --inputs /tmp/large --out benchmarks/results/large-cpu.json

Inputs are made once (in --inputs, by the tree that this file is in) and read by every tree.  Each case is one command
line in a new process: wall time, processor time and the largest memory of the process (ru_maxrss).  --tree names the
checkout that is measured; results are kept in --out by label, so that a second call adds to them.  --limit-gib stops a
case that needs more memory.  The largest case needs 2 GiB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Runs of a leaderboard over as many rows and images as SLAKE's test split has.
ROWS, IMAGES = 1061, 96
BOARD_METRICS = ("llava-med closed_accuracy", "llava-med open_recall", "strict closed_accuracy", "strict open_recall",
                 "exact-match exact_match")  # fmt: skip
# Of files of answers: how they begin, and their suffixes where they are not JSON lines.
HEADS = {"csv": "id,question,prediction\n", "array": "["}
SUFFIXES = {"csv": "csv", "array": "json"}
TARGETS = {
    "board-3000": {"seconds": 20, "peak_mib": 1024},
    "add-3000": {"seconds": 2},
    "score-500000": {"seconds": 60, "peak_mib": 1024},
    "gate-200000": {"seconds": 10, "peak_mib": 1024},
    "compare-200000": {"seconds": 10, "peak_mib": 1024},
    "report-500000": {"seconds": 60, "peak_mib": 2048},
    "read-jsonl": {"peak_mib": 600},
    "read-long": {"peak_mib": 600},
    "read-csv": {"peak_mib": 600},
    "read-array": {"peak_mib": 600},
}


class Inputs:
    """The inputs below a folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The input of this name; made under another name first, so that an interrupted call leaves no half of one."""
        path, part = self.folder / name, self.folder / f"{name}.part"
        if not path.exists():
            shutil.rmtree(part, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            make(part)
            part.rename(path)
        return path

    def run(self, n: int, rule: str = "question") -> Path:
        """The folder of a scripted run over n questions of the built-in task."""

        def make(out: Path) -> None:
            evalkit(ROOT, "model=scripted", f"model.rule={rule}", "task=phantom", f"task.n_test={n // 10}",
                    f"name=m-{rule}", f"out={out}", "leaderboard=null")  # fmt: skip

        return next(p.parent for p in self.made(f"run-{n}-{rule}", make).glob("*/summary.json"))

    def board(self, n: int) -> Path:
        """A leaderboard folder with the results and scores of n runs over the same rows."""
        return self.made(f"board-{n}", lambda out: write_board(out, self.run(600), n))

    def runs(self, n: int) -> Path:
        """A folder with n finished runs of other models."""

        def make(out: Path) -> None:
            source = self.run(600)
            for k in range(n):
                summary = json.loads((source / "summary.json").read_text(encoding="utf-8"))
                manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
                folder = out / f"old-{k}-phantom-{k:08x}"
                folder.mkdir(parents=True)
                for name, content in (("summary", summary), ("manifest", manifest)):
                    content |= {"run_id": folder.name, "model": f"old-{k}"}
                    (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")

        return self.made(f"runs-{n}", make)

    def answers(self, shape: str, megabytes: int = 300) -> Path:
        """A file of answers to the built-in task: many short ones as JSON lines, array or CSV, or fewer long ones."""

        def make(path: Path) -> None:
            from evalkit.tasks.phantom import Phantom

            drawn, written = random.Random(0), 0
            words = [f"word{k}" for k in range(2000)]
            length = 500 if shape == "long" else 25
            n = megabytes * 1_000_000 // (length * 8 + 130)
            with path.open("w", encoding="utf-8") as file:
                if shape in HEADS:
                    file.write(HEADS[shape])
                for sample in Phantom(n_test=n // 10).load().samples:
                    text = " ".join(drawn.choices(words, k=length))
                    row = {"id": sample.id, "question": sample.question, "prediction": text}
                    line = ",".join(f'"{v}"' for v in row.values()) if shape == "csv" else json.dumps(row)
                    written += file.write((",\n" if shape == "array" and written else "") + line)
                    written += file.write("" if shape == "array" else "\n")
                if shape == "array":
                    file.write("]\n")

        return self.made(f"answers-{shape}.{SUFFIXES.get(shape, 'jsonl')}", make)


def write_board(out: Path, source: Path, n: int) -> None:
    """Results and scores of n models whose accuracy rises slowly, from the result of one run."""
    from dataclasses import replace

    from evalkit.analysis.run_scores import RunScores, ScoreColumn, baseline_file
    from evalkit.core.signature import Signature
    from evalkit.core.types import MetricKey, MetricValue
    from evalkit.reports.leaderboard.exposure import TrainingExposure
    from evalkit.reports.leaderboard.folder import leaderboard_result
    from evalkit.runs.read import summary_at
    from evalkit.runs.schema import RunHeader
    from evalkit.runs.store import write_record

    summary = summary_at(source / "summary.json")
    overall = {str(m.key): m for m in summary.metrics if m.slice == "all"}
    drawn = random.Random(0)
    ids = tuple(str(k) for k in range(ROWS))
    images = tuple(f"image{k % IMAGES}" for k in range(ROWS))
    half = tuple(range(0, ROWS, 2))
    other = tuple(range(1, ROWS, 2))
    (out / "scores").mkdir(parents=True)
    for number in range(n):
        name = f"model-{number:04d}"
        columns: dict[MetricKey, ScoreColumn] = {}
        metrics: list[MetricValue] = []
        for text in BOARD_METRICS:
            found, key = overall[text], MetricKey.parse(text)
            rows = half if "closed" in text else other if "open" in text else tuple(range(ROWS))
            share = 0.3 + 0.4 * number / n
            values: list[float | None] = [None] * ROWS
            for k in rows:
                values[k] = float(drawn.random() < share) if "recall" not in text else round(drawn.random() * share, 3)
            value = sum(values[k] or 0.0 for k in rows) / len(rows)
            signature = Signature.of(key.metric, dict(found.signature.parts) | {"n": str(len(rows))})
            columns[key] = ScoreColumn.of(values, rows, signature=signature, higher_is_better=True)
            metrics.append(replace(found, signature=signature, value=value, value_worst_case=value, n=len(rows),
                                   low=max(0, value - 0.03), high=min(1, value + 0.03), n_unscored=0))  # fmt: skip
        run_id = f"{name}-phantom-{number:08x}"
        made = replace(summary, run_id=run_id, model=name, n=ROWS, n_images=IMAGES, metrics=tuple(metrics))
        result = leaderboard_result(made, TrainingExposure(regime="zero-shot"))
        write_record(out / "results" / f"{run_id}.json", result)
        header = RunHeader(
            task=made.task, split=made.split, data_sha256=made.data_sha256, closed_rule=made.closed_rule,
            prompt=made.prompt, image=made.image, limit=None, n=ROWS, model=name, run_id=run_id,
            evalkit=made.evalkit, generation=made.generation, status="done",
        )  # fmt: skip
        scores = RunScores(origin="made", header=header, ids=ids, image_ids=images, columns=columns,
                           answers=tuple(f"{drawn.getrandbits(64):016x}" for _ in ids))  # fmt: skip
        (out / "scores" / f"{run_id}.json").write_text(baseline_file(scores, list(columns), with_texts=False))


def evalkit(tree: Path, *words: str, codes: Sequence[int] = (0,), limit_gib: float = 8.0) -> dict[str, Any]:
    """Run a command line of a tree in a new process and measure it."""
    most = int(limit_gib * 2**30)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *words],
        env=os.environ | {"PYTHONPATH": str(tree)},
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    measured = {
        "seconds": round(time.perf_counter() - started, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }
    if code in codes:
        return measured
    return measured | {"failed": f"exit code {code}: {output.strip().splitlines()[-1:]}"}


def measure(case: str, inputs: Inputs, tree: Path, scratch: Path, limit_gib: float) -> dict[str, Any]:
    """Measure one case, named KIND-SIZE."""
    kind, _, size = case.partition("-")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)

    def run(*words: str, codes: Sequence[int] = (0,)) -> dict[str, Any]:
        return evalkit(tree, *words, codes=codes, limit_gib=limit_gib)

    if kind == "read":
        path = inputs.answers(size)
        n = sum(1 for _ in path.open("rb")) - (size == "csv")  # the last line of an array ends with its bracket
        found = run("score", f"predictions={path}", "task=phantom", f"task.n_test={n // 10}", "protocol=exact-match",
                    f"out={scratch}")  # fmt: skip
        return found | {"megabytes": round(path.stat().st_size / 1e6), "n": n}
    n = int(size)
    if kind == "board":
        shutil.copytree(inputs.board(n), scratch / "board")
        return run("board", f"leaderboard={scratch / 'board'}")
    if kind in ("add", "start"):  # with and without the old runs
        small = ["model=scripted", "task=phantom", "name=new", f"out={scratch}/"]
        alone = run(*small[:3], f"out={scratch / 'alone'}", *(["leaderboard=null"] if kind == "start" else []))
        if kind == "add":
            shutil.copytree(inputs.board(n), scratch / "board")
            beside = run(*small[:3], f"out={scratch / 'beside'}", f"leaderboard={scratch / 'board'}")
        else:
            shutil.copytree(inputs.runs(n), scratch / "beside")
            beside = run(*small[:3], f"out={scratch / 'beside'}", "leaderboard=null")
        return beside | {"seconds": round(beside["seconds"] - alone["seconds"], 2), "alone": alone, "beside": beside}
    if kind == "score":
        source = inputs.run(n) / "predictions.jsonl"
        return run("score", f"predictions={source}", "task=phantom", f"task.n_test={n // 10}", f"out={scratch}")
    if kind == "report":
        return run("report", f"run={inputs.run(n)}", f"file={scratch / 'report.html'}", "images=false")
    if kind == "run":
        return run("model=scripted", "task=phantom", f"task.n_test={n // 10}", f"out={scratch}", "leaderboard=null")
    first, second = inputs.run(n, "question"), inputs.run(n, "yes")
    if kind == "gate":
        return run("gate", f"baseline={first}", f"candidate={second}", f"out={scratch}", codes=(0, 1, 4))
    if kind == "compare":
        return run("compare", f"runs=[{first},{second}]")
    sys.exit(f"{case}: unknown case")


CASES = (
    *("board-300", "board-600", "board-3000", "add-300", "add-3000", "start-3000", "score-500000", "gate-200000"),
    *("compare-200000", "report-500000", "run-100000", "run-1000000", "read-jsonl", "read-long", "read-csv"),
)


def main() -> None:
    """Measure the cases, print them, and write them into the results under their label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--label", default="after")
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--limit-gib", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from evalkit.engines.profiling import machine

    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out and given.out.is_file() else {}
    cases = kept.get("cases", {})
    inputs = Inputs(given.inputs.resolve())
    for case in given.cases:
        found = measure(case, inputs, given.tree.resolve(), inputs.folder / "scratch", given.limit_gib)
        print(json.dumps({"case": case, "label": given.label, **found}), flush=True)
        cases.setdefault(case, {})[given.label] = found
        if case in TARGETS:
            cases[case]["target"] = TARGETS[case]
        if given.out:
            content = {"about": " ".join(__doc__.split("\n\n")[2].split()), "cases": cases, "machine": machine()}
            given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
