"""JSON lines that are read line by line give what the reader of a whole text gives."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from evalkit.core.errors import DataError
from evalkit.records import text
from evalkit.records.base import RawFile
from evalkit.records.load import load

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
    "blank first": f"\n{ONE}\n{TWO}\n",
    "too deep": f"{ONE}\n{'[' * 100_000}\n",
    "a zero byte": f"{ONE}\n\x00{TWO}\n",
}


def whole(path: Path) -> RawFile | None:
    content, _ = text.decode(path.read_bytes(), path)
    return text.parse_json(content, path)


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
    path.write_text(FILES[name], encoding="utf-8", newline="")
    assert outcome(load, path) == outcome(whole, path)
    if name == "plain":
        assert text.stream_lines(path) is not None


def test_other_bytes_inside_are_refused_as_in_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(f"{ONE}\n".encode() + TWO.encode("latin-1", "replace") + b"\n")
    assert outcome(load, path) == outcome(whole, path)


def test_a_file_of_long_answers_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": k, "prediction": f"{k} " * 1000}) + "\n" for k in range(1000)))
    tracemalloc.start()
    kept = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept.records) == 1000
    assert peak < 1.5 * path.stat().st_size
