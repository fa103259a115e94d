"""Cache of replies across runs, by content: SQLite, because it is in the standard library and survives kills.

Write-ahead logging where the file system supports it (network file systems do not), an ordinary journal elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import JudgeError

_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID"
LOCK_TIMEOUT_SECONDS = 30.0


class ReplyCache:
    """Replies as JSON by key (sha256 of a call's content).  Safe for several processes at once.

    vfs: name of an SQLite file system layer, for tests of network file systems.
    """

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db, self.mode = _open(path, vfs)
        except (OSError, sqlite3.Error) as problem:
            raise _unusable(path, problem) from problem

    def get(self, key: str) -> dict[str, Any] | None:
        """The reply stored under a key; None where there is none.

        Raises:
            JudgeError: the file is damaged.
        """
        try:
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            reply = None if row is None else json_text.loads(row[0])
        except (sqlite3.Error, ValueError, TypeError) as problem:
            raise _unusable(self.path, problem) from problem
        if reply is not None and not isinstance(reply, dict):
            raise _unusable(self.path, f"the reply under {key} is no JSON object")
        return reply

    def put(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Store replies, in one transaction."""
        rows = [(key, json.dumps(reply, ensure_ascii=False)) for key, reply in entries]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _unusable(path: Path, problem: object) -> JudgeError:
    return JudgeError(
        f"The judge's cache {path} cannot be used ({problem}). Choose another file with judge.cache=FILE, or none with "
        "judge.cache=null; judgments that are already in the run's folder are not requested again."
    )


def _open(path: Path, vfs: str | None) -> tuple[sqlite3.Connection, str]:
    """A connection that one write has succeeded on, and the journal mode that works there."""
    last: sqlite3.Error | None = None
    for wanted in ("WAL", "DELETE"):
        layer = f"?vfs={vfs}" if vfs else ""
        db = sqlite3.connect(f"{path.absolute().as_uri()}{layer}", uri=True, timeout=LOCK_TIMEOUT_SECONDS)
        try:
            mode = str(db.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0]).upper()
            db.execute("PRAGMA synchronous=NORMAL" if mode == "WAL" else "PRAGMA synchronous=FULL")
            with db:
                db.execute(_TABLE)
        except sqlite3.OperationalError as problem:
            # Some network file systems accept WAL and then fail on the first write.
            last = problem
            db.close()
            continue
        return db, mode
    assert last is not None
    raise last
