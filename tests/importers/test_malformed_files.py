"""Irregular and malformed JSON, JSON lines and tables."""

import json
import pickle

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.importers import read_answers

ROWS = [
    {"id": 0, "question": "Is it?", "prediction": "yes"},
    {"id": 1, "question": "Where?", "prediction": "left lobe"},
]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(file):
    return [(a.id, a.text) for a in file.answers]


EXPECTED = [("0", "yes"), ("1", "left lobe")]
LINES = "\n".join(json.dumps(r) for r in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("a.jsonl", LINES + "\n", None),
        ("no-newline-at-the-end.jsonl", LINES, None),
        ("a.json", json.dumps(ROWS), None),
        ("pretty.json", json.dumps(ROWS, indent=2), None),
        ("array.jsonl", json.dumps(ROWS), "JSON array"),
        ("lines.json", LINES + "\n", "JSON lines"),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES.encode(), "byte order mark"),
        ("utf16.jsonl", LINES.encode("utf-16"), "UTF-16"),
        ("crlf.jsonl", LINES.replace("\n", "\r\n") + "\r\n", None),
        ("blank-lines.jsonl", "\n\n" + LINES.replace("\n", "\n\n"), None),
        ("comma-array.json", json.dumps(ROWS)[:-1] + ",\n]", "trailing commas"),
        ("comma-object.json", json.dumps(ROWS).replace("}", ",}"), "trailing commas"),
        ("comma-lines.jsonl", LINES.replace("}", "},"), "trailing commas"),
        ("under.json", json.dumps({"model": "m", "predictions": ROWS}), "in 'predictions'"),
        ("object.json", json.dumps({"0": "yes", "1": "left lobe"}), "id -> answer"),
        ("objects.json", json.dumps({"0": {"prediction": "yes"}, "1": {"prediction": "left lobe"}}), "id -> record"),
        ("a.csv", "id,question,prediction\r\n0,Is it?,yes\r\n1,Where?,left lobe\r\n", None),
        ("a.tsv", "id\tquestion\tprediction\n0\tIs it?\tyes\n1\tWhere?\tleft lobe\n", None),
        ("semicolons.csv", "id;prediction\n0;yes\n1;left lobe\n", None),
        ("pandas-index.csv", ",id,prediction\n7,0,yes\n8,1,left lobe\n", None),
        ("table.txt", b"\xef\xbb\xbfid,prediction\n0,yes\n1,left lobe\n", "byte order mark"),
    ],
)
def test_all_encodings_of_the_same_answers_are_read_alike(tmp_path, name, content, note):
    file = read_answers(write(tmp_path, name, content))
    assert texts(file) == EXPECTED
    assert note is None or any(note in n for n in file.notes)


def test_texts_such_as_none_stay_texts_and_null_is_an_error(tmp_path):
    answers = ["None", "NA", "nan", "null", "", " ", None, float("nan"), 0, 1.0, "007"]
    lines = "\n".join(json.dumps({"id": i, "prediction": a}) for i, a in enumerate(answers))
    file = read_answers(write(tmp_path, "a.jsonl", lines))
    assert [a.text for a in file.answers] == ["None", "NA", "nan", "null", "", " ", None, None, "0", "1", "007"]
    assert [a.error for a in file.answers if a.text is None] == ["null answer"] * 2
    assert "NaN read as null" in file.notes


def test_table_cells_stay_texts_and_empty_cells_are_counted(tmp_path):
    file = read_answers(write(tmp_path, "a.csv", 'id,prediction\n0,NA\n1,None\n2,007\n3,\n4,"a ""b"", c\r\nd"\n'))
    assert [a.text for a in file.answers] == ["NA", "None", "007", "", 'a "b", c\r\nd']
    assert any("1 empty cells" in n for n in file.notes)


def test_a_record_without_the_prediction_is_an_error_of_that_row(tmp_path):
    file = read_answers(write(tmp_path, "a.jsonl", '{"id": 0, "prediction": "x"}\n{"id": 1}\n'))
    assert [a.error for a in file.answers] == [None, "no 'prediction' in the record"]


def test_role_prefixes_and_odd_characters_are_kept(tmp_path):
    odd = "Assistant: line\u2028separator \x0b\x85 \ud83d\ude00"
    path = write(tmp_path, "a.jsonl", json.dumps({"id": 0, "prediction": odd}, ensure_ascii=True))
    assert read_answers(path).answers[0].text == "Assistant: line\u2028separator \x0b\x85 😀"
    raw = json.dumps({"id": 0, "prediction": "a\u2028b\x85c"}, ensure_ascii=False)
    assert read_answers(write(tmp_path, "b.jsonl", raw + "\n")).answers[0].text == "a\u2028b\x85c"


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": 0, "prediction": "x\\ud83d"}\n')
    assert read_answers(path).answers[0].text == "x\ufffd"


