"""Runs as earlier versions of evalkit wrote them, and edits that keep a file's checksum right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.runs.read import record_digest


def as_of_an_earlier_version(run: Path, kept: tuple[str, ...] = ()) -> None:
    """Take the digests out of a run's summary and manifest, but for `kept` keys."""
    for name in ("summary.json", "manifest.json"):
        if (run / name).is_file():
            content = json.loads((run / name).read_text(encoding="utf-8"))
            kept = {key: value for key, value in content.items() if key in kept or key not in ("files", "digest")}
            (run / name).write_text(json.dumps(kept), encoding="utf-8")


def rewrite(path: Path, changes: Mapping[str, Any]) -> None:
    """Change keys of a summary or manifest and its checksum with them, as a command that wrote it would."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({**content, "digest": record_digest(content)}), encoding="utf-8")
