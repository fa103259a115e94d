"""Runs among the paths that a user names: run folders, folders of runs, and patterns."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import why_unusable


def expand_patterns(paths: Sequence[Path]) -> list[Path]:
    """The paths with each pattern (`runs/*-slake-*`) replaced by what it matches, sorted; existing paths as they are.

    Raises:
        StoreError: a pattern matches nothing.
    """
    found: list[Path] = []
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            found.append(path)
            continue
        matching = [Path(p) for p in sorted(glob.glob(str(path.expanduser()), recursive=True))]  # noqa: PTH207 - absolute too
        if not matching:
            raise StoreError(f"{path} matches no file and no folder.")
        found += matching
    return found


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The finished runs that paths name: run folders and files as they are, the runs in other folders.

    Folders that hold no finished run of evalkit (parts, runs that go on, damaged or foreign files) are left out of
    folders and patterns with a note.

    Raises:
        StoreError: a path does not exist, or a folder holds no finished run.
    """
    found: list[Path] = []
    for path in paths:
        is_pattern = not path.exists() and glob.has_magic(str(path))
        for place in expand_patterns([path]):
            if place.is_file() and not is_pattern:
                found.append(place)
            elif is_started(place):
                found += [place] if not is_pattern else _finished([place])
            elif not is_pattern:
                found += _runs_in(place)
    if paths and not found:
        raise StoreError(f"{', '.join(map(str, paths))}: no finished run there (a folder with summary.json).")
    return found


def is_started(path: Path) -> bool:
    """Whether a path is the folder of a run, finished or not."""
    folder = RunFolder(path)
    return folder.summary.is_file() or folder.manifest.is_file()


def _runs_in(folder: Path) -> list[Path]:
    if not folder.exists():
        raise StoreError(f"{folder} does not exist; expected the folder of a run, or a folder of runs.")
    started = sorted(p for p in folder.iterdir() if p.is_dir() and is_started(p))
    if not started:
        raise StoreError(f"{folder} is not the folder of a run (no manifest.json and no summary.json) and holds none.")
    return _finished(started)


def _finished(folders: Sequence[Path]) -> list[Path]:
    found = []
    for folder in folders:
        if not RunFolder(folder).summary.is_file():
            reason = "it has no summary.json, so it is not finished or a part of a run"
        else:
            reason = why_unusable(folder)
        if reason:
            console.note(f"note: {folder} is left out: {reason}")
        else:
            found.append(folder)
    return found