def test_commas_inside_answers_survive_the_removal_of_trailing_commas(tmp_path):
    path = write(tmp_path, "a.json", '[{"id": 0, "prediction": "a,] \\",} b",},]')
    assert read_answers(path).answers[0].text == 'a,] ",} b'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "is empty"),
        ("blank.jsonl", " \n", "white space"),
        ("empty.json", "[]", "no answers"),
        ("header.csv", "id,prediction\n", "no answers"),
        ("doubled.json", '{"0": "yes", "1": "left", "0": "no"}', "the key '0' occurs twice in one object"),
        ("doubled-lines.json", '{"0": "yes",\n"1": "left",\n"0": "no"}', "line 3: the key '0' occurs twice"),
        (
            "doubled.jsonl",
            LINES + '\n{"id": 2, "prediction": "a", "prediction": "b"}\n',
            "line 3: the key 'prediction'",
        ),
        ("doubled-array.json", '[{"id": 0, "prediction": "a", "prediction": "b",},]', "the key 'prediction' occurs"),
        ("doubled-tail.json", '[{"id": 0, "id": 1}], {}', "the key 'id' occurs twice"),
        ("torn.jsonl", LINES[:-9], "line 2, the last one, is incomplete"),
        ("broken.jsonl", LINES.replace("}", "", 1) + "\n", "line 1 is not JSON"),
        ("torn.json", json.dumps(ROWS)[:-5], "malformed JSON"),
        ("torn-pretty.json", json.dumps({"a": ROWS}, indent=1)[:-9], "malformed JSON"),
        ("tail.json", json.dumps(ROWS) + json.dumps(ROWS), "follows the end"),
        ("strings.json", '["yes", "no"]', "item 1 is str"),
        ("latin1.csv", "id,prediction\n0,caf\xe9\n".encode("latin-1"), "byte 19 (line 2) is not UTF-8"),
        ("zeros.txt", b"i\x00d\x00,\x00", "zero bytes"),
        ("prose.txt", "the model said yes", "neither JSON nor a table"),
        ("ragged.csv", "id,prediction\n0,left, lower lobe\n", "line 2 has 3 fields"),
        ("short.csv", "id,prediction\n0\n", "line 2 has 1 fields"),
        ("quotes.csv", 'id,prediction\n0,"left\n', "line 2"),
        ("twice.csv", "id,prediction,prediction\n0,a,b\n", "more than once"),
        ("deep.json", "[" * 100_000, "nested too deeply"),
        ("endless.json", '[{"id": 0, "prediction": ' + "1" * 5000 + "}]", "number that is too long"),
        ("nested.jsonl", '{"id": 0, "prediction": {"text": "x"}}\n', "found dict"),
        ("many.jsonl", '{"id": 0, "prediction": ["x", "y"]}\n', "list of 2"),
        ("boolean.jsonl", '{"id": true, "prediction": "x"}\n', "an id cannot be True"),
        ("answers.pkl", pickle.dumps(ROWS), "not opened"),
        ("pickle-called.json", pickle.dumps(ROWS), "not opened"),
    ],
)
def test_unreadable_files_are_refused_by_name(tmp_path, name, content, message):
    with pytest.raises(DataError) as e:
        read_answers(write(tmp_path, name, content))
    assert message in str(e.value) and name in str(e.value)


def test_a_missing_file_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_answers(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="contains none of them"):
        read_answers(tmp_path)
    with pytest.raises(ConfigError, match="llava-med"):
        read_answers(tmp_path, format="lava-med")


def test_a_repeated_row_is_merged_and_two_answers_to_one_id_are_refused(tmp_path):
    same = read_answers(write(tmp_path, "same.jsonl", LINES + "\n" + LINES))
    assert texts(same) == EXPECTED and any("2 rows repeat" in n for n in same.notes)
    other = LINES + "\n" + LINES.replace("yes", "no").replace('"id": 1', '"id": "1"').replace("left", "right")
    with pytest.raises(
        DataError, match=r"2 ids have two answers with different texts.*0 \(rows 1 and 3\), 1 \(rows 2 and 4\)"
    ):
        read_answers(write(tmp_path, "other.jsonl", other))


def test_an_answer_replaces_an_error_for_the_same_id(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": 0, "prediction": null}\n{"id": 0, "prediction": "yes"}\n')
    file = read_answers(path)
    assert texts(file) == [("0", "yes")] and any("both an error and an answer" in n for n in file.notes)


def test_failure_texts_of_the_harnesses_are_errors_and_not_answers(tmp_path):
    failures = ["Failed to obtain answer via API.", "[LMMS_EVAL_REQUEST_FAILED after 5 retries] timeout", "Failed"]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"id": i, "pred": t}) for i, t in enumerate(failures)))
    assert [a.text for a in read_answers(path).answers] == [None, None, "Failed"]
