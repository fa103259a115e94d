"""Choice of the columns of a table."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.tasks.table.columns import choose


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["question", "answer"], {"images": (), "choices": (), "id": None}),
        (["Question", "Answer", "Figure_path"], {"question": "Question", "images": ("Figure_path",)}),
        (["index", "image", "question", "A", "B", "C", "D", "answer"], {"id": "index", "choices": tuple("ABCD")}),
        (["question", "answer", "option_a", "option_b"], {"choices": ("option_a", "option_b")}),
        (["Question", "Choice A", "Choice B", "Answer"], {"choices": ("Choice A", "Choice B")}),
        (["question", "opa", "opb", "opc", "cop"], {"choices": ("opa", "opb", "opc"), "answer": "cop"}),
        (["question", "answer", "image_2", "image_1", "image_10"], {"images": ("image_1", "image_2", "image_10")}),
        (["question", "answer", "image_1"], {"images": ()}),
        (["question", "answer", "A"], {"choices": ()}),
        (["question", "answer", "A", "C"], {"choices": ()}),
        (["question", "options", "answer", "split", "q_lang"], {"choices": ("options",), "language": "q_lang"}),
        (["question", "answer", "answer_type", "question_type"], {"type": "answer_type"}),
        (["query", "gt_answer", "file_name"], {"question": "query", "answer": "gt_answer", "images": ("file_name",)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usual_names_are_recognised(names: list[str], expected: dict[str, Any]) -> None:
    found = choose(names, {}, "t.csv")
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["frage", "answer"], "no column for the question; the table has frage, answer"),
        (["question", "antwort"], "no column for the answer.*task.columns.answer=NAME"),
        (["question", "Question ", "answer"], "could both be the question"),
        ([], "the table has none"),
    ],
)
def test_tables_without_a_clear_question_or_answer_are_refused(names: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        choose(names, {}, "t.csv")


def test_named_columns_are_used_and_null_means_none() -> None:
    names = ["frage", "answer", "antwort", "bild", "A", "B", "type"]
    given = {"question": "frage", "answer": "antwort", "image": ["bild"], "choices": None, "type": None}
    found = choose(names, given, "t.csv")
    assert (found.question, found.answer, found.images, found.choices, found.type) == (
        "frage", "antwort", ("bild",), (), None,
    )  # fmt: skip
    assert "not read: answer, A, B, type" in found.described(names, {})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"quesion": "q"}, "Unknown field task.columns.quesion.*question"),
        ({"question": "qestion"}, "no such column.*question"),
        ({"question": ["question", "answer"]}, "must be one column"),
        ({"image": ["question", "question"]}, "named twice"),
        ({"question": "answer", "answer": "answer"}, "named as the question and as the answer"),
    ],
)
def test_unknown_fields_and_columns_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        choose(["question", "answer"], given, "t.csv")
