"""Runs that are on disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.api.arguments import WrongType, as_path, shown
from evalkit.api.frames import is_frame
from evalkit.api.result import Result
from evalkit.api.tables import metric_frame
from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.runs.verify import open_run

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "the folder of a run"
FOLDERS = "the folder of a run or of several, a pattern, or a list of them"


def read_run(folder: str | os.PathLike[str]) -> Result:
    """The result in the folder of a finished run, every file checked to be the one that the numbers were made from.

    Raises:
        StoreError: there is no finished run, or a file was changed.
    """
    result = Result(as_path("folder", folder, FOLDER))
    result._run.check()
    return result


def read_runs(folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "runs") -> pd.DataFrame:
    """The numbers of all finished runs below folders, one row a run, metric and slice.

    Folders without a finished run (parts, runs that go on, damaged ones) are left out with a Python warning.

    Args:
        folders: folders of runs, run folders, and patterns such as 'runs/*-slake-*'.

    Raises:
        StoreError: there is no finished run.
    """
    from evalkit.analysis.run_folders import find_runs

    given = [as_path("folders", folder, FOLDERS) for folder in _listed(folders)]
    if not given:
        raise StoreError(f"folders={folders!r} names no folder: expected {FOLDERS}.")
    with console.captured(is_shown=False) as said:
        found = find_runs(given)
    for text in said.notes:
        warnings.warn(text, stacklevel=2)
    if files := [path for path in found if path.is_file()]:
        raise StoreError(f"{files[0]} is a file; expected the folder of a run, or of several.")
    return metric_frame(map(open_run, dict.fromkeys(found)))


def _listed(folders: Any) -> list[Any]:
    if isinstance(folders, str | os.PathLike):
        return [folders]
    if not isinstance(folders, Iterable) or isinstance(folders, bytes | Mapping) or is_frame(folders):
        raise WrongType(f"folders={shown(folders)} is not possible: expected {FOLDERS}.")
    return list(folders)
