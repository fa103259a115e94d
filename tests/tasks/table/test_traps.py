"""Tables whose habits gave a wrong number without a word; found by a tester."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Sample
from evalkit.tasks.table.task import TableTask


def read(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[Sample, ...]:
    (folder / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    return TableTask(path=str(folder / "t.json"), **settings).load().samples


def test_a_stated_type_does_not_keep_the_letter_as_gold(tmp_path: Path) -> None:
    row = {"question": "Big?", "answer_type": "CLOSED", "answer": "B", "A": "yes", "B": "no"}
    (sample,) = read(tmp_path, [row])
    assert (sample.references, sample.answer_type, sample.choices) == (("no",), "CLOSED", ())
    (opened,) = read(tmp_path, [{**row, "answer_type": "OPEN", "answer": "a long text"}])
    assert opened.references == ("a long text",)
    with pytest.raises(DataError, match="none of the options"):
        read(tmp_path, [{**row, "answer": "C"}])


@pytest.mark.parametrize("names", [("option1", "option2"), ("choice_0", "choice_1"), ("Option 1", "Option 2")])
def test_numbered_columns_are_options(tmp_path: Path, names: tuple[str, str]) -> None:
    (sample,) = read(tmp_path, [{"question": "q?", names[0]: "CT", names[1]: "MRI", "answer": "MRI"}])
    assert sample.letters == ("B",)


def test_a_letter_as_answer_of_a_row_without_options_is_refused(tmp_path: Path) -> None:
    with_options = {"question": "q?", "answer": "A", "A": "CT", "B": "MRI"}
    with pytest.raises(DataError, match="looks like the letter of an option"):
        read(tmp_path, [with_options, {"question": "q?", "answer": "A", "A": "", "B": None}])


def test_booleans_are_yes_and_no(tmp_path: Path) -> None:
    samples = read(tmp_path, [{"question": "Is it?", "answer": True}, {"question": "Is it?", "answer": "FALSE"}])
    assert [(s.references, s.answer_type) for s in samples] == [(("yes",), "CLOSED"), (("no",), "CLOSED")]


def test_parts_of_a_table_are_all_read_or_refused(tmp_path: Path) -> None:
    row = json.dumps({"question": "q?", "answer": "a"})
    (tmp_path / "test-00000-of-00002.jsonl").write_text(f"{row}\n" * 3, encoding="utf-8")
    with pytest.raises(DataError, match="1 of 2 parts"):
        TableTask(path=str(tmp_path)).load()
    (tmp_path / "test-00001-of-00002.jsonl").write_text(f"{row}\n" * 2, encoding="utf-8")
    assert len(TableTask(path=str(tmp_path)).load().samples) == 5


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for folder in (tmp_path, tmp_path / "data"):
        (folder / "q.csv").write_text("question,answer\nq?,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="several tables"):
        TableTask(path=str(tmp_path)).load()
    assert len(TableTask(path=str(tmp_path / "data"), split="ood").load().samples) == 1


def test_spellings_of_one_path_are_one_image(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "sub").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    paths = ["a.png", "./a.png", "sub/../a.png", str(tmp_path / "a.png")]
    samples = read(tmp_path, [{"question": "q?", "answer": "a", "image": p} for p in paths])
    assert {s.image_id for s in samples} == {"a.png"}


def test_what_is_left_out_or_renamed_is_said(tmp_path: Path) -> None:
    rows = [{"id": "7", "question": "q?", "answer": "a", "split": s} for s in ("test", "test", "tset", "")]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    notes = " ".join(TableTask(path=str(tmp_path / "t.json")).load().notes)
    assert "1 tset, 1 (empty)" in notes
    assert "1 rows have an id with #" in notes


def test_a_cut_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves nothing"):
        read(tmp_path, [{"question": "Choices: A, B", "answer": "a"}], cut="Choices:")


@pytest.mark.parametrize("template", ["{question!r}", "{question!z}", "{question:>10}", "{options:d}{question}"])
def test_fields_of_a_template_are_their_names_alone(tmp_path: Path, template: str) -> None:
    with pytest.raises(ConfigError, match="its name alone"):
        read(tmp_path, [{"question": "q?", "answer": "a"}], template=template)


def test_a_line_break_of_a_shell_is_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,answer\nq?,a\n", encoding="utf-8")
    task = TableTask(path=str(tmp_path / "t.csv"), template="{question}\\n{options}!")
    assert task.messages(task.load().samples[0])[0].content == ("q?\n!",)


def test_columns_named_out_of_the_order_of_their_letters_are_refused(tmp_path: Path) -> None:
    row = {"question": "q?", "answer": "A", "A": "CT", "B": "MRI"}
    with pytest.raises(ConfigError, match="order of their letters"):
        read(tmp_path, [row], columns={"choices": ["B", "A"]})
