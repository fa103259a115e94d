"""Every file that a run keeps, damaged or made up: a record that is written back alike, or one paragraph."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.runs import read, store
from evalkit.runs.codec import decode_object, encode
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted, grafted_file, json_values, read_file
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "saved_runs"
RUN = SAVED / "runs" / "scripted-slake-4e65e0f2"
JUDGED = SAVED / "judged" / "from-a-file-slake-8f96736a"
# Of each kind of file: one that evalkit wrote, and its reader.
KINDS: dict[str, tuple[Path, Callable[[Path], Any]]] = {
    "manifest": (RUN / "manifest.json", read.manifest_at),
    "early manifest": (SAVED / "manifests" / "majority-slake.json", read.manifest_at),
    "summary": (RUN / "summary.json", read.summary_at),
    "result": (SAVED / "leaderboards" / "results" / "scripted-slake-4e65e0f2.json", read.result_at),
    "judged": (JUDGED / "judged-server.json", read.judged_at),
    "prompts": (RUN / "prompts.json", read.prompts_at),
    "baseline": (SAVED / "gate" / "baseline.json", read.baseline_at),
    "predictions": (RUN / "predictions.jsonl", read.predictions_at),
    "answered": (RUN / "predictions.jsonl", lambda path: [*store.answered(path).values()]),
    "scores": (RUN / "scores.jsonl", read.scores_at),
    "judgments": (JUDGED / "judgments.jsonl", read.journal_at),
}
FUZZED = settings(max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
every_kind = pytest.mark.parametrize("kind", KINDS)


def content_of(kind: str, most: int = 4) -> bytes:
    """The file of a kind; of JSON Lines only the first lines."""
    path = KINDS[kind][0]
    content = path.read_bytes()
    return b"".join(content.splitlines(keepends=True)[:most]) if path.suffix == ".jsonl" else content


def check(kind: str, content: bytes, tmp_path: Path) -> None:
    """Read the content; what is read is valid when it is written."""
    original, reader = KINDS[kind]
    found = read_file(tmp_path / original.name, content, reader)
    for record in found if isinstance(found, list) else [found]:
        if record is not None:
            again = decode_object(type(record), encode(record), "again")
            # As text: NaN, which a configuration may have, is not equal to itself.
            assert json.dumps(encode(again)) == json.dumps(encode(record))


@every_kind
def test_a_file_of_evalkit_is_read(kind: str, tmp_path: Path) -> None:
    original, reader = KINDS[kind]
    assert read_file(tmp_path / original.name, content_of(kind), reader)


@every_kind
@FUZZED
@given(edits=EDITS)
def test_an_edited_file(kind: str, tmp_path: Path, edits: Any) -> None:
    check(kind, edited(content_of(kind), edits), tmp_path)


@every_kind
@FUZZED
@given(grafts=GRAFTS)
@pytest.mark.few(4)
def test_a_file_with_other_values(kind: str, tmp_path: Path, grafts: Any) -> None:
    check(kind, grafted_file(content_of(kind), grafts, lines=KINDS[kind][0].suffix == ".jsonl"), tmp_path)


@every_kind
@FUZZED
@given(content=st.binary(max_size=60) | json_values(["schema", "kind", "record"]).map(lambda v: json.dumps(v).encode()))
def test_any_content(kind: str, tmp_path: Path, content: bytes) -> None:
    check(kind, content, tmp_path)


@FUZZED
@given(grafts=GRAFTS)
def test_a_baseline_with_other_values_and_a_right_checksum(tmp_path: Path, grafts: Any) -> None:
    content = grafted(json.loads(content_of("baseline")), grafts)
    try:
        content["digest"] = read.baseline_digest(content)
    except UnicodeEncodeError:  # half a surrogate pair has no digest
        return
    check("baseline", json.dumps(content).encode(), tmp_path)
