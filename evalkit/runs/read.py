"""Readers of the files of a run: each gives the typed record of `evalkit.runs.schema`, or one clear StoreError."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from evalkit.core import json_text
from evalkit.core.errors import StoreError, first_line
from evalkit.core.files import read_json
from evalkit.core.json_text import shown
from evalkit.core.types import Score, digest_json
from evalkit.runs import legacy
from evalkit.runs.codec import decode, decode_object, read_records
from evalkit.runs.columns import Unusual, reference_columns
from evalkit.runs.schema import (
    BASELINE_KIND,
    BASELINE_SCHEMA,
    JUDGED_SCHEMA,
    MANIFEST_SCHEMA,
    PROMPT_KIND,
    PROMPT_SCHEMA,
    SUMMARY_SCHEMA,
    Baseline,
    JudgedFile,
    JudgePlan,
    Judgment,
    LeaderboardResult,
    Manifest,
    PredictionLine,
    PromptFile,
    Summary,
)

Record = TypeVar("Record")


def manifest_at(path: Path) -> Manifest:
    """The manifest in a file, of any schema."""
    content = read_json(path, "manifest")
    if legacy.check_schema(content, MANIFEST_SCHEMA, str(path), "manifest") < MANIFEST_SCHEMA:
        content = legacy.upgraded_manifest(content)
    _check_digest(content, path, "manifest")
    return decode_object(Manifest, content, str(path))


def summary_at(path: Path) -> Summary:
    """The summary in a file, of any schema."""
    return _summary(Summary, path, "summary", _check_digest)


def result_at(path: Path) -> LeaderboardResult:
    """The leaderboard result in a file, of any schema."""
    return _summary(LeaderboardResult, path, "leaderboard result")


def _summary(
    kind: type[Record], path: Path, what: str, check: Callable[[Any, Path, str], None] | None = None
) -> Record:
    content = read_json(path, what)
    if legacy.check_schema(content, SUMMARY_SCHEMA, str(path), what) < SUMMARY_SCHEMA:
        content = legacy.upgraded_summary(content, str(path))
    if check is not None:
        check(content, path, what)
    return decode_object(kind, content, str(path))


def _check_digest(content: Any, path: Path, what: str) -> None:
    """Refuse content that was changed after it was written; that of an earlier version has no digest.

    Raises:
        StoreError: its digest differs.
    """
    if content.get("digest") is not None and content["digest"] != record_digest(content):
        raise StoreError(
            f"{path}, key 'digest': the checksum of the {what} differs, so it was edited or damaged after it was "
            "written. Restore it, or give the run's command again, which makes it anew."
        )


def predictions_at(path: Path) -> list[PredictionLine]:
    """The lines of a predictions.jsonl; `evalkit.runs.verify.StoredRun` also checks that they are the run's."""
    return read_records(PredictionLine, path)


def references_at(path: Path, ids: Container[str]) -> dict[str, tuple[str, ...]]:
    """The reference answers of some samples in a predictions.jsonl, whose lines are not checked otherwise.

    Raises:
        StoreError: a line has no sample or no references.
    """
    try:
        return {sample: golds for sample, golds in reference_columns(path) if sample in ids}
    except Unusual:  # another form of the same, or a line that is named below
        pass
    found = {}
    for number, line in complete_lines(path):
        try:
            content = json_text.loads(line)
            if (sample := content["sample_id"]) in ids:
                found[sample] = tuple(map(str, content["references"]))
        except (ValueError, KeyError, TypeError) as problem:
            raise StoreError(
                f"{path}, line {number} is not an answer of evalkit ({first_line(problem)}). Restore the file."
            ) from problem
    return found


def scores_at(path: Path) -> list[Score]:
    """The lines of a scores.jsonl; `evalkit.runs.verify.StoredRun` also checks that they are the run's."""
    return read_records(Score, path)


def judged_at(path: Path) -> JudgedFile:
    """The numbers in a judged-NAME.json, of any schema."""
    content = read_json(path, "file of judged scores")
    if legacy.check_schema(content, JUDGED_SCHEMA, str(path), "file of judged scores") < JUDGED_SCHEMA:
        content = legacy.upgraded_judged(content, str(path))
    return decode_object(JudgedFile, content, str(path))


def judged_files(run: Path) -> list[JudgedFile]:
    """The numbers of every judge of a run, in order of the judges' names."""
    return [judged_at(file) for file in sorted(run.glob("judged-*.json"))]


def prompts_at(path: Path) -> PromptFile:
    """The prompt record in a file."""
    content = read_json(path, "prompt record")
    _check_kind(content, PROMPT_KIND, path, "prompt record")
    legacy.check_schema(content, PROMPT_SCHEMA, str(path), "prompt record")
    return decode_object(PromptFile, content, str(path))


