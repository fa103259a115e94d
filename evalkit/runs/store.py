"""A run's folder: its paths, its lock, the answers that it has, and the writers of its files.

Answers are appended as they arrive (`evalkit.runs.background_writer`), so that a kill at any moment loses what is in
flight and nothing else.  Everything else is written whole and moved into place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from evalkit.core.errors import StoreError, first_line
from evalkit.core.files import json_line, key_a_line, sweep_temporaries, write_json, write_whole
from evalkit.core.plain_text import is_hidden
from evalkit.core.types import Prediction, Sample
from evalkit.runs.codec import decode, decode_object, encode
from evalkit.runs.read import baseline_digest, record_digest
from evalkit.runs.schema import Baseline, JudgedFile, Manifest, PredictionLine, PromptFile, Summary

# Errors of `flock` on file systems without locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
# Fields of a line that are left out where they have nothing.
_RARE = {f.name: f.default for f in fields(PredictionLine) if f.default is not MISSING}
# Bytes: two names and a digest, and room for what is added to them.
MAX_RUN_ID = 230
# Bytes that are read at a time in search of the last line break.
_BLOCK = 1 << 16


def run_name(run_id: str) -> str:
    """The id of a run as the name of a folder or file.

    Raises:
        StoreError: it is none, such as `../x`: the file that states it was not written by evalkit.
    """
    if run_id in ("", ".", "..") or len(run_id.encode("utf-8", "surrogatepass")) > MAX_RUN_ID or not _is_name(run_id):
        raise StoreError(
            f"The run id {run_id[:80]!r} cannot be the name of a folder: the file that states it was edited, or "
            "another program wrote it. Make the run again with the command that wrote it."
        )
    return run_id


def _is_name(text: str) -> bool:
    return not any(c in '/\\:*?"<>|' or is_hidden(c) for c in text)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run, `OUT/<model>-<task>-<8 hex of its content hash>/`."""

    path: Path

    @property
    def predictions(self) -> Path:
        """One line a sample, appended as answers arrive."""
        return self.path / "predictions.jsonl"

    @property
    def manifest(self) -> Path:
        """Everything that determines the numbers."""
        return self.path / "manifest.json"

    @property
    def prompts(self) -> Path:
        """The prompt record."""
        return self.path / "prompts.json"

    @property
    def scores(self) -> Path:
        """One line a sample x protocol x metric."""
        return self.path / "scores.jsonl"

    @property
    def summary(self) -> Path:
        """The numbers."""
        return self.path / "summary.json"

    @property
    def judgments(self) -> Path:
        """One line a judgment."""
        return self.path / "judgments.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock: two processes cannot write one run.  The lock ends with its process.

        Raises:
            StoreError: another process holds it, or the file system has no locks.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as problem:
            raise StoreError(
                f"Another process is writing the run {self.path}. Wait for it to end, or give this one another "
                "folder with out=DIR."
            ) from problem
        except (OSError, NotImplementedError) as problem:
            # filelock raises NotImplementedError where the system call itself is missing.
            if isinstance(problem, OSError) and problem.errno not in _WITHOUT_LOCKS:
                raise
            raise StoreError(
                f"The file system of {self.path} gives no locks ({first_line(problem)}), which a run needs so that two "
                "processes never write into one folder. NFS without its lock service and some parallel file systems "
                "are like that. Write the run to a local disk with out=DIR and copy its folder afterwards, or have the "
                "file system mounted with locks (NFS: rpc.statd running and no `nolock`; Lustre: `flock`)."
            ) from problem
        try:
            sweep_temporaries(self.path)
            yield
        finally:
            lock.release()


def answered(path: Path) -> dict[str, Prediction]:
    """The answers that a run already has: fingerprint -> prediction; the last line of a fingerprint wins.

    A last line without its line break is left out: a kill left it behind, or another process is writing it now.  The
    file is only read; `cut_torn_line` repairs it.

    Raises:
        StoreError: any other line is damaged.
    """
    if not path.exists():
        return {}
    found: dict[str, Prediction] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            prediction = _answer_in(line, f"{path}:{number}")
            found[prediction.fingerprint] = prediction
    return found


