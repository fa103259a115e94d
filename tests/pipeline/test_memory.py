"""Memory that the verbs take for each sample more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SMALL, LARGE = 1_000, 5_000  # images, of ten questions each


def peak(*words: object) -> int:
    """The largest memory of a command, in bytes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *map(str, words)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1, 4), words
    return usage.ru_maxrss * 1024


def run(out: Path, images: int, rule: str) -> Path:
    """The folder of a scripted run."""
    peak(
        "model=scripted",
        f"model.rule={rule}",
        "task=phantom",
        f"task.n_test={images}",
        f"out={out}",
        "leaderboard=null",
    )
    return next(out.glob("*/summary.json")).parent


@pytest.mark.slow
def test_scoring_takes_little_memory_for_each_sample_more(tmp_path: Path) -> None:
    """A sample has 11 scores or more; held as one object each, they took over 3,000 bytes a sample with its answer."""
    found: dict[int, int] = {}
    for images in (SMALL, LARGE):
        folder = run(tmp_path / f"{images}", images, "question")
        found[images] = peak(
            "score", f"predictions={folder / 'predictions.jsonl'}", "task=phantom", f"task.n_test={images}",
            f"out={tmp_path / f'scored-{images}'}",
        )  # fmt: skip
    assert (found[LARGE] - found[SMALL]) / 10 / (LARGE - SMALL) < 2_000, found


@pytest.mark.slow
def test_a_run_takes_little_memory_for_each_sample_more(tmp_path: Path) -> None:
    """Requests are made one by one and answers held as columns; as objects they took over 1,100 bytes a sample."""
    words = ("model=scripted", "model.rule=question", "task=phantom", "leaderboard=null")
    found = {
        images: peak(*words, f"task.n_test={images}", f"out={tmp_path / str(images)}") for images in (SMALL, 3 * LARGE)
    }
    assert (found[3 * LARGE] - found[SMALL]) / 10 / (3 * LARGE - SMALL) < 900, found


@pytest.mark.slow
def test_a_file_of_long_answers_takes_less_than_twice_its_size(tmp_path: Path) -> None:
    """Long answers, all different: neither the text of the file nor readings of the answers are kept."""
    images, path = 1_000, tmp_path / "answers.jsonl"
    folder = run(tmp_path / "run", images, "question")
    with path.open("w", encoding="utf-8") as file, (folder / "predictions.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            text = f"seen {number} " * 500
            file.write(json.dumps({"id": json.loads(line)["sample_id"], "prediction": text}) + "\n")
    words = ("score", f"predictions={path}", "task=phantom", f"task.n_test={images}", "protocol=exact-match")
    few = peak(*words[:1], f"predictions={folder / 'predictions.jsonl'}", *words[2:], f"out={tmp_path / 'few'}")
    long = peak(*words, f"out={tmp_path / 'long'}")
    assert long - few < path.stat().st_size, (few, long, path.stat().st_size)
