"""Whether the files of a run are those that its summary was made from.

A run is finished when its scores are: its manifest says so last, and `Summary.files` holds the digest of every file
that the numbers belong to.  Everything that draws a conclusion from a run reads it through `StoredRun`.  A run of an
earlier version has no digests: it is read as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from evalkit.core.errors import StoreError
from evalkit.core.types import MetricKey, Score
from evalkit.runs.codec import read_records
from evalkit.runs.columns import (
    AnswerColumns,
    ScoredPlaces,
    ScoreGroups,
    Unusual,
    answer_columns,
    columns_of_scores,
    groups_of_scores,
    score_columns,
    score_groups,
)
from evalkit.runs.read import journal_lines, manifest_at, prompts_at, summary_at, without_torn_line
from evalkit.runs.schema import FileDigest, JudgePlan, Judgment, Manifest, PredictionLine, PromptFile, Summary
from evalkit.runs.store import RunFolder, write_record

# The files that a scoring writes or rests on, besides summary and manifest.
_SCORED = ("predictions.jsonl", "scores.jsonl", "prompts.json", "lens.json", "lens.csv")
_JUDGMENTS = "judgments.jsonl"
# Bytes that are read at a time.
_BLOCK = 1 << 20

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A finished run whose files are checked against its summary as they are read.

    manifest: None for answers that were scored without one.
    """

    folder: RunFolder
    summary: Summary
    manifest: Manifest | None

    @property
    def is_verifiable(self) -> bool:
        """Whether the summary has digests; False for a run of an earlier version."""
        return self.summary.files is not None

    def predictions(self) -> list[PredictionLine]:
        """The lines of predictions.jsonl.  Raises StoreError where they are not the scored ones."""
        return self._records(PredictionLine, self.folder.predictions)

    def scores(self) -> list[Score]:
        """The lines of scores.jsonl.  Raises StoreError where they are not the summary's."""
        return self._records(Score, self.folder.scores)

    def answers(self) -> AnswerColumns:
        """The content of predictions.jsonl as columns.  Raises StoreError where it is not the scored one."""
        path = self.folder.predictions
        return self._columns(path, lambda update: answer_columns(path, update)) or AnswerColumns.of(self.predictions())

    def score_columns(self, ids: Sequence[str]) -> dict[MetricKey, list[ScoredPlaces]]:
        """The content of scores.jsonl by metric; `ids` are those of the answers.

        Raises:
            StoreError: the file is not the summary's.
            ValueError: a score of another sample.
        """
        path = self.folder.scores
        found = self._columns(path, lambda update: score_columns(path, ids, update))
        return columns_of_scores(self.scores(), ids) if found is None else found

    def score_groups(self, ids: Sequence[str]) -> list[ScoreGroups]:
        """The content of scores.jsonl for some samples, equal scores once.

        Raises:
            StoreError: the file is not the summary's.
        """
        path = self.folder.scores
        found = self._columns(path, lambda update: score_groups(path, ids, update))
        return [groups_of_scores(self.scores(), ids)] if found is None else found

    def _columns(self, path: Path, read: Callable[[Callable[[bytes], object]], Content]) -> Content | None:
        """What a reader of columns gives, the file checked; None where the file is to be read line by line.

        A file without a digest is read line by line too, where every key of every line is checked.
        """
        if self.summary.files is None:
            return None
        tally = _Tally()
        try:
            found = read(tally.update)
        except (Unusual, OSError):
            return None
        if (listed := self.summary.files.get(path.name)) is None:
            raise _changed(path, "the summary does not list it")
        _compare(path, tally.digest, listed)
        return found

    def prompts(self) -> PromptFile | None:
        """The prompt record; None for a run without one."""
        self.check("prompts.json")
        return prompts_at(self.folder.prompts) if self.folder.prompts.is_file() else None

    def check(self, *names: str) -> None:
        """Refuse files that are not those of the summary; without names every file that it lists.

        Raises:
            StoreError: a file was changed, removed or added.
        """
        if self.summary.files is None:
            return
        for name in names or self.summary.files:
            path, listed = self.folder.path / name, self.summary.files.get(name)
            if listed is None and path.is_file():
                raise _changed(path, "the summary does not list it")
            if listed is not None:
                # Judgments of a session that has not finished may follow the listed ones.
                found = digest_of(path, listed.bytes if name == _JUDGMENTS else None)
                _compare(path, found, listed)

    def _records(self, kind: type[Any], path: Path) -> list[Any]:
        if self.summary.files is None:
            return read_records(kind, path)
        tally = _Tally()
        found = read_records(kind, path, tally.update)
        if (listed := self.summary.files.get(path.name)) is None:
            raise _changed(path, "the summary does not list it")
        _compare(path, tally.digest, listed)
        return found


