"""Records and answers held as columns are what was put in, equal ones are found, and a large file fits."""

from __future__ import annotations

import csv
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import DataError
from evalkit.core.types import OptionScore
from evalkit.importers import Answer, read_answers
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.importers.repeats import is_unique, repeated
from evalkit.records.base import PackedRecords, Record

TEXTS = st.sampled_from(["", "yes", "no", "a" * 201, "\ud800", "Röntgen\n"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-1, 1), st.just(1.0), TEXTS, st.lists(TEXTS, max_size=2))
RECORDS = st.lists(
    st.builds(Record, row=st.integers(0, 9), fields=st.dictionaries(TEXTS, VALUES, max_size=3)), max_size=6
)


@given(RECORDS)
def test_records_come_out_as_they_were_put_in(records: list[Record]) -> None:
    packed = PackedRecords(records)
    assert list(map(repr, packed)) == list(map(repr, records))  # 1, 1.0 and True are not one value
    assert packed == records and packed[1:] == records[1:] and len(packed) == len(records)
    assert packed.names == tuple(dict.fromkeys(name for record in records for name in record.fields))
    for name in (*packed.names, "unknown"):
        assert list(packed.column(name)) == [record.fields.get(name) for record in records]
    assert [packed.row(k) for k in range(len(packed))] == [record.row for record in records]


@st.composite
def answers(draw: Any) -> Answer:
    error = draw(st.none() | st.just("failed"))
    return Answer(
        row=draw(st.integers(1, 9)),
        id=draw(st.none() | TEXTS),
        question=draw(st.none() | TEXTS),
        reference=draw(st.none() | TEXTS),
        image=draw(st.none() | TEXTS),
        keys=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
        text=draw(TEXTS) if error is None else None,
        error=error,
        finish_reason=draw(st.sampled_from(["stop", "length", "error", "unknown"])),
        n_tokens=draw(st.none() | st.integers(0, 5)),
        seconds=draw(st.none() | st.floats(0, 10)),
        fingerprint=draw(st.sampled_from(["", "ab" * 32, "other"])),
        reasoning=draw(TEXTS),
        raw=draw(st.none() | TEXTS),
        options=draw(st.sampled_from([(), (OptionScore(text="yes", logprob=-1.0, n_tokens=1),)])),
        logprob=draw(st.none() | st.floats(-10, 0)),
        thought_tokens=draw(st.none() | st.integers(0, 5)),
    )


@given(st.lists(answers(), max_size=5))
def test_answers_come_out_as_they_were_put_in(made: list[Answer]) -> None:
    packed = PackedAnswers(made)
    assert list(packed) == made and packed[::-1] == made[::-1] and len(packed) == len(made)
    assert PackedAnswers.of(packed) is packed
    for place, answer in enumerate(made):
        said = packed.prediction(place, "7")
        assert (said.sample_id, said.text, said.error) == ("7", answer.text, answer.error)
        assert (packed.text(place), packed.row(place)) == (answer.text, answer.row)


@given(st.lists(st.one_of(st.integers(-2, 3), st.none(), st.sampled_from(["1", "2"])), max_size=8))
def test_equal_values_are_among_the_repeated_ones(values: list[Any]) -> None:
    assert {k for k, v in enumerate(values) if values.count(v) > 1} <= set(repeated(values))
    assert is_unique(values) == (len(set(values)) == len(values))


def test_values_of_one_hash_are_not_equal_for_that() -> None:
    assert hash(-1) == hash(-2)
    assert repeated([5, -1, -2]) == [1, 2]
    assert is_unique([5, -1, -2])


def _lines(path: Path, *rows: tuple[str, str | None]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "prediction": text}) + "\n" for i, text in rows), encoding="utf-8")
    return path


def test_repeated_rows_keep_the_place_of_the_first_and_the_text(tmp_path: Path) -> None:
    rows = [("b", None), ("a", "no"), ("c", "CT"), ("b", None), ("b", "yes"), ("a", "no"), ("b", None), ("b", "yes")]
    file = read_answers(_lines(tmp_path / "a.jsonl", *rows))
    assert [(a.row, a.id, a.text) for a in file.answers] == [(5, "b", "yes"), (2, "a", "no"), (3, "c", "CT")]
    # Of b: one null beside a null, the text that replaces it, a null beside the text, and the text again.
    assert file.notes[-2:] == (
        "3 rows repeat an earlier row with the same answer and were merged",
        "2 rows have both an error and an answer; the answer was used",
    )


def test_a_conflict_names_the_row_whose_text_was_kept(tmp_path: Path) -> None:
    rows = [("a", None), ("b", "no"), ("a", "yes"), ("a", "no"), ("b", "yes")]
    with pytest.raises(DataError, match=r"2 ids have two answers .*: a \(rows 3 and 4\), b \(rows 2 and 5\)\."):
        read_answers(_lines(tmp_path / "a.jsonl", *rows))


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_reading_short_answers_takes_less_than_twice_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalkit.records.json_array._BLOCK", 1 << 14)  # what does not grow with the file
    drawn, path = random.Random(0), tmp_path / f"answers.{kind}"
    words = [f"word{k}" for k in range(2000)]
    rows = [
        {
            "id": f"0/test/{k}",
            "question": f"Is there a mass in {k % 50}?",
            "prediction": " ".join(drawn.choices(words, k=25)),
        }
        for k in range(2000)
    ]
    size = sum(len(json.dumps(row)) + 1 for row in rows)
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text(json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    del rows
    read_answers(path)  # what is imported at the first reading is not counted
    tracemalloc.start()
    found = read_answers(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.answers) == 2000
    assert peak < 2 * size
