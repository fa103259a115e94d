"""judgments.jsonl: every judgment as it lands, and before them the plan that they belong to.

The file is complete in itself: any judged score can be recomputed from it alone, years later, under either
aggregation.  Lines of two kinds, told apart by `record`:

- "plan": which judge, how it was asked, how many samples and judgments are expected; written once a plan.
- "judgment": one sample x order x replicate.  status "judged", "refused" or "unreadable" (the judge replied),
  "error" (no reply; asked again next time) or "no_answer" (there was nothing to judge).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, StoreError, did_you_mean
from evalkit.core.files import json_line

NAME = "judgments.jsonl"
REPLIED = ("judged", "refused", "unreadable")
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The lines of one plan: the plan, and the last line of each (sample_id, order, replicate)."""

    plan: Record
    records: tuple[Record, ...]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines; a last one without its end, which is what a kill leaves, is cut off the file.

    Raises:
        StoreError: damage anywhere else.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as file:
            file.truncate(end)
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(data[:end].splitlines(), start=1):
        try:
            content = json.loads(line)
        except ValueError as problem:
            raise StoreError(
                f"{path}:{number} is not JSON: the file was damaged after it was written. Mend or remove that line; "
                "its judgment then comes from the cache, or is asked again."
            ) from problem
        if not isinstance(content, dict) or content.get("record") not in ("plan", "judgment"):
            raise StoreError(f"{path}:{number} is not a line that evalkit wrote; it has no record: plan or judgment.")
        lines.append(content)
    return lines


def of_plan(lines: Iterable[Record], plan_id: str) -> dict[tuple[str, str, int], Record]:
    """The judgments of a plan, the last line of each slot."""
    mine = (line for line in lines if line["record"] == "judgment" and line["plan"] == plan_id)
    return {(line["sample_id"], line["order"], line["replicate"]): line for line in mine}


def choose_judge(path: Path, judge: str | None = None) -> Judged:
    """The lines of a judge's last plan in a run's folder.

    Args:
        path: a run's folder, or the file itself.
        judge: the judge's name; may be left out where only one judged.

    Raises:
        StoreError: there is no such file, or no plan in it.
        ConfigError: it must be said which judge, or there is none of that name.
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise StoreError(f"There are no judgments at {file}.")
    lines = read_lines(file)
    plans = {str(line["judge"]): line for line in lines if line["record"] == "plan"}
    if not plans:
        raise StoreError(f"{file} holds no plan, so it cannot be said what its judgments are of.")
    if judge is None and len(plans) > 1:
        raise ConfigError(f"{file} holds judgments of {len(plans)} judges; say which with judge=NAME: {sorted(plans)}.")
    name = judge if judge is not None else next(iter(plans))
    if name not in plans:
        raise ConfigError(f"{file} holds no judgments of {name!r}. {did_you_mean(name, plans)}")
    plan = plans[name]
    return Judged(plan=plan, records=tuple(of_plan(lines, str(plan["plan"])).values()))


def judges_in(path: Path) -> list[str]:
    """The judges whose plans are in a judgments.jsonl, in order of first appearance."""
    return list(dict.fromkeys(str(line["judge"]) for line in read_lines(path) if line["record"] == "plan"))


class Journal:
    """Appends to judgments.jsonl; a line is with the operating system when `write` returns, so a kill cannot lose it.

    The disk is waited for at the end and not at every line: a power cut can cost the last seconds, which the cache
    or the judge then gives again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, records: Iterable[Record]) -> None:
        """Append whole lines in one go, so that at most the last one can be torn."""
        self._file.write("".join(json_line(r) for r in records).encode("utf-8"))
        self._file.flush()

    def close(self) -> None:
        """Wait for the disk and close."""
        os.fsync(self._file.fileno())
        self._file.close()
