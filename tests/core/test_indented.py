"""JSON files in pieces have the text of json itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.files import indented, naming, whole_file

SINGLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SINGLE, lambda inner: st.lists(inner) | st.dictionaries(SINGLE, inner) | st.tuples(inner, inner), max_leaves=20
)


@given(VALUES)
def test_the_pieces_are_the_text_of_json(content: Any) -> None:
    assert "".join(indented(content)) == json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def test_a_long_list_is_never_one_piece() -> None:
    records = [{"id": str(k), "value": k / 7} for k in range(1000)]
    assert max(map(len, indented({"records": records}))) < 100


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    """What is read while a file is written may be missing: the message must name that one."""
    with pytest.raises(FileNotFoundError) as found, whole_file(tmp_path / "scores.jsonl"):
        (tmp_path / "train.json").read_text(encoding="utf-8")
    assert found.value.filename == str(tmp_path / "train.json")
    with pytest.raises(OSError, match=r"scores\.jsonl"), naming(tmp_path / "scores.jsonl"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry",
    [
        {"a": 1, "b": [], "c": ["ä", None]},
        {"a": 1e-7, "b": -0.0, "c": 1 << 70},
        {"a": math.inf},
        {"a": "\ud800"},
        {},
        3,
        "x",
    ],
)
def test_entries_of_long_lists_are_one_line_each(entry: Any) -> None:
    content = {"deep": [{"moved": [entry, entry], "n": [1, 2]}], "moved": []}
    text = "".join(indented(content, in_lines=["moved"]))
    assert json.loads(text) == content
    # The lists of other keys keep a line for each value.
    assert (
        text.count("\n")
        == json.dumps({"deep": [{"moved": [1, 1], "n": [1, 2]}], "moved": []}, indent=1).count("\n") + 1
    )
