"""Inputs of the gate: baselines and candidates from files, runs or folders of them, matched by task and split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.analysis.run_folders import expand_patterns, is_started
from evalkit.analysis.run_scores import RunScores, read_all
from evalkit.core import console
from evalkit.core.errors import DataError, StoreError
from evalkit.core.files import read_json
from evalkit.runs.read import baseline_at, result_at
from evalkit.runs.schema import BASELINE_KIND
from evalkit.runs.store import RunFolder


class RunPair(NamedTuple):
    """A baseline and the candidate that is compared with it."""

    baseline: RunScores
    candidate: RunScores


class TaskSplit(NamedTuple):
    """A task and its split, by which baselines and candidates are matched."""

    task: str
    split: str

    def __str__(self) -> str:
        return f"{self.task} ({self.split})"


def match_by_task(baselines: Sequence[Path], candidates: Sequence[Path]) -> list[RunPair]:
    """Each baseline with the candidate of the same task and split, in the order of the baselines.

    Raises:
        StoreError: one of them cannot be read, or a folder contains none.
        DataError: a task has no counterpart on the other side, or two on one side.
    """
    of_baselines, of_candidates = expand(baselines), expand(candidates)
    runs = read_all([*of_baselines, *of_candidates])
    one, two = _by_task(runs[: len(of_baselines)]), _by_task(runs[len(of_baselines) :])
    if set(one) != set(two):
        unmatched = [f"{k} has no candidate" for k in one if k not in two]
        unmatched += [f"{k} has no baseline" for k in two if k not in one]
        raise DataError(
            "Every baseline needs a candidate of the same task and split, and every candidate a baseline: "
            f"{'; '.join(unmatched)}."
        )
    return [RunPair(one[key], two[key]) for key in one]


def _by_task(runs: Iterable[RunScores]) -> dict[TaskSplit, RunScores]:
    found: dict[TaskSplit, RunScores] = {}
    for run in runs:
        key = TaskSplit(run.header.task, run.header.split)
        if key in found:
            raise DataError(
                f"{found[key].origin} and {run.origin} are both of {key}; a gate takes one run of each task and split "
                "on a side. Name only one of them."
            )
        found[key] = run
    return found


def expand(paths: Sequence[Path]) -> list[Path]:
    """The paths with every folder that is not a run replaced by the baseline files and runs in it.

    A leaderboard result is replaced by the stored baseline of its run.

    Raises:
        StoreError: a path does not exist, a folder has neither runs nor baselines, or a leaderboard result has no
            stored baseline.
    """
    found: list[Path] = []
    for path in expand_patterns(paths):
        if not path.exists():
            raise StoreError(
                f"{path} does not exist; expected the folder of a run or a file that `gate save=FILE` wrote."
            )
        inside = [path] if path.is_file() or is_run(path) else _runs_and_baselines(path)
        if not inside:
            raise StoreError(f"{path} is not a run and contains neither runs nor baselines (.json).")
        found += inside
    if not found:
        raise StoreError("No file and no run was named.")
    return [_stored_baseline(path) if path.is_file() else path for path in found]


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run."""
    return is_started(path)


def _runs_and_baselines(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir())
    runs = [p for p in entries if p.is_dir() and is_run(p)]
    if foreign := [p for p in runs if is_foreign(p)]:
        names = ", ".join(p.name for p in foreign)
        console.note(f"note: {folder}: {names} left out: no manifest.json, and summary.json is not of evalkit")
    return [p for p in entries if p.suffix == ".json" and p.is_file()] + [p for p in runs if p not in foreign]


def is_foreign(path: Path) -> bool:
    """Whether a folder has a summary.json of another program; a damaged run of evalkit is not foreign, but refused."""
    folder = RunFolder(path)
    if folder.manifest.is_file():
        return False
    try:
        content = read_json(folder.summary, "summary")
    except (StoreError, OSError):
        return not folder.scores.is_file()
    return not (isinstance(content, dict) and {"schema", "run_id"} & content.keys())


def _stored_baseline(path: Path) -> Path:
    """A baseline file as it is; for a leaderboard result the baseline of its run in the leaderboard's `gate/`.

    A result contains no score of a single sample, and a paired difference needs them.
    """
    if not _is_result(path):
        return path
    run_id = result_at(path).run_id
    folder = path.parent.parent / "gate"
    for file in sorted(folder.glob("*.json")):
        if _kind_of(file) == BASELINE_KIND and baseline_at(file).header.run_id == run_id:
            return file
    raise StoreError(
        f"{path} is a leaderboard result: it contains the numbers of {run_id} but no score of a single sample. A gate "
        "needs those, because two numbers without paired scores can only be told apart at several times the margin. "
        f"Make a baseline of the run, `python -m evalkit gate candidate=RUNS/{run_id} save=FILE`; one in {folder} is "
        "found automatically."
    )


def _kind_of(path: Path) -> object:
    content = read_json(path, "baseline")
    return content.get("kind") if isinstance(content, dict) else None


def _is_result(path: Path) -> bool:
    content = read_json(path, "baseline")
    return isinstance(content, dict) and "run_id" in content and "metrics" in content