def baseline_at(path: Path) -> Baseline:
    """The gate baseline in a file, of any schema.

    Raises:
        StoreError: the file is missing, invalid, or changed after it was written (its digest differs).
    """
    content = read_json(path, "baseline")
    _check_kind(content, BASELINE_KIND, path, "baseline")
    schema = legacy.check_schema(content, BASELINE_SCHEMA, str(path), "baseline")
    if content.get("digest") not in _digests(content):
        raise StoreError(
            f"{path}, key 'digest': the checksum of the baseline differs, so it was edited or badly merged after it "
            "was written. Restore it, or make it again with `python -m evalkit gate candidate=RUN save=FILE`."
        )
    if schema < 2:
        raise StoreError(
            f"{path} has schema 1, which is not read any more. Make it again with `python -m evalkit gate "
            "candidate=RUN save=FILE`."
        )
    if schema < BASELINE_SCHEMA:
        content = legacy.upgraded_baseline(content, str(path))
    return _baseline(content, str(path))


# Types of the values in a baseline's lists, one a sample, and in its lists by metric.
_LISTS: Mapping[str, frozenset[type]] = {
    "ids": frozenset({str}), "image_ids": frozenset({str}), "answers": frozenset({str, type(None)}),
    "questions": frozenset({str}), "texts": frozenset({str}),
}  # fmt: skip
_METRIC_LISTS: Mapping[str, frozenset[type]] = {"rows": frozenset({int}), "scores": frozenset({float, type(None)})}


def _baseline(content: Mapping[str, Any], where: str) -> Baseline:
    """The record of a baseline's content.

    Its long lists are checked here, a type at a time: a leaderboard has thousands of these files, and pydantic takes
    longer for a million numbers than everything else.  Where anything is unusual, pydantic reads all and says what.
    """
    lists = {name: content[name] for name in _LISTS if name in content}
    by_metric = {name: content.get(name) for name in _METRIC_LISTS}
    plain = all(type(v) is list and set(map(type, v)) <= _LISTS[name] for name, v in lists.items()) and all(
        type(v) is dict and all(type(x) is list and set(map(type, x)) <= _METRIC_LISTS[name] for x in v.values())
        for name, v in by_metric.items()
    )
    if not plain:
        return decode_object(Baseline, content, where)
    rest: dict[str, Any] = {**content, **{name: [] for name in lists}, **{name: {} for name in by_metric}}
    checked: dict[str, Any] = {name: tuple(v) for name, v in lists.items()}
    checked |= {name: {k: tuple(x) for k, x in v.items()} for name, v in by_metric.items() if v is not None}
    return replace(decode_object(Baseline, rest, where), **checked)


def _digests(content: Mapping[str, Any]) -> Iterator[str]:
    """The checksum of a baseline, first from a faster encoder, whose text is another one for few numbers only."""
    from pydantic_core import PydanticSerializationError, to_json

    plain = {k: dict(sorted(v.items())) if isinstance(v, dict) else v for k, v in content.items() if k != "digest"}
    with suppress(PydanticSerializationError):  # half a surrogate pair
        yield hashlib.sha256(to_json(dict(sorted(plain.items())))).hexdigest()
    yield baseline_digest(content)


def baseline_digest(content: Mapping[str, Any]) -> str:
    """Checksum of a baseline's content but for the checksum itself."""
    return digest_json({k: v for k, v in content.items() if k != "digest"})


def record_digest(content: Mapping[str, Any]) -> str:
    """Checksum of a summary's or manifest's content but for the checksum itself and the timing.

    Without the timing, the same command gives the same checksum.
    """
    return digest_json({k: v for k, v in content.items() if k not in ("digest", "timing")})


def _check_kind(content: Any, kind: str, path: Path, what: str) -> None:
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise StoreError(f"{path} is not a {what} of evalkit: its 'kind' is {shown(found)}, expected {kind!r}.")


def complete_lines(path: Path) -> list[tuple[int, bytes]]:
    """The lines of a file that is appended to, with their numbers; see `without_torn_line`."""
    return list(enumerate(without_torn_line(path.read_bytes()).splitlines(), start=1)) if path.exists() else []


def without_torn_line(data: bytes) -> bytes:
    """The content of a file that is appended to, without a last line that has no line break.

    A kill left that line behind, or another process is writing it now.  Readers leave the file as it is;
    `evalkit.runs.store.cut_torn_line` repairs it.
    """
    return data[: data.rfind(b"\n") + 1]


def journal_at(path: Path) -> list[JudgePlan | Judgment]:
    """The lines of a judgments.jsonl, see `complete_lines`; none where there is no such file.

    Raises:
        StoreError: a line is damaged.
    """
    return journal_lines(complete_lines(path), path)


def journal_lines(lines: Iterable[tuple[int, bytes]], path: Path) -> list[JudgePlan | Judgment]:
    """The records in numbered lines of a judgments.jsonl.

    Raises:
        StoreError: a line is damaged.
    """
    kinds: dict[str, Callable[[bytes, str], JudgePlan | Judgment]] = {
        "plan": lambda line, where: decode(JudgePlan, line, where),
        "judgment": lambda line, where: decode(Judgment, line, where),
    }
    found: list[JudgePlan | Judgment] = []
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            record = json_text.loads(line).get("record")
        except (ValueError, AttributeError):
            raise StoreError(
                f"{where} is not a JSON object: the file was damaged after it was written. Restore or remove that "
                "line; its judgment then comes from the cache, or is requested again."
            ) from None
        if not isinstance(record, str) or record not in kinds:
            raise StoreError(f"{where}, key 'record': expected 'plan' or 'judgment', found {shown(record)}.")
        found.append(kinds[record](line, where))
    return found