def open_run(path: Path) -> StoredRun:
    """The finished run in a folder.

    Raises:
        StoreError: there is none, it is not finished, or its summary or manifest is damaged.
    """
    folder = RunFolder(path)
    manifest = manifest_at(folder.manifest) if folder.manifest.is_file() else None
    if manifest is not None and not manifest.is_finished:
        raise StoreError(f"{path} is not finished (status {manifest.status}): the same command resumes it.")
    summary = summary_at(folder.summary)
    _check_versions(folder, summary, manifest)
    return StoredRun(folder=folder, summary=summary, manifest=manifest)


def _check_versions(folder: RunFolder, summary: Summary, manifest: Manifest | None) -> None:
    """Refuse a run of which one file has digests, as this version writes them, and the other has not.

    Raises:
        StoreError: digests were removed, or a file is of another version.
    """
    if summary.digest is None and (manifest is None or manifest.digest is None):
        return
    lacking = [f"{folder.summary.name} has no {key!r}" for key in ("digest", "files") if getattr(summary, key) is None]
    if manifest is None:
        lacking.append(f"{folder.manifest.name} is missing")
    elif manifest.digest is None:
        lacking.append(f"{folder.manifest.name} has no 'digest'")
    if lacking:
        raise StoreError(
            f"{folder.path} cannot be checked: {' and '.join(lacking)}, which the version of evalkit that wrote the "
            "run always writes. A file was edited, removed or comes from another run. Restore it, or give the run's "
            "command again, which makes it anew."
        )


def digest_at_the_end(folder: RunFolder, name: str) -> FileDigest | None:
    """The digest of a file when its run, or part of a run, ended; None where it is not known or has not ended."""
    try:
        manifest = manifest_at(folder.manifest)
        if not manifest.is_finished:
            return None
        if manifest.shard is not None:
            return manifest.answers if name == folder.predictions.name else None
        return (listed_files(folder) or {}).get(name)
    except StoreError:  # missing, or damaged
        return None


def check_if_finished(folder: RunFolder, name: str) -> None:
    """Refuse a file that was changed after its run ended; without effect where the run has not ended.

    Raises:
        StoreError: the file was changed.
    """
    if (listed := digest_at_the_end(folder, name)) is not None:
        _compare(folder.path / name, digest_of(folder.path / name), listed)


def why_unusable(path: Path) -> str:
    """The reason why a folder holds no finished run of evalkit; empty where it does."""
    try:
        open_run(path)
    except StoreError as problem:
        return str(problem)
    return ""


def scoring_digests(folder: RunFolder) -> dict[str, FileDigest]:
    """The digests of the files of a scoring that ends, for its summary.

    Judgments stay listed where the summary that is replaced was over the same answers.
    """
    found = {name: digest_of(p) for name in _SCORED if (p := folder.path / name).is_file()}
    try:
        earlier = summary_at(folder.summary).files or {}
    except StoreError:  # missing, or damaged and about to be replaced
        earlier = {}
    if earlier.get("predictions.jsonl") == found.get("predictions.jsonl"):
        found |= {name: digest for name, digest in earlier.items() if name not in _SCORED}
    return found


