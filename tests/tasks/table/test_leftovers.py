"""Tables: names that look lettered, numbers of every form, cells of spreadsheets, conversations, nested objects."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Sample
from evalkit.tasks.table.task import TableTask
from tests.support import dicom_files as make

FUNGI = ["A. fumigatus", "B. dermatitidis", "C. albicans"]
Row = dict[str, Any]


def write_jsonl(folder: Path, rows: list[Row]) -> Path:
    (folder / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder / "t.jsonl"


def write_csv(folder: Path, rows: list[Row]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for r in rows for k in r)))
    writer.writeheader()
    writer.writerows(rows)
    (folder / "t.csv").write_text(text.getvalue(), encoding="utf-8")
    return folder / "t.csv"


def write_parquet(folder: Path, rows: list[Row]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "t.parquet")
    return folder / "t.parquet"


def write_xlsx(folder: Path, rows: list[Row]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    names = list(dict.fromkeys(k for r in rows for k in r))
    for cells in [names, *([row.get(name) for name in names] for row in rows)]:
        book.active.append(cells)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def samples(path: Path, **settings: Any) -> tuple[Sample, ...]:
    return TableTask(path=str(path), **settings).load(images=False).samples


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([["CT", "MRI"]], tuple(FUNGI)),  # another row's options have no letters: these are names
        ([["A. lung", "B. liver"]], ("fumigatus", "dermatitidis", "albicans")),  # every row is lettered
        ([["(A) CT", "(B) MRI"]], ("fumigatus", "dermatitidis", "albicans")),
        ([], ("fumigatus", "dermatitidis", "albicans")),
    ],
)
@pytest.mark.parametrize("form", ["list", "columns"])
def test_letters_of_names_stay_where_the_table_has_options_without_letters(
    tmp_path: Path, others: list[list[str]], expected: tuple[str, ...], form: str
) -> None:
    every = [FUNGI, *others]
    rows: list[Row] = [{"question": "Which?", "answer": "B"} for _ in every]
    for row, options in zip(rows, every, strict=True):
        row |= {"options": options} if form == "list" else dict(zip("ABC", options, strict=False))
    found = samples(write_jsonl(tmp_path, rows))
    assert found[0].choices == expected
    assert found[0].letters == ("B",)
    if others and len(expected[0]) > 10:
        assert found[1].choices == tuple(others[0])


def test_names_out_of_the_order_of_letters_are_not_put_in_order(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "answer": "C. albicans", "options": [FUNGI[2], FUNGI[0], FUNGI[1]]}]
    assert samples(write_jsonl(tmp_path, rows))[0].choices == (FUNGI[2], FUNGI[0], FUNGI[1])


def test_a_letter_and_a_name_behind_it_lose_the_letter_alone(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "answer": "A", "options": "A) A. fumigatus\nB) B. dermatitidis"}]
    assert samples(write_jsonl(tmp_path, rows))[0].choices == tuple(FUNGI[:2])


NUMBERS: list[Row] = [
    {"question": "How many?", "answer": 5.0, "patient": 1.0, "A": None, "B": None},
    {"question": "How large?", "answer": 2.5, "patient": 1.0, "A": None, "B": None},
    {"question": "Which?", "answer": 7.0, "patient": 2.0, "A": 5.0, "B": 7.0},
    {"question": "How deep?", "answer": -3.0, "patient": 2.0, "A": None, "B": None},
]


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet, write_xlsx])
def test_numbers_are_the_same_from_every_form(tmp_path: Path, write: Any) -> None:
    found = samples(write(tmp_path, NUMBERS), cluster="patient", tags=["patient"])
    assert [s.references for s in found] == [("5",), ("2.5",), ("7",), ("-3",)]
    assert [s.image_id for s in found] == ["1", "1", "2", "2"] == [s.tags["patient"] for s in found]
    assert found[2].choices == ("5", "7")


@pytest.mark.parametrize("cell", ["#REF!", "########", "02-Jan", "1.23E+12", "#N/A"])
@pytest.mark.parametrize("column", ["answer", "B"])
def test_a_cell_that_a_spreadsheet_has_replaced_is_refused(tmp_path: Path, cell: str, column: str) -> None:
    row = {"question": "Which?", "answer": "CT", "A": "CT", "B": "MRI", "note": cell} | {column: cell}
    path = write_csv(tmp_path, [{**row, "B": "MRI", "answer": "A"}, row])
    with pytest.raises(DataError, match=rf"row 3, {column} holds"):
        samples(path)
    assert len(samples(path, on_bad_row="skip")) == 1


def test_the_same_text_in_a_column_that_nobody_reads_or_in_json_is_text(tmp_path: Path) -> None:
    assert len(samples(write_csv(tmp_path, [{"question": "When?", "answer": "yes", "note": "02-Jan"}]))) == 1
    assert samples(write_jsonl(tmp_path, [{"question": "When?", "answer": "02-Jan"}]))[0].references == ("02-Jan",)


def test_an_object_of_lists_is_a_table_with_its_keys_as_columns(tmp_path: Path) -> None:
    row = {"question": "Is it?", "answer": "yes"}
    (tmp_path / "t.json").write_text(json.dumps({"train": [row], "test": [row, row]}), encoding="utf-8")
    found = samples(tmp_path / "t.json", columns={"split": "key_1"})
    assert [s.id for s in found] == ["2", "3"]
    for other in ({"a": [row], "b": {"c": [row]}}, {"a": 1, "b": [row]}, {"a": [1, 2]}, {"a": []}):
        (tmp_path / "t.json").write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(DataError, match="expected a table"):
            samples(tmp_path / "t.json")


def turns(*texts: str) -> list[Row]:
    return [{"from": who, "value": text} for who, text in zip(("human", "gpt") * 2, texts, strict=False)]


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_a_conversation_is_a_question_and_an_answer(tmp_path: Path, write: Any) -> None:
    rows = [{"id": "x", "conversations": turns("<image>\nIs it large?", "yes")}]
    (found,) = samples(write(tmp_path, rows))
    assert (found.id, found.question, found.references) == ("x", "Is it large?", ("yes",))


@pytest.mark.parametrize("bad", [turns("Is it?"), turns("Is it?", "yes", "And?", "no"), turns(), "text"], ids=len)
def test_other_conversations_are_bad_rows(tmp_path: Path, bad: Any) -> None:
    path = write_jsonl(tmp_path, [{"conversations": turns("Is it?", "yes")}, {"conversations": bad}])
    with pytest.raises(DataError, match="row 2, question: conversations"):
        samples(path)
    loaded = TableTask(path=str(path), on_bad_row="skip").load(images=False)
    assert (len(loaded.samples), len(loaded.skipped)) == (1, 1)


@pytest.mark.parametrize(
    ("question", "text", "options"),
    [
        ("Which? <A> CT, <B> MRI", "Which?", ("CT", "MRI")),
        ("Which?\nA. CT\nB. MRI\nC. none", "Which?", ("CT", "MRI", "none")),
        ("Which? (A) CT; (B) MRI", "Which? (A) CT; (B) MRI", ()),  # no break before the first letter: not taken apart
        ("Is vitamin A. good?", "Is vitamin A. good?", ()),
        ("Is it?", "Is it?", ()),
    ],
)
def test_options_at_the_end_of_questions(tmp_path: Path, question: str, text: str, options: tuple[str, ...]) -> None:
    rows = [{"question": question, "answer": options[1] if options else "yes"}]
    (found,) = samples(write_jsonl(tmp_path, rows), columns={"choices": "question"})
    assert (found.question, found.choices) == (text, options)


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{question}\n{options:(A)}", "Which?\n(A) CT\n(B) MRI"),
        ("{question}\n{options:<A>}", "Which?\n<A> CT\n<B> MRI"),
        ("{question}\n{options}", "Which?\nA. CT\nB. MRI"),
    ],
)
def test_a_template_writes_letters_as_it_says(tmp_path: Path, template: str, shown: str) -> None:
    task = TableTask(
        path=str(write_jsonl(tmp_path, [{"question": "Which?", "answer": "A", "options": ["CT", "MRI"]}])),
        template=template,
    )
    (message,) = task.messages(task.load(images=False).samples[0])
    assert message.content == (shown,)


@pytest.mark.parametrize(
    "template", ["{question:A}", "{question!r}", "{question}{options!r:(A)}", "{question}{options:x}"]
)
def test_other_formats_of_fields_are_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="a field is its name alone"):
        TableTask(path="x.csv", template=template)


@pytest.mark.parametrize("n", [3, 5000])
def test_cells_that_are_merged_downwards_have_the_value_that_a_reader_sees(tmp_path: Path, n: int) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["patient", "question", "answer", "note"])
    for k in range(n):
        book.active.append(["P1" if not k else None, f"Is it {k}?", "yes", "wide" if not k else None])
    book.active.append(["P2", "And this?", "no", None])
    book.active.merge_cells(f"A2:A{n + 1}")
    book.active.merge_cells("D2:E2")
    book.save(tmp_path / "t.xlsx")
    loaded = TableTask(path=str(tmp_path / "t.xlsx"), cluster="patient").load(images=False)
    assert [s.image_id for s in loaded.samples] == ["P1"] * n + ["P2"]
    assert any(f"{n - 1} cells that are merged" in note for note in loaded.notes)


def test_an_empty_cell_that_is_not_merged_stays_empty(tmp_path: Path) -> None:
    rows = [{"patient": "P1", "question": "a?", "answer": "yes"}, {"patient": None, "question": "b?", "answer": "no"}]
    with pytest.raises(DataError, match="row 3, patient is empty"):
        samples(write_xlsx(tmp_path, rows), cluster="patient")


def test_dicom_files_in_an_archive_are_found(tmp_path: Path) -> None:
    import zipfile

    from evalkit.core.images import open_image

    pytest.importorskip("pydicom")
    make.write(tmp_path / "scan.dcm", make.ramp(20, 30))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(tmp_path / "scan.dcm", "ct/scan.dcm")
    (tmp_path / "scan.dcm").unlink()
    path = write_jsonl(tmp_path, [{"question": "Is it?", "answer": "yes", "image": "ct/scan.dcm"}])
    (sample,) = TableTask(path=str(path)).load().samples
    assert open_image(sample.images[0]).size == (30, 20)