def cut_torn_line(path: Path) -> None:
    """Cut a last line without its line break off a file of the run.  Only for the process that holds the run's lock.

    Without the lock, the line may be one that another process has not finished writing.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def _answer_in(line: bytes, where: str) -> Prediction:
    try:
        return decode(PredictionLine, line, where).prediction
    except StoreError as problem:
        raise StoreError(
            f"{problem} Or remove that line (its sample is then asked again), or start over with resume=false."
        ) from problem


def prediction_text(line: PredictionLine) -> str:
    """A line of predictions.jsonl; fields that few answers have are left out where they have nothing."""
    record: dict[str, Any] = {
        "sample_id": line.sample_id, "image_id": line.image_id, "question": line.question,
        "references": line.references, "answer_type": line.answer_type, "text": line.text, "error": line.error,
        "finish_reason": line.finish_reason, "n_tokens": line.n_tokens, "seconds": line.seconds,
        "fingerprint": line.fingerprint,
    }  # fmt: skip
    for key, none in _RARE.items():
        if (value := getattr(line, key)) != none:
            record[key] = value
    if line.options:
        record["options"] = [asdict(option) for option in line.options]
    return json_line(record)


def set_aside(path: Path) -> Path | None:
    """Rename an existing file to NAME.1, NAME.2 ...: resume=false starts over and still loses nothing."""
    if not path.exists():
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def write_predictions(path: Path, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl whole, one line a sample."""
    pairs = zip(samples, predictions, strict=True)
    write_whole(path, (prediction_text(PredictionLine.of(s, p)) for s, p in pairs))


def write_record(path: Path, record: Manifest | Summary | JudgedFile, *, sealed: bool = True) -> None:
    """Write a manifest, summary, leaderboard result or file of judged scores, whole; digests only where there are any.

    sealed: whether a manifest, or a summary with the digests of its files, gets the checksum of its content, by which
        an edit is found.

    Raises:
        StoreError: the record would not be read back; nothing is written.
    """
    # Left out where they are empty, as most records do not have them.
    optional = ("files", "answers", "continuation", "digest", "added", "history")
    content = {k: v for k, v in encode(record).items() if k != "digest" and not (k in optional and v in (None, []))}
    is_of_a_run = type(record) is Manifest or (type(record) is Summary and record.files is not None)
    if sealed and is_of_a_run:
        content["digest"] = record_digest(content)
    decode_object(type(record), content, str(path))
    write_json(path, content)


def write_prompts(path: Path, record: PromptFile) -> None:
    """Write a prompt record, whole, one key a line."""
    write_whole(path, key_a_line(encode(record)))


def baseline_text(record: Baseline) -> str:
    """A baseline as its file: one key a line, so that a changed column is one changed line; the checksum last."""
    content = {k: v for k, v in encode(record).items() if k != "digest"}
    return key_a_line({**content, "digest": baseline_digest(content)})


def manifest_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration for a manifest: registry names only, no module path of evalkit, no value of the environment.

    A `target` of another package stays: nothing else names it.  Settings in `from_environment` are recorded as the text
    that it has for them (`${oc.env:DATA}/slake`).
    """
    record: dict[str, Any] = _without_targets({k: v for k, v in content.items() if k != "from_environment"})
    for setting, text in (content.get("from_environment") or {}).items():
        *parents, last = setting.split(".")
        node = record
        for parent in parents:
            node = node.get(parent) or {}
        node[last] = text
    return record


def _without_targets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_targets(v) for k, v in value.items() if not _is_own_target(k, v)}
    return [_without_targets(v) for v in value] if isinstance(value, list | tuple) else value


def _is_own_target(key: str, value: Any) -> bool:
    return key == "target" and isinstance(value, str) and value.startswith("evalkit.")
