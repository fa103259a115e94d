"""Assignment of columns to id, question, reference and prediction."""

import json

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.importers import read_answers


def read(tmp_path, record, **named):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(record) + "\n")
    a = read_answers(path, **named).answers[0]
    return a.id, a.question, a.reference, a.text


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": 1, "prediction": "p"}, ("1", None, None, "p")),
        ({"qid": "1", "question": "q", "answer": "gold", "pred": "p"}, ("1", "q", "gold", "p")),
        ({"index": 1.0, "question": "q", "gt": "gold", "answer": "p"}, ("1", "q", "gold", "p")),
        ({"question_id": 1, "answer": "p"}, ("1", None, None, "p")),
        ({"Question ID": 1, "Model Answer": "p", "Answer": "gold"}, ("1", None, "gold", "p")),
        ({"question": "q", "response": "p", "answer": 3}, (None, "q", "3", "p")),
        ({"question": "q", "output": ["p"], "answers": ["g", "h"]}, (None, "q", "g", "p")),
        ({"id": 1, "text": "raw", "prediction": "p"}, ("1", None, None, "p")),
        ({"sample_id": "a", "id": "b", "text": "p"}, ("a", None, None, "p")),
        ({"prediction": "p", "label": "g"}, (None, None, "g", "p")),
    ],
)
def test_the_usual_names_are_guessed(tmp_path, record, expected):
    assert read(tmp_path, record) == expected


def test_named_columns_take_precedence_and_may_be_fields_of_objects(tmp_path):
    record = {"id": 1, "doc": {"qid": 7, "q": "q"}, "a": "p", "prediction": "x"}
    assert read(tmp_path, record, id="doc.qid", question="doc.q", prediction="a") == ("7", "q", None, "p")
    assert read(tmp_path, record | {"label": "0"}, reference="") == ("1", None, None, "x")


def test_the_choice_of_columns_is_noted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"qid": 1, "answer": "g", "pred": "p"}\n')
    assert "columns read as id=qid, prediction=pred, reference=answer" in read_answers(path).notes


@pytest.mark.parametrize(
    ("record", "named", "message"),
    [
        # the dataset itself, given as predictions, would score 100 %
        ({"qid": 0, "question": "q", "answer": "yes", "answer_type": "CLOSED"}, {}, "may contain the gold answers"),
        ({"question": "q", "answer": "yes"}, {}, "may contain the gold answers"),
        ({"id": 0, "pred": "a", "prediction": "b"}, {}, "pred and prediction could each be"),
        ({"id": 0, "hit": 1}, {}, "looks like a prediction"),
        ({"id": 0, "prediction": "yes"}, {"prediction": "predicton"}, "Did you mean 'prediction'"),
        ({"id": 0, "prediction": "yes"}, {"id": "qid"}, "id=qid"),
    ],
)
def test_ambiguous_columns_are_refused_with_the_setting_that_decides(tmp_path, record, named, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, record, **named)


def test_answer_named_as_the_prediction_is_taken(tmp_path):
    record = {"qid": 0, "question": "q", "answer": "yes", "answer_type": "CLOSED"}
    assert read(tmp_path, record, prediction="answer") == ("0", "q", None, "yes")


def test_llava_med_answers_are_recognised(tmp_path):
    record = {"question_id": 10, "prompt": "Is it?\n<image>", "text": "Assistant: no", "answer_id": "x", "metadata": {}}
    path = tmp_path / "answers-model.jsonl"
    path.write_text(json.dumps(record) + "\n")
    file = read_answers(path)
    assert file.format == "llava-med"
    assert (file.answers[0].id, file.answers[0].text) == ("10", "Assistant: no")
    assert read_answers(path, prediction="answer_id").answers[0].text == "x"


OWN = {
    "sample_id": "10", "image_id": "i", "question": "Is it?", "references": ["no"], "answer_type": "CLOSED",
    "text": "no", "error": None, "finish_reason": "stop", "n_tokens": 2, "seconds": 0.25, "fingerprint": "ab",
}  # fmt: skip


def test_our_own_file_keeps_every_field_and_drops_a_torn_last_line(tmp_path):
    path = tmp_path / "predictions.jsonl"
    failed = OWN | {"sample_id": "11", "text": None, "error": "out of memory", "finish_reason": "error"}
    path.write_text(json.dumps(OWN) + "\n" + json.dumps(failed) + "\n" + json.dumps(OWN)[:40])
    file = read_answers(tmp_path)  # a run folder is accepted
    assert file.format == "evalkit" and any("line 3 is incomplete and was dropped" in n for n in file.notes)
    first, second = file.answers
    assert (first.finish_reason, first.n_tokens, first.seconds, first.fingerprint) == ("stop", 2, 0.25, "ab")
    assert (second.text, second.error) == (None, "out of memory")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": "both"}, "exactly one of text and error"),
        ({"text": None}, "exactly one of text and error"),
        ({"finish_reason": "eos"}, "finish_reason 'eos'"),
        ({"n_tokens": "2"}, "n_tokens: expected a number"),
    ],
)
def test_our_own_file_is_checked(tmp_path, change, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(OWN | change) + "\n")
    with pytest.raises(DataError, match=message):
        read_answers(path)


def test_columns_cannot_be_named_for_our_own_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(OWN) + "\n")
    with pytest.raises(ConfigError, match="format=plain"):
        read_answers(path, prediction="text")
    assert read_answers(path, format="plain", prediction="text").answers[0].text == "no"
