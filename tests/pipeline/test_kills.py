"""kill -9 again and again at random moments of one run: nothing lost, nothing doubled, the same bytes in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import folder_of, in_this_process
from tests.support.paths import ROOT

QUESTIONS_PER_IMAGE = 10
# Between two looks at the growing file.
LOOK = 0.002


SCRIPTED = ("model=scripted", "model.rule=digest", "model.batch_size=20", "model.seconds=0.004")
REAL = ("model=phantom-llava", "engine.device=cpu", "engine.dtype=float32", "engine.max_batch_tokens=1000")


def command(model: tuple[str, ...], images: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "evalkit", *model, "task=phantom", f"task.n_test={images}", *more]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EVALKIT_")}
    return kept | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def finished(model: tuple[str, ...], images: int, *more: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command(model, images, *more), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return result


def killed_when(answers: int, later: float, model: tuple[str, ...], images: int, path: Path, cwd: Path) -> str:
    """Start the run, kill it `later` seconds after its file holds so many whole lines; what it said until then."""
    with subprocess.Popen(
        command(model, images, "out=killed"),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 300
        seen, place = 0, 0
        while seen < answers and process.poll() is None:
            assert time.monotonic() < deadline, "the run does not come on"
            time.sleep(LOOK)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(place)
                    new = file.read()
                seen, place = seen + new.count(b"\n"), place + len(new)
        time.sleep(later)
        process.send_signal(signal.SIGKILL)
        return process.communicate(timeout=60)[1]


def whole_lines(path: Path) -> bytes:
    """What a kill leaves of the file, without a torn last line."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {k: v for k, v in content.items() if k != "timing"}


def test_a_run_that_is_killed_once_goes_on_and_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """The case of the default suite; those below kill at every stage of longer runs."""
    model = ("model=scripted", "model.rule=digest", "model.batch_size=5", "model.seconds=0.01")
    whole = folder_of(in_this_process(*model, "task=phantom", "task.n_test=4", "out=whole", cwd=tmp_path), tmp_path)
    folder = tmp_path / "killed" / whole.name
    killed_when(10, 0, model, 4, folder / "predictions.jsonl", tmp_path)
    kept = whole_lines(folder / "predictions.jsonl")
    assert 10 <= kept.count(b"\n") < 40 and not (folder / "summary.json").exists()
    again = in_this_process(*model, "task=phantom", "task.n_test=4", "out=killed", cwd=tmp_path)
    n_kept = kept.count(b"\n")
    assert again.returncode == 0 and f"{n_kept} of 40 answers are already in" in again.stderr, again.stderr
    for name in ("predictions.jsonl", "scores.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert summary(folder) == summary(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "kills"), [(60, 4), pytest.param(2000, 10, marks=pytest.mark.slow)], ids=["600", "20000"]
)
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(images: int, kills: int, tmp_path: Path) -> None:
    n = images * QUESTIONS_PER_IMAGE
    whole = tmp_path / finished(SCRIPTED, images, "out=whole", cwd=tmp_path).stdout.strip().splitlines()[-1]
    folder = tmp_path / "killed" / whole.name
    path = folder / "predictions.jsonl"
    dice = random.Random(images)
    # Among the answers, while the run is starting (where the last one came farther), and at last while it scores.
    moments = [*sorted(dice.randrange(n) for _ in range(kills - 1)), n]
    kept = b""
    for moment in moments:
        said = killed_when(moment, dice.uniform(0, 0.05), SCRIPTED, images, path, tmp_path)
        before, kept = kept, whole_lines(path)
        assert kept.startswith(before), "what was written is there still, byte for byte"
        assert kept.count(b"\n") >= moment
        n_before = before.count(b"\n")
        if said and n_before:  # not killed while it was starting
            assert f"{n_before} of {n} answers are already" in said, "what was answered is not asked again"
    assert not (folder / "summary.json").exists(), "the last kill came too late to hit the scoring"
    finished(SCRIPTED, images, "out=killed", cwd=tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["facts"]["asked"] == n - kept.count(b"\n")
    ids = [json.loads(line)["sample_id"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(ids) == len(set(ids)) == n
    for name in ("predictions.jsonl", "scores.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert summary(folder) == summary(whole)
    # The temporaries of files that a kill interrupted are swept.
    assert {p.name for p in whole.iterdir()} == {p.name for p in folder.iterdir()}


@pytest.mark.slow
def test_a_real_model_that_is_killed_gives_the_same_texts_and_scores(tmp_path: Path) -> None:
    """Images that were begun are shared anew by the questions that are left, in other batches."""
    images, kills = 20, 3
    n = images * QUESTIONS_PER_IMAGE
    whole = tmp_path / finished(REAL, images, "out=whole", cwd=tmp_path).stdout.strip().splitlines()[-1]
    folder = tmp_path / "killed" / whole.name
    path = folder / "predictions.jsonl"
    dice = random.Random(7)
    counts = [0]
    for moment in sorted(dice.randrange(1, n - 20) for _ in range(kills)):
        killed_when(max(moment, counts[-1] + 1), 0.0, REAL, images, path, tmp_path)
        counts.append(whole_lines(path).count(b"\n"))
    assert counts[1] < n, "no kill came while answers were missing"
    finished(REAL, images, "out=killed", cwd=tmp_path)

    def texts(run: Path) -> list[tuple[str, str, str, int]]:
        records = map(json.loads, (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
        return sorted((r["sample_id"], r["text"], r["finish_reason"], r["n_tokens"]) for r in records)

    assert len(texts(folder)) == n
    assert texts(folder) == texts(whole)
    assert (folder / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()
    one, two = summary(folder), summary(whole)
    for found in (one, two):
        # Answers have the seconds that they took; the digest of the summary is over their digest too.
        del found["files"]["predictions.jsonl"], found["digest"]
    assert one == two
