"""Any file content is either read or refused with an evalkit error; no other exception is raised."""

import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.importers import FORMATS, AnswerFile, read_answers
from tests.support.fuzzing import EDITS, edited, examples, json_values, value_or_error

KEYS = [
    "id",
    "question_id",
    "doc_id",
    "index",
    "sample_id",
    "question",
    "prompt",
    "qs",
    "text",
    "error",
    "prediction",
    "answer",
    "response",
    "correct",
    "resps",
    "filtered_resps",
    "target",
    "doc",
    "input",
    "conversations",
    "from",
    "value",
    "request_states",
    "instance",
    "references",
    "output",
    "tags",
    "result",
    "completions",
    "success",
    "finish_reason",
    "reason",
    "eval",
    "samples",
    "epoch",
    "choices",
    "message",
    "content",
    "usage",
    "image_path",
    "fingerprint",
]
VALUES = json_values(KEYS) | st.sampled_from(["human", "prediction"])


def read(path, **named):
    return value_or_error(lambda: read_answers(path, **named), path.name)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "answers.json"


@settings(max_examples=examples(100), deadline=None)
@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.binary(max_size=30).map(lambda b: b"PK\x03\x04" + b)
)
def test_any_bytes(path, content):
    path.write_bytes(content)
    read(path)


@settings(max_examples=examples(150), deadline=None)
@given(VALUES, st.sampled_from([*FORMATS, "auto"]))
def test_any_json(path, value, name):
    path.write_text(json.dumps(value))
    file = read(path, format=name)
    assert file is None or (isinstance(file, AnswerFile) and file.answers)


FIELDS = {
    "evalkit": ("sample_id", "text", "error", "references", "n_tokens", "seconds", "fingerprint", "finish_reason"),
    "lmms-eval": ("doc_id", "target", "filtered_resps", "resps", "input"),
    "lm-eval": ("doc_id", "target", "filtered_resps", "resps", "doc"),
    "intelliscope": ("id", "conversations"),
    "plain": ("id", "question", "prediction", "answer"),
}


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_right_keys_with_any_values(path, data):
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    rows = data.draw(st.lists(st.fixed_dictionaries({k: VALUES for k in FIELDS[name]}), min_size=1, max_size=3))
    path.write_text(json.dumps(rows))
    read(path, format=name)


def helm(value):
    state = {"instance": {"id": 1, "input": value[0], "references": value[1]}, "result": value[2]}
    return {"request_states": [state]}


def inspect(value):
    return {"eval": {}, "samples": [{"id": 1, "input": value[0], "target": value[1], "output": value[2]}]}


@settings(max_examples=examples(150), deadline=None)
@given(st.tuples(VALUES, VALUES, VALUES), st.sampled_from([helm, inspect]))
def test_right_frames_with_any_values(path, value, frame):
    path.write_text(json.dumps(frame(value)))
    read(path)


def parquet():
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    answers = pa.array(["yes", "left lobe", None]).dictionary_encode()
    pq.write_table(pa.table({"id": [1, 2, 3], "prediction": answers, "tags": [["a"], [], None]}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        parquet(),
        b'id,question,prediction\r\n0,Is it?,yes\r\n1,"Where, then?","a ""b"", c\r\nd"\r\n',
        "id\tprediction\n0\tNA\n1\t=1+1\n2\té\n".encode("utf-16"),
    ],
    ids=["parquet", "CSV", "UTF-16"],
)
@settings(max_examples=examples(150), deadline=None)
@given(edits=EDITS)
def test_an_edited_table(path, content, edits):
    path.write_bytes(edited(content, edits))
    read(path)


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "-1", "true", '"3"', "[]"])
@pytest.mark.parametrize("frame", [helm, inspect])
def test_a_time_that_is_no_number_is_left_out(path, frame, number):
    content = frame((None, None, None))
    if frame is helm:
        content["request_states"][0]["result"] = {"success": True, "completions": [{"text": "a"}], "request_time": 0}
    else:
        content["samples"][0]["output"] = {"completion": "a", "time": 0}
    path.write_text(
        json.dumps(content)
        .replace('"request_time": 0', f'"request_time": {number}')
        .replace('"time": 0', f'"time": {number}')
    )
    (answer,) = read(path).answers
    assert answer.text == "a" and (answer.seconds is None or math.isfinite(answer.seconds))
    assert (answer.seconds is None) == (number != "-1")
