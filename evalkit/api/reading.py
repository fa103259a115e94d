"""Runs that are on disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.api.result import Result
from evalkit.api.tables import metric_frame
from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.runs.verify import open_run

if TYPE_CHECKING:
    import pandas as pd


def read_run(folder: str | os.PathLike[str]) -> Result:
    """The result in the folder of a finished run, every file checked to be the one that the numbers were made from.

    Raises:
        StoreError: there is no finished run, or a file was changed.
    """
    path = Path(folder).expanduser()
    result = Result(path)
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

    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    with console.captured(is_shown=False) as said:
        found = find_runs([Path(folder).expanduser() for folder in given])
    for text in said.notes:
        warnings.warn(text, stacklevel=2)
    if files := [path for path in found if path.is_file()]:
        raise StoreError(f"{files[0]} is a file; expected the folder of a run, or of several.")
    return metric_frame(map(open_run, dict.fromkeys(found)))
