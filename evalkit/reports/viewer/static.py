"""The viewer as static files, for a web server that only hands out files."""

from __future__ import annotations

from pathlib import Path

from evalkit.core.errors import ConfigError, EvalkitError, Partial
from evalkit.core.files import naming
from evalkit.reports.leaderboard.generated import is_generated
from evalkit.reports.viewer.board import PREFIX
from evalkit.reports.viewer.site import Site

# What a folder has that this wrote before.
_MARK = "evalkit view"
_FOLDERS = ("heads", "data", "pairs", "pictures")


def write_site(site: Site, folder: Path) -> list[Path]:
    """Write every page and file of a site; returns them.  What an earlier call wrote and this one does not is removed.

    Raises:
        Partial: everything is written but files that cannot be made, because their run is damaged.
        ConfigError: the folder has other files, or is that of the runs.
    """
    _check(site, folder)
    written: list[Path] = []
    problems: list[str] = []
    for address in site.addresses():
        try:
            document = site.find(address)
        except EvalkitError as problem:
            problems.append(f"{address}: {problem}")
            continue
        if document is None:  # its run was changed or removed meanwhile
            continue
        path = folder / address
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            path.write_bytes(document.content)
        written.append(path)
    for path in _earlier(folder) - set(written):
        path.unlink()
    if problems:
        n = len(problems)
        raise Partial(f"{folder} is written without {n} file{'s' if n > 1 else ''}, first {problems[0]}")
    return written


def _earlier(folder: Path) -> set[Path]:
    made = {p for name in _FOLDERS for p in (folder / name).rglob("*") if p.suffix in (".json", ".jpg") and p.is_file()}
    return made | {p for p in folder.glob(f"{PREFIX}*.html") if is_generated(p)}


def _check(site: Site, folder: Path) -> None:
    runs = site.runs.given.resolve()
    if folder.resolve() in (runs, site.runs.root):
        raise ConfigError(f"to={folder} is the folder of the runs; expected a new folder for the pages.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"to={folder} is a file; expected a new folder for the pages.")
    index = folder / "index.html"
    is_ours = index.is_file() and f'content="{_MARK}"' in index.read_text(encoding="utf-8", errors="replace")[:2000]
    if not is_ours and any(folder.iterdir()):
        raise ConfigError(
            f"to={folder} has files that `view` did not write, which pages could replace. Give a new or empty folder."
        )
