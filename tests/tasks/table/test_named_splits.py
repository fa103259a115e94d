"""Splits, classes and numbers that a file states in its own way: JSON keys, sheets, class labels, 32-bit numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.core.images import open_image
from evalkit.tasks.table.class_names import class_names, names_of_features, with_class_names
from evalkit.tasks.table.named_splits import SheetOfSplit
from evalkit.tasks.table.task import TableTask

ONE = {"question": "Which?", "answer": "one"}
TWO = {"question": "Which?", "answer": "two"}


def references(path: Path, **settings: Any) -> list[str]:
    return [s.references[0] for s in TableTask(path=str(path), **settings).load(images=False).samples]


def write_json(folder: Path, content: Any) -> Path:
    (folder / "t.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "t.json"


@pytest.mark.parametrize("keys", [("train", "test"), ("Train", "Test"), ("trainset", "test_set"), ("dev", "test")])
@pytest.mark.parametrize("nested", [False, True])
def test_keys_that_are_splits_are_a_split_column(tmp_path: Path, keys: tuple[str, str], nested: bool) -> None:
    parts = dict(zip(keys, ([ONE], [TWO]), strict=True))
    path = write_json(tmp_path, {"ct": parts, "mri": parts} if nested else parts)
    assert references(path) == ["two"] * (1 + nested)
    other = "validation" if keys[0] == "dev" else "train"
    assert references(path, split=other) == ["one"] * (1 + nested)


def test_train_rows_under_a_key_are_train_rows(tmp_path: Path) -> None:
    task = TableTask(path=str(write_json(tmp_path, {"train": [ONE], "test": [TWO]})))
    assert [s.references for s in task.load_train().samples] == [("one",)]


@pytest.mark.parametrize(("content", "found"), [({"data": [ONE, TWO]}, 2), ({"ct": [ONE], "test": [TWO]}, 2)])
def test_other_keys_split_nothing(tmp_path: Path, content: Any, found: int) -> None:
    assert len(references(write_json(tmp_path, content))) == found


def test_a_split_that_the_keys_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds train"):
        references(write_json(tmp_path, {"train": [ONE]}))


@pytest.mark.parametrize(
    ("names", "split", "sheet", "named"),
    [
        (["train", "test"], "test", 1, True),
        (["Train", "Test set"], "train", 0, True),
        (["test", "validation"], "validation", 1, True),
        (["Sheet1"], "test", 0, False),
        (["train"], "test", 0, False),
        (["Sheet1", "Notes"], "test", 0, False),
        (["Questions", "Blood test"], "test", 0, False),
        (["Questions", "train"], "test", 0, False),
    ],
)
def test_the_sheet_of_a_split(names: list[str], split: str, sheet: int, named: bool) -> None:
    chosen = SheetOfSplit(split, "t.xlsx")
    assert (chosen(names), chosen.named) == (sheet, named)


@pytest.mark.parametrize("names", [["train", "notes"], ["test", "Test set"], ["train", "val"]])
def test_sheets_of_other_splits_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"t\.xlsx: which of the sheets"):
        SheetOfSplit("test", "t.xlsx")(names)


def test_a_workbook_is_read_at_the_sheet_of_the_split(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "train"
    for sheet, row in ((book.active, ONE), (book.create_sheet("test"), TWO)):
        sheet.append(list(row))
        sheet.append(list(row.values()))
    book.save(tmp_path / "t.xlsx")
    task = TableTask(path=str(tmp_path / "t.xlsx"))
    assert [s.references for s in task.load(images=False).samples] == [("two",)]
    assert [s.references for s in task.load_train().samples] == [("one",)]


def test_a_file_that_is_named_after_another_split_is_noted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer\nq?,a\n", encoding="utf-8")
    path = str(tmp_path / "train.csv")
    assert any("named after the split train" in note for note in TableTask(path=path).load().notes)
    assert not any("named after" in note for note in TableTask(path=path, split="train").load().notes)


def test_names_of_classes_take_the_place_of_their_numbers(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    features = {
        "answer": {"names": ["no", "yes"], "_type": "ClassLabel"},
        "site": {"feature": {"names": ["chest", "head"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "old": [{"names": ["x"], "_type": "ClassLabel"}],
        "question": {"dtype": "string", "_type": "Value"},
    }
    table = pyarrow.table({"question": ["Is it?", "Is it?"], "answer": [1, 0]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert references(tmp_path / "t.parquet") == ["yes", "no"]
    row = {"answer": -1, "site": [1, 0], "old": [0], "question": 1}
    assert with_class_names(row, names_of_features(features)) == {
        "answer": None,
        "site": ["head", "chest"],
        "old": ["x"],
        "question": 1,
    }


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"no json"}, {b"huggingface": b"{}"}, {b"a": b"b"}])
def test_a_table_of_another_program_has_no_classes(metadata: dict[bytes, bytes] | None) -> None:
    assert class_names(metadata) == {}


def test_numbers_of_32_bits_are_as_they_were_written(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    numbers = pyarrow.array([0.1, 2.4, 5.0, 1e-7], pyarrow.float32())
    pyarrow.parquet.write_table(pyarrow.table({"question": ["q?"] * 4, "answer": numbers}), tmp_path / "t.parquet")
    assert references(tmp_path / "t.parquet") == ["0.1", "2.4", "5", "1e-07"]


def test_folders_that_the_datasets_library_saved(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "answer": datasets.ClassLabel(names=["no", "yes"]),
            "image": datasets.Image(),
        }
    )
    picture = Image.new("RGB", (4, 6), (200, 0, 0))
    one = {k: datasets.Dataset.from_list([{"question": "Is it?", "answer": a, "image": picture}], features=features)
           for k, a in (("train", 0), ("test", 1))}  # fmt: skip
    datasets.DatasetDict(one).save_to_disk(str(tmp_path / "both"))
    one["test"].save_to_disk(str(tmp_path / "single"))
    for folder in ("both", "single"):
        (sample,) = TableTask(path=str(tmp_path / folder)).load().samples
        assert (sample.references, open_image(sample.images[0]).size) == (("yes",), (4, 6))
    assert references(tmp_path / "both", split="train") == ["no"]
    with pytest.raises(DataError, match="no split validation; it has train, test"):
        references(tmp_path / "both", split="validation")
    next((tmp_path / "single").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="Copy it whole"):
        references(tmp_path / "single")
