"""judgments.jsonl: the plan of each judge, then every judgment as it arrives.

The file is complete in itself: every judged score can be recomputed from it alone.  Its lines are
`evalkit.runs.schema.JudgePlan`, written once a plan, and `evalkit.runs.schema.Judgment`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evalkit.core.errors import ConfigError, StoreError, did_you_mean
from evalkit.core.files import json_line, naming
from evalkit.runs.codec import encode
from evalkit.runs.read import journal_at
from evalkit.runs.schema import JudgePlan, Judgment
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import listed_files, stored_judgments

# Statuses of judgments for which the judge replied; such calls are never repeated.
REPLIED = ("judged", "refused", "unreadable")
# Statuses of judgments without a reply, and the keys that their lines lack.
WITHOUT_REPLY = ("error", "no_answer")
REPLY_KEYS = ("raw", "model_returned", "system_fingerprint", "finish_reason", "dropped", "usage", "usd", "seconds")

JournalLine = JudgePlan | Judgment


class JudgmentKey(NamedTuple):
    """One judgment of a plan: sample, presentation order, replicate index."""

    sample_id: str
    order: str
    replicate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJudgments:
    """A plan and its judgments, one for each `JudgmentKey` (the last line written for it)."""

    plan: JudgePlan
    judgments: tuple[Judgment, ...]


def latest_judgments(lines: Iterable[JournalLine], plan_id: str) -> dict[JudgmentKey, Judgment]:
    """The judgments of a plan by key; the last line of a key wins."""
    own = (line for line in lines if isinstance(line, Judgment) and line.plan == plan_id)
    return {JudgmentKey(line.sample_id, line.order, line.replicate): line for line in own}


def choose_judge(path: Path, judge: str | None = None) -> PlanJudgments:
    """The last plan of a judge and its judgments.

    Args:
        path: a run's folder, or a judgments.jsonl.
        judge: the judge's name; may be left out where there is only one.

    Raises:
        StoreError: there is no such file, it is damaged or was changed after the judging, or it has no plan.
        ConfigError: several judges and no name given, or no judge of that name.
    """
    file = RunFolder(path).judgments if path.is_dir() else path
    if not file.is_file():
        raise StoreError(f"There are no judgments at {file}. Judge the run first: `judge run=DIR judge=NAME`.")
    if path.is_dir():
        lines = stored_judgments(RunFolder(path), listed_files(RunFolder(path))).lines
    else:
        lines = journal_at(file)
    found = {j.plan.judge: j for j in by_judge(lines)}
    if not found:
        raise StoreError(f"{file} has no line with record 'plan', so it is not known what its judgments belong to.")
    if judge is None and len(found) > 1:
        raise ConfigError(
            f"{file} has judgments of {len(found)} judges; choose one with judge=NAME: {', '.join(sorted(found))}."
        )
    name = judge if judge is not None else next(iter(found))
    if name not in found:
        raise ConfigError(f"{file} has no judgments of {name!r}. {did_you_mean(name, found)}")
    return found[name]


def by_judge(lines: Sequence[JournalLine]) -> list[PlanJudgments]:
    """The last plan of every judge, in order of the judges' first appearance."""
    plans = {line.judge: line for line in lines if isinstance(line, JudgePlan)}
    return [
        PlanJudgments(plan=plan, judgments=tuple(latest_judgments(lines, plan.plan).values()))
        for plan in plans.values()
    ]


def journal_text(record: JournalLine) -> str:
    """A record as its line; a judgment without a reply lacks `REPLY_KEYS`."""
    content = encode(record)
    if isinstance(record, Judgment) and record.status in WITHOUT_REPLY:
        content = {k: v for k, v in content.items() if k not in REPLY_KEYS}
    return json_line(content)


class Journal:
    """Appends to a judgments.jsonl.

    A record has reached the operating system when `write` returns, so a kill cannot lose it.  The disk is synchronised
    only on `close`: a power failure can lose the last seconds, which the cache or the judge then provides again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab", buffering=0)

    def write(self, records: Iterable[JournalLine]) -> None:
        """Append whole lines in one write, so that at most the last one can be incomplete.

        Raises:
            OSError: the disk is full or fails; names the file, which is as it was before.
        """
        rest = memoryview("".join(journal_text(r) for r in records).encode("utf-8"))
        with naming(self.path):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                with suppress(OSError):  # a torn last line is cut off by the next session
                    self._file.truncate(end)
                raise

    def close(self) -> None:
        """Synchronise the disk and close.

        Raises:
            OSError: the disk fails; names the file, which is closed all the same.
        """
        with naming(self.path), self._file:
            os.fsync(self._file.fileno())
