"""Options of closed questions from a file: joined by question and answer, listed in prompts, scored by letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.core.types import Prediction, Sample
from evalkit.tasks.options_file import with_options
from evalkit.tasks.path_vqa import PathVqa
from tests.support.protocols import protocol

RECORDS: list[dict[str, Any]] = [
    {"question": "Which is larger,  lung or heart?", "answer": "LUNG", "options": '{"A": "heart", "B": "lung"}'},
    {"question": "Is there a mass?", "answer": "no", "options": ["Yes", "No"]},
    {"question": "Is there a mass?", "answer": "yes", "options": {"B": "No", "A": "Yes", "C": None}},
]


def closed(k: int, question: str, answer: str, answer_type: str = "CLOSED") -> Sample:
    return Sample(
        id=f"q{k}", image_id="i", question=question, references=(answer,), tags={"answer_type": answer_type},
        choices=("yes", "no"),
    )  # fmt: skip


ROWS = [
    closed(0, "which is larger, lung or heart?", "lung"),
    closed(1, "Is there a mass?", "No"),
    closed(2, "Is there a mass?", "Yes"),
    closed(3, "What is it?", "lung", "OPEN"),
]


def put(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    return path


def test_closed_rows_get_the_options_of_their_question_and_answer(tmp_path: Path) -> None:
    found, notes = with_options(ROWS, put(tmp_path / "o.jsonl", RECORDS), "toy (test)")
    assert [s.choices for s in found] == [("heart", "lung"), ("Yes", "No"), ("Yes", "No"), ("yes", "no")]
    assert notes == ["options of 3 of 3 closed rows are those of o.jsonl"]


def test_a_closed_row_that_the_file_lacks_is_named_and_has_no_options(tmp_path: Path) -> None:
    found, notes = with_options(ROWS, put(tmp_path / "o.jsonl", RECORDS[1:]), "toy (test)")
    assert found[0].choices == () and "the other 1 have none: q0" in notes[0]
    assert "offers no options" in protocol("medvlthinker").uncounted(found[0])


@pytest.mark.parametrize(("form", "kept"), [("lines", 0.8), ("lines", 0.5), ("array", 0.8), ("two arrays", 1.0)])
def test_a_file_that_was_cut_is_refused_and_not_read_in_part(tmp_path: Path, form: str, kept: float) -> None:
    array = json.dumps(RECORDS)
    text = {"lines": "\n".join(map(json.dumps, RECORDS)), "array": array, "two arrays": array + array}[form]
    path = tmp_path / "o.jsonl"
    path.write_text(text[: int(len(text) * kept)], encoding="utf-8")
    with pytest.raises(DataError, match=r"o\.jsonl") as refused:
        with_options(ROWS, path, "toy (test)")
    assert "\n" not in str(refused.value)


def test_a_parquet_file_with_images_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({
        "images": [[{"bytes": b"png", "path": None}]] * 2,
        "question": ["Is there a mass?", "Is there a mass?"],
        "answer": ["no", "yes"],
        "options": ['{"A": "Yes", "B": "No"}'] * 2,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "test.parquet")
    found, _ = with_options(ROWS[1:], tmp_path / "test.parquet", "toy (test)")
    assert [s.choices for s in found[:2]] == [("Yes", "No")] * 2


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{**RECORDS[0], "question": "Another?"}], "has none of the 3 closed questions"),
        ([*RECORDS, {**RECORDS[1], "options": ["No", "Yes"]}], "two lists of options there.*: q1"),
        ([{"question": "Is there a mass?", "answer": "no"}], "row 1: options are None, expected 2 to 26 texts"),
        ([{**RECORDS[0], "options": "{A"}], "row 1: options are no JSON"),
        ([{**RECORDS[0], "options": '{"A": "x", "C": "y"}'}], "lettered A, C, expected A, B, C"),
        ([{**RECORDS[0], "options": ["x"]}], "expected 2 to 26 texts"),
        ([{**RECORDS[0], "options": ["x", " "]}], "the option ' ' is no text"),
        ([{**RECORDS[0], "options": ["x", 3]}], "the option 3 is no text"),
        ([{**RECORDS[0], "answer": None}], "row 1: answer is None, expected a text"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_paragraph(
    tmp_path: Path, records: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        with_options(ROWS, put(tmp_path / "o.jsonl", records), "toy (test)")
    assert "\n" not in str(caught.value)


def test_a_task_lists_and_scores_the_options_of_its_file(tmp_path: Path) -> None:
    rows = [{"question": "Which organ is it?", "answer": "yes"}, {"question": "Is it a lung?", "answer": "no"}]
    (tmp_path / "test.json").write_text(json.dumps(rows), encoding="utf-8")
    options = put(tmp_path / "o.jsonl", [{**row, "options": ["Maybe", "Yes", "No"]} for row in rows])
    settings: dict[str, Any] = {"name": "pathvqa", "path": str(tmp_path / "test.json"), "prompt": "letters"}
    settings |= {"closed_rule": "yesno", "allow_counts": True}
    plain = PathVqa(**settings).load(images=False).samples
    task = PathVqa(**settings, options_file=str(options))
    first, second = task.load(images=False).samples
    assert [s.choices for s in plain] == [(), ("yes", "no")]
    assert "A. Maybe\nB. Yes\nC. No" in str(task.messages(first)[0].content[1])
    rule = protocol("medvlthinker")
    for said, value in (("B", 1.0), ("<answer>b. yes</answer>", 1.0), ("Yes", 1.0), ("A", 0.0), ("B.", 0.0)):
        assert [s.value for s in rule.score(first, Prediction(sample_id=first.id, text=said))] == [value], said
    assert [s.value for s in rule.score(second, Prediction(sample_id=second.id, text="C"))] == [1.0]
