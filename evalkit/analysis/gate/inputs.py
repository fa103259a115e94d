"""What is held against what: baselines and candidates from files, runs or folders of them, matched by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from evalkit.analysis.run_scores import Scored, read_scored
from evalkit.core.errors import DataError, StoreError
from evalkit.core.files import read_json
from evalkit.runs.store import RunFolder


def matched(baselines: Sequence[Path], candidates: Sequence[Path]) -> list[tuple[Scored, Scored]]:
    """Each baseline with the candidate of the same task and split, in the order of the baselines.

    Raises:
        StoreError: one of them cannot be read, or a folder holds none.
        DataError: a task has no counterpart on the other side, or two on one side.
    """
    one, two = (_by_task([read_scored(p) for p in expanded(paths)]) for paths in (baselines, candidates))
    if set(one) != set(two):
        lonely = [f"{_said(k)} has no candidate" for k in one if k not in two]
        lonely += [f"{_said(k)} has no baseline" for k in two if k not in one]
        raise DataError(
            f"Every baseline needs a candidate of the same task, and every candidate a baseline: {'; '.join(lonely)}."
        )
    return [(one[key], two[key]) for key in one]


def _by_task(runs: Iterable[Scored]) -> dict[tuple[str, str], Scored]:
    found: dict[tuple[str, str], Scored] = {}
    for run in runs:
        key = (str(run.header["task"]), str(run.header["split"]))
        if key in found:
            raise DataError(
                f"{found[key].origin} and {run.origin} are both of {_said(key)}: a gate takes one of each task on a "
                "side; name the one that is meant."
            )
        found[key] = run
    return found


def _said(key: tuple[str, str]) -> str:
    return f"{key[0]} ({key[1]})"


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Files and runs as they are; a folder of baselines or runs as everything of the kind that lies in it.

    Raises:
        StoreError: there is nothing at a path, or nothing of the kind in a folder; or a path is a leaderboard result.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise StoreError(f"There is nothing at {path}; a run's folder or a file of `gate save=FILE` was expected.")
        inside = [path] if path.is_file() or is_run(path) else _inside(path)
        if not inside:
            raise StoreError(f"{path} is no run and holds neither runs nor baselines (.json).")
        found += inside
    if not found:
        raise StoreError("No file and no run was named.")
    return [_kept(path) if path.is_file() else path for path in found]


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run."""
    folder = RunFolder(path)
    return folder.summary.is_file() or folder.manifest.is_file()


def _inside(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix == ".json" if p.is_file()) + sorted(
        p for p in path.iterdir() if p.is_dir() and is_run(p)
    )


def _kept(path: Path) -> Path:
    """The baseline file itself; for a leaderboard result the baseline of the same run that lies in `gate/` beside it.

    A result has no score of a single sample, and without them there is no paired difference.
    """
    content = read_json(path, "baseline")
    if not (isinstance(content, dict) and "run_id" in content and "metrics" in content):
        return path
    run_id = content["run_id"]
    for file in sorted((path.parent.parent / "gate").glob("*.json")):
        kept = read_json(file, "baseline")
        header = kept.get("header") if isinstance(kept, dict) else None
        if isinstance(header, dict) and header.get("run_id") == run_id:
            return file
    raise StoreError(
        f"{path} is a leaderboard result: it holds {run_id}'s numbers but no score of a single sample, and a gate "
        "needs those, because two numbers without their pairs could only be told apart at several times the margin. "
        f"Make a baseline of the run itself, `python -m evalkit gate candidate=RUNS/{run_id} save=FILE`; one that lies "
        f"in {path.parent.parent / 'gate'} is found by itself."
    )
