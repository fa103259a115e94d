"""A hash chain over all files of a folder: one byte that is changed, added or removed anywhere is found.

`chain.json` lists every file in order of its path; each entry has the file's sha256 and the sha256 of the entry before
it with its own path, length and digest.  The last one is the head, which stands for the whole folder: whoever keeps it
elsewhere can also tell that the chain itself was not made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.files import indented, write_whole
from evalkit.runs.verify import digest_of

NAME = "chain.json"
# Of the chain, made after it: the only other file that is not in it.
SIGNATURE = f"{NAME}.minisig"
KIND = "evalkit hash chain"
SCHEMA = 1
# The digest before the first file's.
START = "0" * 64
# Problems that a message names; the others are counted.
MOST_SHOWN = 10


def write_chain(folder: Path) -> str:
    """Write the chain over all files of a folder; returns its head."""
    content = chain_of(folder)
    write_whole(folder / NAME, indented(content))
    return str(content["head"])


def chain_of(folder: Path) -> dict[str, Any]:
    """The content of the chain over the files that a folder has now.

    Raises:
        DataError: a link or something else that is no file, whose content may be anywhere; a name that is no text.
    """
    entries = []
    before = START
    for path in _files(folder):
        found = digest_of(folder / path)
        before = hashlib.sha256(json.dumps([before, path, found.bytes, found.sha256]).encode()).hexdigest()
        entries.append({"path": path, "bytes": found.bytes, "sha256": found.sha256, "chain": before})
    return {"kind": KIND, "schema": SCHEMA, "files": entries, "head": before}


def is_text(name: str) -> bool:
    """Whether a name has a UTF-8 form, in which the chain is written."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _files(folder: Path) -> list[str]:
    """The paths of all files but the chain and its signature, sorted, with slashes."""
    found = []
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise DataError(
                    f"{path} is no plain file, which a dossier consists of: it was added after it was made."
                )
            if not is_text(relative):
                raise DataError(
                    f"{relative!a} in {folder} has a name that is not UTF-8: it was added after it was made."
                )
            if path.is_file() and relative not in (NAME, SIGNATURE):
                found.append(relative)
    return sorted(found)


def verify_chain(folder: Path, head: str | None = None) -> str:
    """Check every file of a folder, and the chain itself, byte by byte; returns the head.

    Args:
        head: the head that was noted when the folder was made; None to check the folder against itself.

    Raises:
        ConfigError: the folder has no chain.
        DataError: a file was changed, added or removed; names each.
    """
    if not (folder / NAME).is_file():
        raise ConfigError(f"{folder} has no {NAME}; expected a folder that `python -m evalkit dossier` wrote.")
    now = chain_of(folder)
    stored = (folder / NAME).read_bytes()
    if stored != "".join(indented(now)).encode("utf-8"):
        problems = _differences(stored, now)
        shown = "; ".join(problems[:MOST_SHOWN])
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise DataError(
            f"{folder} is not as it was written: {shown}{more}. Restore the folder, or make the dossier anew from the "
            "run."
        )
    if head is not None and head != now["head"]:
        raise DataError(
            f"{folder} agrees with its own chain, but its head is {now['head']} and not {head}: the dossier was made "
            "anew, or this is another one."
        )
    return str(now["head"])


def _differences(stored: bytes, now: dict[str, Any]) -> list[str]:
    """The files that differ from the stored chain; the chain itself where no file does."""
    try:
        listed = {entry["path"]: (entry["bytes"], entry["sha256"]) for entry in json.loads(stored)["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{NAME} cannot be read"]
    present = {entry["path"]: (entry["bytes"], entry["sha256"]) for entry in now["files"]}
    found: Sequence[str] = [
        *(f"{path} was removed" for path in listed if path not in present),
        *(f"{path} was added" for path in present if path not in listed),
        *(f"{path} was changed" for path in present if path in listed and listed[path] != present[path]),
    ]
    return list(found) or [f"{NAME} was changed"]