def list_files(folder: RunFolder, present: Iterable[str], absent: Iterable[str] = ()) -> None:
    """Bring the digests of some files in a run's summary up to date.  For the process that holds the run's lock.

    Without effect for a folder without a summary, and for a run of an earlier version.

    Args:
        present: names of files that belong to the run as they are now.
        absent: names of files that are about to be replaced: until they are listed again, they are not the run's.
    """
    if not folder.summary.is_file() or (files := (summary := summary_at(folder.summary)).files) is None:
        return
    kept = {name: digest for name, digest in files.items() if name not in set(absent)}
    now = kept | {name: digest_of(folder.path / name) for name in present}
    if now != files:
        # A digest here alone, and none in the manifest, would say that the manifest's was removed.
        write_record(folder.summary, replace(summary, files=now), sealed=summary.digest is not None)


class StoredJudgments(NamedTuple):
    """The judgments of a run.

    lines: every complete line.  n_finished: how many of them belong to finished sessions.
    """

    lines: list[JudgePlan | Judgment]
    n_finished: int

    @property
    def unfinished(self) -> frozenset[str]:
        """The judges with lines of a session that has not finished."""
        return frozenset(line.judge for line in self.lines[self.n_finished :])


def stored_judgments(folder: RunFolder, files: Mapping[str, FileDigest] | None) -> StoredJudgments:
    """The judgments in a run's folder; none where it has no judgments.jsonl.

    Args:
        files: of the run's summary; None where it has no digests, and then every line counts as finished.

    Raises:
        StoreError: a line is damaged, or judgments of finished sessions were changed.
    """
    path = folder.judgments
    listed = None if files is None else files.get(_JUDGMENTS)
    if not path.is_file():
        if listed is not None:
            raise _changed(path, "it is missing")
        return StoredJudgments([], 0)
    data = path.read_bytes()
    lines = journal_lines(enumerate(without_torn_line(data).splitlines(), start=1), path)
    if listed is None:
        return StoredJudgments(lines, len(lines) if files is None else 0)
    finished = data[: listed.bytes]
    _compare(path, _Tally(finished).digest, listed)
    return StoredJudgments(lines, finished.count(b"\n"))


def listed_files(folder: RunFolder) -> Mapping[str, FileDigest] | None:
    """The digests in a run's summary; None where there is no summary or it has none."""
    return summary_at(folder.summary).files if folder.summary.is_file() else None


def digest_of(path: Path, n_bytes: int | None = None) -> FileDigest:
    """The digest of a file, or of its first bytes, read in blocks.

    Raises:
        StoreError: there is no such file.
    """
    tally = _Tally()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK if n_bytes is None else min(_BLOCK, n_bytes - tally.bytes)):
                tally.update(block)
    except FileNotFoundError:
        raise _changed(path, "it is missing") from None
    return tally.digest


class _Tally:
    """The digest of bytes that arrive in pieces."""

    def __init__(self, data: bytes = b"") -> None:
        self.bytes = len(data)
        self._hasher = hashlib.sha256(data)

    def update(self, data: bytes) -> None:
        self.bytes += len(data)
        self._hasher.update(data)

    @property
    def digest(self) -> FileDigest:
        return FileDigest(bytes=self.bytes, sha256=self._hasher.hexdigest())


def _compare(path: Path, found: FileDigest, listed: FileDigest) -> None:
    if found != listed:
        how = f"it has {found.bytes} bytes, not {listed.bytes}" if found.bytes != listed.bytes else "its sha256 differs"
        raise _changed(path, how)


def _changed(path: Path, how: str) -> StoreError:
    if path.name == _JUDGMENTS or path.name.startswith("judged-"):
        again = "give the `judge` command again, where the cache has its replies"
    elif path.name == "predictions.jsonl":
        again = "start over with resume=false (`score` of a file of answers: give its command again)"
    else:
        again = "give the run's command again, which scores the answers anew"
    return StoreError(
        f"{path} is not the file that the numbers in {path.with_name('summary.json')} were made from: {how}. It was "
        f"changed after the run ended, or another process is writing the run now. Restore the file, or {again}."
    )
