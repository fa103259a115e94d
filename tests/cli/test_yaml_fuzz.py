"""YAML files of config folders, damaged or made up: a mapping of plain values, or one paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.cli.config import plain, read_yaml
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted, read_file
from tests.support.paths import CONF

FILES = [
    p.read_bytes() for p in (CONF / "task/slake.yaml", CONF / "model/phantom-llava.yaml", CONF / "protocol/strict.yaml")
]
FUZZED = settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(path: Path, content: bytes) -> None:
    found = read_file(path, content, lambda path: plain(read_yaml(path)), "The configuration")
    assert found is None or all(isinstance(key, str) for key in found)


@FUZZED
@given(content=st.sampled_from(FILES), edits=EDITS)
def test_an_edited_file(tmp_path: Path, content: bytes, edits: Any) -> None:
    check(tmp_path / "option.yaml", edited(content, edits))


@FUZZED
@given(content=st.sampled_from(FILES), grafts=GRAFTS)
def test_a_file_with_other_values(tmp_path: Path, content: bytes, grafts: Any) -> None:
    check(tmp_path / "option.yaml", yaml.safe_dump(grafted(yaml.safe_load(content), grafts)).encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"a: b: c",
        b"\t- a",
        b"a: *b",
        b"- a",
        b"a: !!python/name:os.system",
        b"a: ${b}",
        b"a: ???",
        b"2026-01-01: 1",
        b"? [a, b]\n: 1",
    ],
)
def test_a_file_that_is_no_plain_mapping(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "option.yaml", content)
