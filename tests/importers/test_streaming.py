"""Files that are read line by line, or an object at a time, give what the reader of a whole text gives."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from evalkit.core.errors import DataError
from evalkit.records import json_array, tables, text
from evalkit.records.load import load, parse_text

ONE, TWO = '{"id": "a", "prediction": "yes"}', '{"id": "b", "prediction": "é\u2028no"}'
FILES = {
    "plain": f"{ONE}\n{TWO}\n",
    "no last line break": f"{ONE}\n{TWO}",
    "line breaks of Windows": f"{ONE}\r\n{TWO}\r\n",
    "blank lines": f"{ONE}\n\n  \n{TWO}\n\n",
    "blank end": f"{ONE}\n{TWO}\n  ",
    "commas at the ends": f"{ONE},\n{TWO},\n",
    "trailing commas inside": ONE[:-1] + ",}\n" + TWO + "\n",
    "NaN": ONE[:-1] + ', "score": NaN}\n' + TWO + "\n",
    "torn": f"{ONE}\n{TWO[:20]}",
    "torn before blanks": f"{ONE}\n{TWO[:20]}\n   ",
    "damaged inside": f"{ONE}\n{TWO[:20]}\n{TWO}\n",
    "damaged with a line break": f"{ONE}\n{TWO[:20]}\n",
    "a line that is no object": f"{ONE}\n[1]\n",
    "a doubled key": f'{ONE}\n{{"id": 1, "id": 2}}\n',
    "a doubled key first": f'{{"id": 1, "id": 2}}\n{ONE}\n',
    "one object": ONE,
    "one object and blanks": f"{ONE}\n\n",
    "an object over lines": json.dumps({"a": {"b": 1}}, indent=1) + "\n",
    "an array": f"[{ONE}, {TWO}]\n",
    "an array over lines": f" [\n {ONE}\n, {TWO}\t]\n\n",
    "an array after a line separator": f"\u2028[{ONE}]",
    "an array with a comma at its end": f"[{ONE}, {TWO},]",
    "an array without commas": f"[{ONE} {TWO}]",
    "an array with text after it": f"[{ONE}, {TWO}] more",
    "an array with another after it": f"[{ONE}][{TWO}]",
    "an array that does not end": f"[{ONE}, {TWO}",
    "an array that ends inside an item": f"[{ONE}, {TWO[:20]}",
    "an array with NaN": f'[{ONE}, {{"id": NaN, "prediction": Infinity}}]',
    "an array with NaN and a control character after it": f'[{ONE}, {{"id": NaN, "prediction": -Infinity}}]\x1c',
    "an array of half a surrogate pair": '[{"id": "a", "prediction": "\\ud800"}]',
    "an array of numbers": "[1, 23, -4.5e3]",
    "an array of objects and others": f"[{ONE}, 23, null]",
    "an array with a doubled key": f'[{ONE},\n{{"id": 1, "id": 2}}]',
    "an array with a zero byte": f"[{ONE}, \x00{TWO}]",
    "an array that is too deep": f"[{ONE}, {'[' * 100_000}",
    "an array with a number that is too long": f'[{{"id": {"9" * 5000}}}]',
    "an empty array": "[]",
    "a table": 'id,prediction\na,yes\nb,"left, \r\nright"\n',
    "a table with line breaks of old computers": "id,prediction\ra,yes\rb,no",
    "a table after blank lines": "\n , \n\nid,prediction\na,yes\n,\n\nb,no\n",
    "a table that names its separator": "sep=;\r\nid;prediction\r\na;yes, no\r\n",
    "a table that names its separator as tab": '"sep=\\t"\nid\tprediction\na\tyes\n',
    "a table with several separators": "id;pre,diction\na;yes\nb;no\n",
    "a table with a header alone": "id,prediction\n",
    "a table with a long row": "id,prediction\na,yes,no\nb,no\n",
    "a table with a short row last": "id,prediction\na,yes\nb\n",
    "a table with two columns of one name": "id,id\n1,2\n1\n",
    "a table with unnamed columns": ",id,,prediction\n1,2,3,4\n",
    "a table with a bad quote": 'id,prediction\na,"yes" no\n',
    "a table with a bad quote under one separator": 'id;a,b\na;"yes" no\n1;2,3\n',
    "a table with an open quote": 'id,prediction\na,"yes\n',
    "a table with a zero byte": "id,prediction\na,\x00\n",
    "a text": "no table\nat all\n",
    "white space": " \n\u2028\n",
    "blank first": f"\n{ONE}\n{TWO}\n",
    "too deep": f"{ONE}\n{'[' * 100_000}\n",
    "a zero byte": f"{ONE}\n\x00{TWO}\n",
}


def outcome(read: object, path: Path) -> object:
    assert callable(read)
    try:
        return read(path)
    except DataError as problem:
        return str(problem)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".txt"])
@pytest.mark.parametrize("name", FILES)
def test_a_streamed_file_is_the_whole_file(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"answers{suffix}"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(FILES[name].encode(encoding))
        assert outcome(load, path) == outcome(parse_text, path)


@pytest.mark.parametrize("end", ["]", "]\n", "]\x1c", "] 0.5", ",]", ",] 0.5"])
def test_a_number_that_is_none_is_null_whatever_follows_the_array(end: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text('[{"prediction": Infinity}' + end)
    found = load(path)
    assert [dict(record.fields) for record in found.records] == [{"prediction": None}]
    assert found.notes[0] == "Infinity read as null"


@pytest.mark.parametrize("block", [1, 2, 7, 33])
@pytest.mark.parametrize("name", [name for name in FILES if "array" in name and "too deep" not in name])
def test_an_array_that_is_read_in_small_blocks_is_the_whole_file(
    name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "_BLOCK", block)
    path = tmp_path / "answers.json"
    path.write_text(FILES[name], encoding="utf-8", newline="")
    assert outcome(load, path) == outcome(parse_text, path)


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (text.stream_lines, {"plain", "torn", "NaN"}),
        (json_array.stream_array, {"an array", "an array over lines", "an array with NaN"}),
        (tables.stream_csv, {"a table", "a table with several separators", "a table that names its separator"}),
    ],
)
def test_plain_files_are_streamed(read: object, names: set[str], tmp_path: Path) -> None:
    path = tmp_path / "answers.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        for name in names:
            path.write_bytes(FILES[name].encode(encoding))
            assert outcome(read, path) == outcome(parse_text, path)


@pytest.mark.parametrize("content", [f"{ONE}\n{TWO}\n", f"[{ONE}, {TWO}]", "id,prediction\na,yes\nb,é\n"])
def test_other_bytes_inside_are_refused_as_in_a_whole_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content.encode("latin-1", "replace"))
    assert outcome(load, path) == outcome(parse_text, path)
    assert "is not UTF-8" in str(outcome(load, path))


def test_a_file_of_long_answers_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": k, "prediction": f"{k} " * 1000}) + "\n" for k in range(1000)))
    tracemalloc.start()
    kept = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept.records) == 1000
    assert peak < 1.5 * path.stat().st_size
