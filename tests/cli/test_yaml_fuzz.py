"""YAML files of config folders, damaged or made up: a mapping of plain values, or one paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.cli.config import plain, read_yaml
from evalkit.cli.yaml_text import check_text
from evalkit.core.errors import ConfigError
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted, read_file
from tests.support.paths import CONF

FILES = [
    p.read_bytes() for p in (CONF / "task/slake.yaml", CONF / "model/phantom-llava.yaml", CONF / "protocol/strict.yaml")
]
FUZZED = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(path: Path, content: bytes) -> None:
    # A value of the environment is refused where it stands: the error names its setting.
    found = read_file(path, content, lambda path: plain(read_yaml(path)), "The configuration", "is not resolved")
    assert found is None or all(isinstance(key, str) for key in found)


@FUZZED
@given(content=st.sampled_from(FILES), edits=EDITS)
def test_an_edited_file(tmp_path: Path, content: bytes, edits: Any) -> None:
    check(tmp_path / "option.yaml", edited(content, edits))


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("one", "two"),
    [("1", "0x1"), ("1", "1.0"), ("1", "true"), ("8", "010"), ("60", "1:00"), ("yes", "on"), ("~", "null"),
     ("10", "1_0"), (".inf", ".Inf"), ("a", "'a'")],
)  # fmt: skip
def test_keys_that_are_equal_as_values_are_one_key(one: str, two: str) -> None:
    with pytest.raises(ConfigError, match="duplicate key"):
        check_text(f"{one}: 1\n{two}: 2\n", "own.yaml")


@pytest.mark.parametrize(("one", "two"), [("1", "'1'"), ("1", "2"), ("true", "'true'"), ("a", "A"), ("0", "null")])
def test_keys_that_differ_are_two(one: str, two: str) -> None:
    check_text(f"{one}: 1\n{two}: 2\n", "own.yaml")
