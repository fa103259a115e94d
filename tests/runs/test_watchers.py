"""Looking never writes: readers beside a live writer leave every byte that it wrote, and their own are their output."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import EvalkitError, StoreError
from evalkit.judge.columns import judged_columns
from evalkit.judge.journal import choose_judge
from evalkit.judge.results import judged_numbers, judged_scores
from evalkit.reports.export import read_run
from evalkit.reports.leaderboard import rebuild
from evalkit.reports.reproduction import read_summaries
from evalkit.reports.run_page import page_data, paired_differences
from evalkit.runs.read import complete_lines, journal_at
from evalkit.runs.store import RunFolder, answered, cut_torn_line
from evalkit.runs.verify import open_run, stored_judgments, why_unusable
from tests.support.made_runs import answered as right
from tests.support.made_runs import made_run, made_samples
from tests.support.paths import ROOT

WRITER = """
import os, sys, time
path, line, n = sys.argv[1], sys.argv[2].encode() + b"\\n", int(sys.argv[3])
descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for k in range(n):
    text = line.replace(b"NUMBER", str(k).encode())
    half = len(text) // 2
    os.write(descriptor, text[:half])  # a torn line, for whoever looks now
    time.sleep(0.0005)
    os.write(descriptor, text[half:])
    os.fsync(descriptor)
"""
ANSWER = {
    "sample_id": "NUMBER", "image_id": "a", "question": "?", "references": ["yes"], "answer_type": None, "text": "yes",
    "error": None, "finish_reason": "stop", "n_tokens": 1, "seconds": 0.1, "fingerprint": "fNUMBER",
}  # fmt: skip
JUDGMENT = {
    "record": "judgment", "plan": "p", "judge": "j", "sample_id": "qNUMBER", "image_id": "a", "tags": {},
    "order": "reference_first", "replicate": 0, "key": "kNUMBER", "status": "judged", "scores": None,
    "verdict": "correct", "why": None,
}  # fmt: skip
N_LINES = 300
SAMPLES = made_samples(4)


def looks(run: Path) -> list[Callable[[], object]]:
    """Every way to look at a run."""
    folder = RunFolder(run)
    return [
        lambda: answered(folder.predictions),
        lambda: journal_at(folder.judgments),
        lambda: complete_lines(folder.judgments),
        lambda: stored_judgments(folder, None),
        lambda: choose_judge(run),
        lambda: judged_scores(run, "j"),
        lambda: open_run(run).predictions(),
        lambda: open_run(run).check(),
        lambda: judged_numbers(run, open_run(run).summary),
        lambda: judged_columns(run, open_run(run).summary, {}),
        lambda: why_unusable(run),
        lambda: read_run_scores(run),
        lambda: read_run(run),
        lambda: page_data([run], {}, {}),
        lambda: paired_differences([run, run]),
        lambda: read_summaries([run.parent]),
        lambda: rebuild(run.parent / f"board-{threading.get_ident()}"),
    ]


@pytest.mark.parametrize(("name", "line"), [("predictions.jsonl", ANSWER), ("judgments.jsonl", JUDGMENT)])
@pytest.mark.parametrize("status", ["done", "running"])
@pytest.mark.few(1)
def test_watching_readers_take_no_line_from_a_live_writer(
    name: str, line: dict[str, object], status: str, tmp_path: Path
) -> None:
    run = made_run(tmp_path / "run", SAMPLES, [right(s, "yes") for s in SAMPLES], config={})
    (run / "manifest.json").write_text(
        (run / "manifest.json").read_text(encoding="utf-8").replace('"done"', f'"{status}"'), encoding="utf-8"
    )
    before = (run / name).read_bytes() if (run / name).exists() else b""
    others = {p.name: p.read_bytes() for p in run.iterdir() if p.name != name}
    command = [sys.executable, "-c", WRITER, str(run / name), json.dumps(line), str(N_LINES)]
    n_looks = [0]
    with subprocess.Popen(command) as writer:

        def watch() -> None:
            while writer.poll() is None:
                for look in looks(run):
                    n_looks[0] += 1
                    with contextlib.suppress(EvalkitError):
                        look()

        watchers = [threading.Thread(target=watch) for _ in range(3)]
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            watcher.join()
    text = json.dumps(line)
    expected = before + "".join(text.replace("NUMBER", str(k)) + "\n" for k in range(N_LINES)).encode()
    assert (run / name).read_bytes() == expected, "a line of the writer is gone"
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.name != name} == others
    assert n_looks[0] > 20
    print(f"{name}, {status}: {N_LINES} lines under {n_looks[0]} looks, none lost")


@pytest.mark.slow
def test_verbs_beside_a_live_run_lose_no_answer(tmp_path: Path) -> None:
    """The command line itself: dry run, gate, compare, report, export and paper against a run that is being written."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EVALKIT_")} | {"PYTHONPATH": str(ROOT)}
    made = ["model=scripted", "model.rule=digest", "task=phantom", "task.n_test=8", "leaderboard=null"]
    slow = [*made, "model.batch_size=2", "model.seconds=0.03", f"out={tmp_path / 'runs'}"]
    assert main([*made, f"out={tmp_path / 'whole'}"]) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    run = tmp_path / "runs" / whole.name
    seen = b""
    codes = []
    with subprocess.Popen([sys.executable, "-m", "evalkit", *slow], env=environment, stdout=subprocess.DEVNULL) as live:
        deadline = time.monotonic() + 60
        while not (run / "predictions.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        while live.poll() is None:
            for verb in (
                [*slow, "dry_run=true"],
                ["gate", f"baseline={whole}", f"candidate={run}", f"out={tmp_path / 'gate'}"],
                ["compare", f"runs=[{whole},{run}]"],
                ["report", f"run={run}", f"file={tmp_path / 'page.html'}", "images=false"],
                ["export", f"run={run}", "format=latex", f"out={tmp_path / 'export'}"],
            ):
                codes.append(main(verb))
                data = (run / "predictions.jsonl").read_bytes()
                assert data.startswith(seen), "a look cut the file of a live run"
                seen = data[: data.rfind(b"\n") + 1]
    assert live.returncode == 0
    assert (run / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    assert set(codes) <= {0, 2} and len(codes) >= 5


def test_only_the_holder_of_the_lock_cuts_a_torn_line(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", SAMPLES, [right(s, "yes") for s in SAMPLES])
    path = run / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"sample_id": "q9", "ima')
    for look in looks(run):
        with contextlib.suppress(StoreError):
            look()
        assert path.read_bytes() == whole + b'{"sample_id": "q9", "ima'
    with RunFolder(run).locked():
        cut_torn_line(path)
    assert path.read_bytes() == whole
