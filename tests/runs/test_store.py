"""The core types reject invalid values; a run's folder survives a kill."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import StoreError
from evalkit.core.types import Generation, Message, Prediction, Request, Sample, Score
from evalkit.runs.background_writer import Appender
from evalkit.runs.read import complete_lines
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import RunFolder, answered, cut_torn_line, prediction_text, set_aside

SAMPLE = Sample(id="1", image_id="a", question="q?", references=("yes",), tags={"answer_type": "CLOSED"})


def prediction(number: int, **kwargs: object) -> Prediction:
    fields = {"sample_id": "1", "text": f"t{number}", "fingerprint": f"f{number}"} | kwargs
    return Prediction(**fields)  # type: ignore[arg-type]


def line(number: int, **kwargs: object) -> str:
    return prediction_text(PredictionLine.of(SAMPLE, prediction(number, **kwargs)))


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, None), ("yes", "failed"), ("", "failed")],
)
def test_a_prediction_has_a_text_or_an_error_and_not_both(text: str | None, error: str | None) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Prediction(sample_id="1", text=text, error=error)


def test_an_empty_text_is_an_answer() -> None:
    assert Prediction(sample_id="1", text="").error is None


@pytest.mark.parametrize(("value", "reason"), [(None, ""), (0.0, "why"), (float("nan"), "")])
def test_a_score_has_a_finite_value_or_a_reason(value: float | None, reason: str) -> None:
    with pytest.raises(ValueError, match="score"):
        Score(sample_id="1", protocol="p", metric="m", value=value, reason=reason)


@pytest.mark.parametrize("references", [(), ("",), ("  ", "\t")])
def test_a_sample_needs_a_reference_with_text(references: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="reference"):
        Sample(id="1", image_id="a", question="q", references=references)


def test_each_thing_that_changes_an_answer_changes_the_fingerprint() -> None:
    def make(**kwargs: object) -> str:
        fields: dict[str, object] = {
            "sample_id": "1", "image_id": "a", "question": "q", "answer_type": None,
            "messages": (Message(role="user", content=("q",)),), "images": (), "image_digests": ("d",),
            "generation": Generation(), "checkpoint": "c",
        }  # fmt: skip
        return Request(**(fields | kwargs)).fingerprint  # type: ignore[arg-type]

    variants = [
        make(),
        make(sample_id="2"),
        make(messages=(Message(role="user", content=("other",)),)),
        make(image_digests=("e",)),
        make(generation=Generation(max_new_tokens=65)),
        make(checkpoint="c2"),
    ]
    assert len(set(variants)) == len(variants)
    assert make() == make(question="not what is sent")


def test_reading_leaves_out_a_torn_last_line_and_writes_nothing(tmp_path: Path) -> None:
    """Another process may be writing that line now: only who holds the run's lock may cut it off."""
    path = tmp_path / "predictions.jsonl"
    torn = line(1).encode() + line(2).encode()[:-20]
    path.write_bytes(torn)
    path.chmod(0o444)
    assert set(answered(path)) == {"f1"}
    assert path.read_bytes() == torn
    journal = tmp_path / "judgments.jsonl"
    journal.write_bytes(b'{"a": 1}\n{"b":')
    assert complete_lines(journal) == [(1, b'{"a": 1}')]
    assert journal.read_bytes() == b'{"a": 1}\n{"b":'


def test_the_holder_of_the_lock_cuts_a_torn_line_off_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    whole = line(1).encode()
    path.write_bytes(whole + whole.replace(b"f1", b"f2")[:-20])
    cut_torn_line(path)
    assert path.read_bytes() == whole
    with Appender(path) as file:
        file.write([PredictionLine.of(SAMPLE, prediction(3))])
    assert set(answered(path)) == {"f1", "f3"}


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"x", b""),
        (b"a\nb\n", b"a\nb\n"),
        (b"a\n" + b"x" * 200_000, b"a\n"),
        (b"x" * 200_000, b""),
        (b"a\n" + b"x" * ((1 << 16) - 1), b"a\n"),
        (b"a\n" + b"x" * (1 << 16), b"a\n"),
    ],
)
def test_only_what_follows_the_last_line_break_is_cut_off(content: bytes, kept: bytes, tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    cut_torn_line(path)  # without a file, without effect
    path.write_bytes(content)
    cut_torn_line(path)
    assert path.read_bytes() == kept


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_a_file_cut_anywhere_loses_at_most_the_line_that_was_cut(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run") / "predictions.jsonl"
    lines = [line(i, text="é\u2028\n" * i).encode() for i in range(5)]
    data = b"".join(lines)[: cut % (sum(map(len, lines)) + 1)]
    path.write_bytes(data)
    whole = 0
    while sum(map(len, lines[: whole + 1])) <= len(data) and whole < 5:
        whole += 1
    assert set(answered(path)) == {f"f{i}" for i in range(whole)}


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(line(1) + "{broken\n" + line(2), encoding="utf-8")
    with pytest.raises(StoreError, match=r"predictions\.jsonl:2"):
        answered(path)


def test_a_line_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({"question_id": 1, "text": "yes"}) + "\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"predictions\.jsonl:1, key 'sample_id': field required"):
        answered(path)


def test_two_writers_cannot_hold_one_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(StoreError, match="Another process"), RunFolder(tmp_path / "run").locked():
        pass
    with folder.locked():
        pass


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOLCK, "No locks available"), OSError(errno.ENOSYS, "x"), NotImplementedError("no flock")],
)
def test_a_file_system_without_locks_is_one_paragraph_with_the_remedy(
    problem: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(StoreError, match=r"gives no locks .*out=DIR") as caught, RunFolder(tmp_path / "run").locked():
        pass
    assert "\n" not in str(caught.value)


def test_another_failure_of_the_lock_file_is_not_taken_for_missing_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(PermissionError), RunFolder(tmp_path / "run").locked():
        pass


def test_starting_anew_keeps_the_old_answers(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    for expected in ("predictions.jsonl.1", "predictions.jsonl.2"):
        path.write_text("x", encoding="utf-8")
        aside = set_aside(path)
        assert aside is not None
        assert aside.name == expected
    assert set_aside(path) is None
