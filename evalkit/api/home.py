"""Where a result's files are: a folder of the caller's, or a temporary one that lives as long as the result."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from evalkit.api.arguments import as_path


class Home:
    """The folder that runs are written below.

    path: absolute, so that a later change of the working folder moves nothing.  is_temporary: it is removed when the
    last object that refers to it is gone, by the process that made it: a forked one removes nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.is_temporary = path is None
        if path is None:
            self.path = Path(tempfile.mkdtemp(prefix="evalkit-")).resolve()
            weakref.finalize(self, _remove, self.path, os.getpid())
        else:
            self.path = as_path("out", path, "the path of a folder, or None for a temporary one").absolute()

    def file(self, folder: str, name: str, content: bytes) -> Path:
        """Keep what a run was given in Python, under a name made from its content; written once."""
        target = self.path / folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{name}-{os.getpid()}-{id(content)}")
            draft.write_bytes(content)
            draft.replace(target)
        return target


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)
