"""What only a whole table shows, and rows whose options or images are there in part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, CLOSED, OPEN, Sample
from evalkit.tasks.table.task import TableTask

FUNGI = ("A. fumigatus", "B. dermatitidis", "C. albicans")
Row = dict[str, Any]


def read(folder: Path, rows: list[Row], **settings: Any) -> tuple[Sample, ...]:
    (folder / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    return TableTask(path=str(folder / "t.json"), **settings).load(images=False).samples


def choice(options: Any, answer: Any = "B", **more: Any) -> Row:
    return {"question": "Which?", "options": options, "answer": answer, **more}


AS_TEXT = "\n".join(FUNGI)
AS_OBJECT = dict(zip("ABC", FUNGI, strict=True))


@pytest.mark.parametrize(
    "form", [list(FUNGI), json.dumps(FUNGI), str(list(FUNGI)), AS_TEXT, "|".join(FUNGI), AS_OBJECT]
)
@pytest.mark.parametrize(
    ("other", "answer"),
    [
        ("CT\nMRI", "B"),
        ({"A": "CT", "B": "MRI"}, "B"),
        (["C. albicans", "E. coli"], "B"),  # letters that are no A, B, C ... in order
        (["B. fragilis", "A. baumannii"], "B. fragilis"),
        (["A. fumigatus", "C. albicans"], "B"),
        ("E. coli\nS. aureus", "B"),
    ],
)
def test_letters_of_names_stay_in_every_form_where_another_row_shows_that_they_are_none_of_options(
    tmp_path: Path, form: Any, other: Any, answer: str
) -> None:
    for rows in ([choice(form), choice(other, answer)], [choice(other, answer), choice(form)]):
        found = [s for s in read(tmp_path, rows) if len(s.choices) == 3]
        assert [(s.choices, s.letters) for s in found] == [(FUNGI, ("B",))]


@pytest.mark.parametrize("other", [["A. lung", "B. liver"], "(A) CT\n(B) MRI", "<A> CT, <B> MRI", ["B. CT", "A. MRI"]])
def test_letters_of_options_go_where_every_row_has_them(tmp_path: Path, other: Any) -> None:
    first = read(tmp_path, [choice(list(FUNGI)), choice(other)])[0]
    assert first.choices == ("fumigatus", "dermatitidis", "albicans")


@pytest.mark.parametrize(
    "options",
    [
        '{"A": "CT", "B": "MRI"}',
        "{'A': 'CT', 'B': 'MRI'}",
        [{"label": "A", "text": "CT"}, {"label": "B", "text": "MRI"}],
        [{"letter": "B", "content": "MRI"}, {"letter": "A", "content": "CT"}],
        '[{"key": "A", "value": "CT"}, {"key": "B", "value": "MRI"}]',
        {"label": ["A", "B"], "text": ["CT", "MRI"]},
        {"text": ["MRI", "CT"], "label": ["B", "A"]},
    ],
    ids=repr,
)
def test_objects_of_labels_and_texts(tmp_path: Path, options: Any) -> None:
    (sample,) = read(tmp_path, [choice(options)])
    assert (sample.choices, sample.references) == (("CT", "MRI"), ("MRI",))


@pytest.mark.parametrize(
    "options",
    [
        [{"label": "A", "text": "CT"}, {"label": "A", "text": "MRI"}],
        [{"label": "A", "text": "CT", "right": True}, {"label": "B", "text": "MRI", "right": False}],
        {"label": ["A", "B"], "text": ["CT"]},
        {"0": "CT", "1": "MRI"},
        "{A: CT}",
        [["A", "CT"], ["B", "MRI"]],
    ],
    ids=repr,
)
def test_objects_that_are_no_options_are_refused(tmp_path: Path, options: Any) -> None:
    with pytest.raises(DataError, match="row 1"):
        read(tmp_path, [choice(options)])


@pytest.mark.parametrize(
    "options", ["A.\nB. MRI\nC. US", "A. CT\nB. \nC. US", ["A. CT", "B. ", "C. US"], ["(A) CT", "(B)", "(C) x"]]
)
def test_a_letter_without_a_text_is_an_empty_option(tmp_path: Path, options: Any) -> None:
    with pytest.raises(DataError, match=r"option [AB] is empty"):
        read(tmp_path, [choice(options, "C")])


@pytest.mark.parametrize("options", ["A. CT\nB. MRI\nC.", ["A. CT", "B. MRI", "C. "], ["A. CT", "B. MRI", ""]])
def test_letters_without_a_text_at_the_end_are_no_options(tmp_path: Path, options: Any) -> None:
    assert read(tmp_path, [choice(options)])[0].choices == ("CT", "MRI")


def test_letters_alone_are_texts(tmp_path: Path) -> None:
    assert read(tmp_path, [choice(["A.", "B."])])[0].choices == ("A.", "B.")


@pytest.mark.parametrize("last", ["Answer with the letter.", "none of these"])
def test_a_line_behind_the_last_option_is_refused(tmp_path: Path, last: str) -> None:
    text = f"A. CT\nB. MRI\n{last}"
    with pytest.raises(DataError, match=last):
        read(tmp_path, [choice(text)])
    with pytest.raises(DataError, match=r"task\.cut"):
        read(tmp_path, [{"question": f"Which?\n{text}", "answer": "B"}], columns={"choices": "question"})
    row = {"question": f"Which?\n{text}", "answer": "B"}
    assert read(tmp_path, [row], columns={"choices": "question"}, cut=last)[0].choices == ("CT", "MRI")


def test_options_of_several_lines_each_are_read(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, [choice("A. CT\nplain\nB. MRI\nT2")])
    assert sample.choices == ("CT\nplain", "MRI\nT2")


@pytest.mark.parametrize(
    ("question", "answer"),
    [("Which?\nA. CT\nB. MRI", "b"), ("Which?\n1. CT\n2. MRI", "2"), ("Which? <A> CT, <B> MRI", "A")],
)
def test_a_label_of_an_option_in_the_question_is_no_open_answer(tmp_path: Path, question: str, answer: str) -> None:
    rows = [{"question": question, "answer": answer}, {"question": "Where?", "answer": "in the lung"}]
    with pytest.raises(DataError, match=r"row 1.*task\.columns\.choices"):
        read(tmp_path, rows)
    assert read(tmp_path, rows, columns={"choices": None})[0].references == (answer,)
    if answer == "2":
        with pytest.raises(DataError, match="read there by letters"):
            read(tmp_path, rows, columns={"choices": "question"})
    else:
        assert read(tmp_path, rows, columns={"choices": "question"})[0].answer_type == CHOICE


@pytest.mark.parametrize("answers", [("A", "B"), ("c", "D", "A"), (["A", "B"], "C")])
def test_letters_without_options_anywhere_are_refused(tmp_path: Path, answers: tuple[Any, ...]) -> None:
    rows = [{"question": f"Which {k}?", "answer": a} for k, a in enumerate(answers)]
    with pytest.raises(DataError, match="no column of options was found"):
        read(tmp_path, rows)
    assert len(read(tmp_path, rows, columns={"choices": None})) == len(rows)


@pytest.mark.parametrize("answers", [("A", "lung"), ("R", "L"), ("T1", "T2"), ("2", "3"), ("A",), ("B", "B")])
def test_other_short_answers_are_open(tmp_path: Path, answers: tuple[str, ...]) -> None:
    found = read(tmp_path, [{"question": "What is it?", "answer": a} for a in answers])
    assert [(s.references, s.answer_type) for s in found] == [((a,), OPEN) for a in answers]


@pytest.mark.parametrize(("yes", "no"), [("y", "n"), ("Y", "N"), ("t", "F")])
def test_a_pair_of_letters_is_yes_and_no(tmp_path: Path, yes: str, no: str) -> None:
    rows = [{"question": "Is it?", "answer": a} for a in (yes, no)] + [{"question": "Where?", "answer": "chest"}]
    found = read(tmp_path, rows)
    assert [(s.references, s.answer_type) for s in found] == [(("yes",), CLOSED), (("no",), CLOSED), (("chest",), OPEN)]
    one = read(tmp_path, [{"question": "Which letter is shown?", "answer": a} for a in (no, "R")])
    assert [s.references for s in one] == [(no,), ("R",)]


@pytest.mark.parametrize("names", [("A", "B", "D"), ("option_a", "option_b", "option_d"), ("opt1", "opt2", "opt4")])
def test_a_gap_in_the_columns_of_options_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    row = {"question": "Which?", "answer": "CT", **dict(zip(names, ("CT", "MRI", "US"), strict=True))}
    with pytest.raises(DataError, match="look like options"):
        read(tmp_path, [row])
    assert len(read(tmp_path, [row], columns={"choices": list(names)})[0].choices) == 3


def test_columns_of_other_letters_are_no_gap(tmp_path: Path) -> None:
    row = {"question": "Which?", "answer": "B", "A": "CT", "B": "MRI", "N": "12", "P": "0.5"}
    assert read(tmp_path, [row])[0].choices == ("CT", "MRI")


@pytest.mark.parametrize("names", [("opt1", "opt2"), ("opt_a", "opt_b"), ("Opt A", "Opt B")])
def test_columns_opt_are_options(tmp_path: Path, names: tuple[str, str]) -> None:
    (sample,) = read(tmp_path, [{"question": "q?", names[0]: "CT", names[1]: "MRI", "answer": "MRI"}])
    assert sample.letters == ("B",)


@pytest.mark.parametrize("blank", [None, "", {"bytes": None, "path": None}])
def test_an_image_that_is_missing_before_another_is_refused(tmp_path: Path, blank: Any) -> None:
    row = {"question": "Is it?", "answer": "yes"}
    with pytest.raises(DataError, match="image 2 of the list is empty"):
        read(tmp_path, [{**row, "image": ["a.png", blank, "b.png"]}])
    assert len(read(tmp_path, [{**row, "image": ["a.png", "b.png", blank]}])[0].images) == 2


@pytest.mark.parametrize("text", ["question", "options"])
def test_numbers_of_images_are_those_of_the_columns(tmp_path: Path, text: str) -> None:
    images = {"image_1": "a.png", "image_2": None, "image_3": "b.png"}
    row = {"question": "Which?", "answer": "A", "options": ["one", "two"], **images}
    marked = row | (
        {"question": "What is in <image 2>?"} if text == "question" else {"options": ["<image 1>", "<image 2>"]}
    )
    with pytest.raises(DataError, match="image_2 is empty"):
        read(tmp_path, [marked])
    assert len(read(tmp_path, [row])[0].images) == 2
    assert len(read(tmp_path, [{**marked, "image_2": "b.png", "image_3": ""}])[0].images) == 2
