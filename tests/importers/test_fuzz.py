"""Any file content is either read or refused with an evalkit error; no other exception is raised."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core.errors import EvalkitError
from evalkit.importers import FORMATS, AnswerFile, read_answers

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
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["human", "prediction"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


def read(path, **named):
    try:
        return read_answers(path, **named)
    except EvalkitError as e:
        assert str(path.name) in str(e)
        return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "answers.json"


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.binary(max_size=30).map(lambda b: b"PK\x03\x04" + b)
)
def test_any_bytes(path, content):
    path.write_bytes(content)
    read(path)


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=150, deadline=None)
@given(st.tuples(VALUES, VALUES, VALUES), st.sampled_from([helm, inspect]))
def test_right_frames_with_any_values(path, value, frame):
    path.write_text(json.dumps(frame(value)))
    read(path)
