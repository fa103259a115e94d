"""The generated files of a leaderboard's folder: one process writes them at a time, and no other file is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.core.errors import Partial, first_line

# What the pages state as their generator.
GENERATOR = "evalkit board"
# A file by its suffix -> a text among its first LOOKED_AT characters, which `board` has written there since 0.1.0.
MARKS = {
    ".md": "\n\nPercent, with the 95 % interval and n. ",
    ".csv": "task,data,protocol,counted,",
    ".tex": r"\label{tab:{name}-1}",
    ".html": f'<meta name="generator" content="{GENERATOR}">',
}
LOOKED_AT = 4000
# Seconds; tables of REBUILT results are made in about one.
PATIENCE = 60.0


def is_generated(path: Path) -> bool:
    """Whether a file is a table or page that `board` wrote, by how it begins: files of people stay where they are."""
    mark = MARKS.get(path.suffix)
    if mark is None or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        # A task whose name differs from another's in case only has ~ and a digest in its file's name.
        return mark.replace("{name}", path.stem.partition("~")[0]) in file.read(LOOKED_AT)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two runs that are added at once no row and no history is lost.

    The lock is a file that is there meanwhile and on every file system shared by machines, and is gone afterwards.
    One that a killed process of this machine left is removed.

    Raises:
        Partial: another process holds it too long, or it cannot be made.  Writing all the same would lose that
            process's row or history.
    """
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    except (Timeout, OSError, NotImplementedError) as problem:
        raise Partial(
            f"{folder} could not be locked ({first_line(problem)}), and nothing was written to it. If no other process "
            f"adds a run to it, remove {folder / '.lock'}, which a process on another machine may have left"
        ) from problem
    try:
        yield
    finally:
        lock.release()
