"""Selections of rows: by tags, ids and draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import ConfigError, DataError, EvalkitError
from evalkit.core.types import Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.selection import Selection

MODALITIES = ("MR", "CT")
SAMPLES = tuple(
    Sample(id=str(k), image_id=f"i{k // 3}", question="q", references=("a",), tags={"modality": MODALITIES[k % 2]})
    for k in range(30)
)
WHOLE = LoadedTask(name="t", split="test", form="f", samples=SAMPLES, closed_rule="label", prompt="p")


def apply(where: Any = None, draw: int | None = None, seed: int = 0) -> LoadedTask:
    selection = Selection.from_settings(where, draw, seed)
    return WHOLE if selection is None else selection.apply(WHOLE)


def test_nothing_selected_is_the_whole_task() -> None:
    assert Selection.from_settings({}, None, 0) is None
    assert Selection.from_settings(None, None, 0) is None
    assert Selection.from_settings({"modality": None}, None, 0) is None


def test_tags_and_ids_select_in_the_order_of_the_task(tmp_path: Path) -> None:
    assert [s.id for s in apply({"modality": "CT"}).samples] == [str(k) for k in range(1, 30, 2)]
    assert len(apply({"modality": ["CT", "MR"]}).samples) == 30
    ids = tmp_path / "ids.txt"
    ids.write_text("7\n3\n", encoding="utf-8")
    assert [s.id for s in apply({"ids": str(ids)}).samples] == ["3", "7"]
    ids.write_text('["7", 3]', encoding="utf-8")
    assert [s.id for s in apply({"ids": str(ids)}).samples] == ["3", "7"]


@given(n=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_draw_has_n_rows_of_whole_images_and_grows_by_adding(n: int, seed: int) -> None:
    drawn = apply(draw=n, seed=seed).samples
    assert len(drawn) == min(n, 30)
    images = [s.image_id for s in drawn]
    assert sum(images.count(i) < 3 for i in set(images)) <= 1
    assert {s.id for s in drawn} <= {s.id for s in apply(draw=n + 1, seed=seed).samples}


def test_draws_of_two_seeds_differ_and_names_say_which() -> None:
    one, two = apply(draw=9), apply(draw=9, seed=1)
    assert one.samples != two.samples
    assert (one.name, two.name) == ("t[sample=9]", "t[sample=9.1]")
    assert one.data_sha256 != WHOLE.data_sha256


@pytest.mark.parametrize(
    ("where", "draw", "problem"),
    [
        ({"modalty": "CT"}, None, "no row of t has the tag modalty.*modality"),
        ({"ward": "4"}, None, r"task\.tags=\[ward\] makes it a tag"),
        ({"modality": "CTT"}, None, "no row of t has this value.*CT"),
        ({"modality": []}, None, "expected a value"),
        ({"modality": {"a": 1}}, None, "expected a value"),
        ("CT", None, r"expected task\.where\.TAG=VALUE"),
        (["CT"], None, r"expected task\.where\.TAG=VALUE"),
        (None, 0, "sample=0"),
        ({"ids": "nowhere.txt"}, None, "nowhere.txt"),
    ],
)
def test_what_selects_nothing_is_refused(where: Any, draw: int | None, problem: str) -> None:
    with pytest.raises(EvalkitError, match=problem):
        apply(where, draw)


def test_unknown_and_missing_ids_are_refused(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("7\n99\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="1 of 2 ids are not in t"):
        apply({"ids": str(ids)})
    ids.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no ids"):
        apply({"ids": str(ids)})
