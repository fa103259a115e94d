"""The files of a run as columns: what their lines hold, or a refusal to read them so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import StoreError
from evalkit.core.types import Score
from evalkit.runs.codec import read_records
from evalkit.runs.columns import (
    AnswerColumns,
    ScoreGroups,
    Unusual,
    answer_columns,
    columns_of_scores,
    groups_of_scores,
    score_columns,
    score_groups,
)
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import prediction_text

SCORE = '{"sample_id": "a", "protocol": "p", "metric": "m", "value": 1.0, "extracted": "x"}'
OTHER = SCORE.replace('"a"', '"b"')
UNSCORED = SCORE.replace("1.0", "null").replace("}", ', "reason": "unread"}')
LINES = {
    "plain": SCORE,
    "unscored": UNSCORED,
    "of another metric": SCORE.replace('"m"', '"m2"'),
    "an integer": SCORE.replace("1.0", "1"),
    "an unknown key": SCORE.replace("1.0", '1.0, "later": {"a": [1]}'),
    "other characters": SCORE.replace('"x"', r'"\ud83d\ude00 \u0000 é"'),
    "white space": f"  {SCORE} ",
    "a doubled id": SCORE.replace('"sample_id": "a"', '"sample_id": "b", "sample_id": "a"'),
    "a doubled id, escaped": SCORE.replace('"sample_id": "a"', r'"sample_id": "a", "\u0073ample_id": "b"'),
    "a doubled value": SCORE.replace("1.0", '1.0, "value": 0.0'),
    "a doubled value, spaced": SCORE.replace("1.0", '1.0, "value" : 0.0'),
    "a doubled value, escaped": SCORE.replace("1.0", r'1.0, "v\u0061lue": 0.0'),
    "no value": SCORE.replace('"value": 1.0, ', ""),
    "no value, its name in a text": SCORE.replace('"value": 1.0, ', "").replace('"x"', r'"\"value\": "'),
    "null without a reason": SCORE.replace("1.0", "null"),
    "a value with a reason": SCORE.replace("}", ', "reason": "r"}'),
    "NaN": SCORE.replace("1.0", "NaN"),
    "infinite": SCORE.replace("1.0", "1e999"),
    "a value in quotes": SCORE.replace("1.0", '"1.0"'),
    "true": SCORE.replace("1.0", "true"),
    "an id that is a number": SCORE.replace('"a"', "5"),
    "a text that is a number": SCORE.replace('"x"', "5"),
    "of a sample without an answer": SCORE.replace('"a"', '"c"'),
    "half a surrogate pair": SCORE.replace('"x"', r'"\ud83d"'),
    "not UTF-8": SCORE.replace('"x"', '"\udcff"'),
    "two objects": SCORE + SCORE,
    "a comma": f"{SCORE},",
    "an array": f"[{SCORE}]",
    "blank": "",
    "torn": SCORE[:30],
}


def outcome(read: Callable[[], Any]) -> Any:
    try:
        found = read()
    except (StoreError, ValueError) as problem:
        return type(problem).__name__
    parts = {str(key): [(p.places.tolist(), p.values.tolist()) for p in part] for key, part in found.items()}
    return json.dumps(parts)  # nan is not equal to itself


@pytest.mark.parametrize("name", LINES)
def test_columns_of_scores_are_the_lines_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_bytes(f"{OTHER}\n{LINES[name]}\n".encode("utf-8", "surrogateescape"))
    fast = outcome(lambda: score_columns(path, ["a", "b"], lambda _: None))
    slow = outcome(lambda: columns_of_scores(read_records(Score, path), ["a", "b"]))
    assert fast in ("Unusual", slow)
    if name in ("plain", "unscored", "of another metric"):
        assert fast == slow


def spread(groups: list[ScoreGroups], ids: list[str]) -> list[Score]:
    """The scores of groups, one by one."""
    rows = [(g.distinct[k], p) for g in groups for k, p in zip(g.of.tolist(), g.places.tolist(), strict=True)]
    return [replace(score, sample_id=ids[place]) for score, place in rows]


@pytest.mark.parametrize("name", LINES)
def test_groups_of_scores_are_the_lines_or_refused(name: str, tmp_path: Path) -> None:
    """All that a score says, of the samples that are asked for."""
    path = tmp_path / "scores.jsonl"
    path.write_bytes(f"{OTHER}\n{LINES[name]}\n{OTHER}\n".encode("utf-8", "surrogateescape"))
    for ids in (["a", "b"], ["b"]):

        def fast(ids: list[str] = ids) -> list[Score]:
            return spread(score_groups(path, ids, lambda _: None), ids)

        def slow(ids: list[str] = ids) -> list[Score]:
            return [s for s in read_records(Score, path) if s.sample_id in ids]

        results = []
        for read in (fast, slow):
            try:
                results.append(repr(read()))
            except (StoreError, ValueError) as problem:
                results.append(type(problem).__name__)
        assert results[0] in ("Unusual", results[1])
        if name in ("plain", "unscored", "of another metric", "other characters"):
            assert results[0] == results[1]


def test_groups_hold_equal_scores_once_in_order_of_appearance(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    ids = ["a", "b", "c"]
    lines = [s.replace('"a"', json.dumps(i)) for i in ids for s in (SCORE, UNSCORED)]
    path.write_text("".join(line + "\n" for line in lines))
    [group] = score_groups(path, ids, lambda _: None)
    assert [s.reason for s in group.distinct] == ["", "unread"]
    assert group.of.tolist() == [0, 1] * 3 and group.places.tolist() == [0, 0, 1, 1, 2, 2]
    read = read_records(Score, path)
    assert spread([group], ids) == spread([groups_of_scores(read, ids)], ids) == read


def test_a_last_line_without_its_break_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(f"{OTHER}\n{SCORE}")
    with pytest.raises(Unusual):
        score_columns(path, ["a", "b"], lambda _: None)


def test_blocks_of_a_file_give_the_same_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte is passed on once, wherever the blocks end."""
    path = tmp_path / "scores.jsonl"
    ids = [f"é{k}" for k in range(40)]
    path.write_text("".join(SCORE.replace('"a"', json.dumps(i)) + "\n" for i in ids))
    expected = columns_of_scores(read_records(Score, path), ids)
    for size in (1, 7, 100, 1 << 20):
        monkeypatch.setattr("evalkit.runs.columns._BLOCK", size)
        seen: list[bytes] = []
        found = score_columns(path, ids, seen.append)
        assert b"".join(seen) == path.read_bytes()
        for key, [column] in expected.items():
            assert [p for part in found[key] for p in part.places] == column.places.tolist()
            assert [v for part in found[key] for v in part.values] == column.values.tolist()


