"""Replies kept across runs, by content: SQLite, because it is in the standard library and survives kills.

Write-ahead logging where the file system can do it (network file systems cannot), an ordinary journal where not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import JudgeError

_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID"
SECONDS_TO_WAIT = 30.0


class ReplyCache:
    """key (sha256 of a call's content) -> the reply, as JSON.  Safe for several processes at once.

    vfs: an SQLite file system layer by name, for tests of what a network file system does.
    """

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db, self.mode = _open(path, vfs)
        except (OSError, sqlite3.Error) as problem:
            raise JudgeError(
                f"The judge's cache {path} cannot be used ({problem}). Name another file with judge.cache=FILE, or do "
                "without one with judge.cache=null; judgments already in the run's folder are not asked again."
            ) from problem

    def get(self, key: str) -> dict[str, Any] | None:
        """The reply kept under a key."""
        row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        reply = json.loads(row[0])
        assert isinstance(reply, dict)
        return reply

    def put(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Keep replies, in one transaction."""
        rows = [(key, json.dumps(reply, ensure_ascii=False)) for key, reply in entries]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _open(path: Path, vfs: str | None) -> tuple[sqlite3.Connection, str]:
    """A connection that has been written through once, and the journal mode that works there."""
    last: sqlite3.Error | None = None
    for wanted in ("WAL", "DELETE"):
        layer = f"?vfs={vfs}" if vfs else ""
        db = sqlite3.connect(f"{path.absolute().as_uri()}{layer}", uri=True, timeout=SECONDS_TO_WAIT)
        try:
            mode = str(db.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0]).upper()
            db.execute("PRAGMA synchronous=NORMAL" if mode == "WAL" else "PRAGMA synchronous=FULL")
            with db:
                db.execute(_TABLE)
        except sqlite3.OperationalError as problem:
            # Some network file systems agree to WAL and then fail at the first write.
            last = problem
            db.close()
            continue
        return db, mode
    assert last is not None
    raise last