def answer(k: int, **more: Any) -> PredictionLine:
    values: dict[str, Any] = {
        "sample_id": f"s{k}", "image_id": f"i{k // 2}", "question": f"q \u2028{k}?", "references": ("yes",),
        "answer_type": None, "text": "yes", "error": None, "finish_reason": "stop", "n_tokens": 2, "seconds": 0.5,
        "fingerprint": f"{k:064x}",
    }  # fmt: skip
    return PredictionLine(**values | more)


def test_columns_of_answers_are_the_lines(tmp_path: Path) -> None:
    lines = [
        answer(1),
        answer(2, text=None, error="timeout", finish_reason="error", attempts=("a", "b"), n_tokens=None, seconds=None),
        answer(3, text=None, error="cut inside its reasoning", finish_reason="length", reasoning="so"),
        answer(4, text="", reasoning="hm", raw="<think>hm</think>"),
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(map(prediction_text, lines)), encoding="utf-8")
    found = answer_columns(path, lambda _: None)
    assert found == AnswerColumns.of(lines)
    assert found.n_failed == 1
    for old, new in (('"text": "yes"', '"text": null'), ('"stop"', '"ended"'), ('"s1"', "null")):
        path.write_text("".join(map(prediction_text, lines)).replace(old, new), encoding="utf-8")
        with pytest.raises(Unusual):
            answer_columns(path, lambda _: None)
