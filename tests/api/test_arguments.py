"""Arguments of wrong types: one paragraph of evalkit.errors that names the argument, whatever is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import evalkit
from evalkit.errors import ConfigError, EvalkitError, StoreError
from evalkit.integrations import evaluate_live

SMALL: dict[str, Any] = {"task": "phantom", "limit": 4, "protocols": "strict"}
# Values that are neither a text, a path, a list, a dict nor True or False.
NOTHING_KNOWN = (7, 0.5, object(), b"x", np.array([1, 2]), pd.DataFrame({"a": [1]}), len)
IMPOSSIBLE_PATHS = ("", "  ", "a\0b", "\ud800", "x" * 5000)


@pytest.fixture(scope="module")
def result() -> evalkit.Result:
    return evalkit.score(["yes"] * 4, **SMALL)


@pytest.fixture(scope="module")
def data() -> evalkit.TaskData:
    return evalkit.load_task("phantom", limit=4)


def refused(call: Callable[[], Any], argument: str) -> None:
    with pytest.raises(EvalkitError) as raised:
        call()
    text = str(raised.value)
    assert argument in text and "\n" not in text and raised.value.exit_code == 2


def blind(image: Any, question: str) -> str:
    return "yes"


# Argument -> the call with a value of it.
PATHS: dict[str, Callable[[Any, Any], Any]] = {
    "folder": lambda value, _: evalkit.read_run(value),
    "folders": lambda value, _: evalkit.read_runs([value]),
    "task": lambda value, _: evalkit.load_task(value),
    "path": lambda value, _: evalkit.load_task("slake", path=value),
    "out": lambda value, _: evalkit.evaluate(blind, **SMALL, out=value),
    "run": lambda value, result: result.compare(value),
    "file": lambda value, result: result.report(value),
    "step": lambda value, _: evaluate_live(None, None, step=value),
}


@pytest.mark.few(24)
@pytest.mark.parametrize(
    "value", [*NOTHING_KNOWN, *IMPOSSIBLE_PATHS], ids=lambda v: f"{type(v).__name__}-{str(v)[:6]!r}"
)
@pytest.mark.parametrize("argument", PATHS)
def test_a_path_is_a_text_or_a_path(argument: str, value: Any, result: evalkit.Result) -> None:
    if argument == "task" and isinstance(value, pd.DataFrame | str) and str(value).strip():
        pytest.skip("a table, or a name")
    if argument == "step" and type(value) is int:
        pytest.skip("a step")
    refused(lambda: PATHS[argument](value, result), argument if argument != "run" else "")


@pytest.mark.parametrize("value", [*NOTHING_KNOWN, *IMPOSSIBLE_PATHS[:2], None], ids=lambda v: type(v).__name__)
def test_the_folder_of_a_copy_is_a_text_or_a_path(value: Any, result: evalkit.Result) -> None:
    refused(lambda: result.save(value), "folder")
    refused(lambda: evalkit.Result(value), "folder")


OTHERS: dict[str, tuple[Callable[[Any, Any], Any], tuple[Any, ...]]] = {
    "settings": (lambda value, _: evalkit.score(["yes"] * 4, **SMALL, settings=value), (5, "a=b", [1], {1})),
    "name": (lambda value, _: evalkit.score(["yes"] * 4, **SMALL, name=value), (5, True, " ", "", Path("x"))),
    "digest": (lambda value, _: evalkit.evaluate(blind, **SMALL, digest=value), (5, {1}, "", np.array([1]))),
    "progress": (lambda value, _: evalkit.evaluate(blind, **SMALL, progress=value), (5, None, np.array([1, 2]))),
    "metrics": (lambda value, result: result.compare(result, metrics=value), (5, "strict", [1], [], {"a": 1}, b"x")),
    "protocol": (lambda value, _: evalkit.score(["yes"] * 4, "phantom", limit=4, protocols=value), ([], "", " ", 5)),
    "engine": (lambda value, _: evalkit.evaluate("phantom-llava", **SMALL, engine=value), (5, np.array([1, 2]), "")),
    "model": (lambda value, _: evaluate_live(value, None, step=1), (None, 5, blind)),
    "tasks": (lambda value, _: evaluate_live(None, None, value, step=1), (None, 5, [], [1], "")),
    "answers": (lambda value, _: evalkit.score(value, **SMALL), ("x" * 5000, "", "a\0b")),
}


@pytest.mark.parametrize("argument", OTHERS)
def test_other_arguments(argument: str, result: evalkit.Result) -> None:
    call, values = OTHERS[argument]
    for value in values:
        refused(lambda value=value: call(value, result), argument)  # type: ignore[misc]


def test_folders_are_listed_and_at_least_one() -> None:
    for value in (None, 5, b"runs", {"a": 1}, pd.DataFrame({"a": [1]})):
        with pytest.raises(TypeError) as raised:
            evalkit.read_runs(value)  # type: ignore[arg-type]
        assert isinstance(raised.value, EvalkitError) and "folders=" in str(raised.value)
    with pytest.raises(StoreError, match="names no folder"):
        evalkit.read_runs([])


def test_a_sample_is_taken_by_its_number(data: evalkit.TaskData) -> None:
    assert data[np.int64(1)]["id"] == data[1]["id"] == data[-3]["id"]
    assert len(data[1:3]) == 2 and len(list(data)) == 4
    for place in (4, -5, 10**30):
        with pytest.raises(IndexError) as beyond:
            data[place]
        assert isinstance(beyond.value, ConfigError) and "has 4 samples" in str(beyond.value)
    for wrong in ("a", 0.5, None, [1]):
        with pytest.raises(TypeError) as raised:
            data[wrong]  # type: ignore[call-overload]
        assert isinstance(raised.value, ConfigError)


def test_the_callback_checks_its_arguments() -> None:
    transformers = pytest.importorskip("evalkit.integrations.transformers")
    for name, values in {
        "every": (0, True, "epochs", None, [1]), "patience": ("x", 0.5, True, [1]), "out": (5, "", b"x"),
        "at_start": (1, None), "best": (5, ""), "settings": (5, "a", {None: 1}), "tasks": (5, None),
    }.items():  # fmt: skip
        for value in values:
            more = {"best": "phantom/strict/exact_match"} if name == "patience" else {}
            refused(lambda: transformers.EvalCallback(**{name: value, **more}), "" if name == "settings" else name)  # noqa: B023


TRUTHS = {
    "bool": lambda ids: pd.DataFrame({"id": ids, "prediction": [True, False] * 2}),
    "boolean": lambda ids: pd.DataFrame({"id": ids, "prediction": pd.array([True, None, False, True], "boolean")}),
    "object": lambda ids: pd.DataFrame({"id": ids, "prediction": ["yes", "no", True, "no"]}),
    "nested": lambda ids: pd.DataFrame({"id": ids, "prediction": [[True]] * 4}),
    "list": lambda ids: [True] * 4,
    "numpy": lambda ids: {i: np.bool_(True) for i in ids},
    "Series": lambda ids: pd.Series([True] * 4, index=ids),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", TRUTHS)
def test_a_truth_value_is_no_answer(kind: str, data: evalkit.TaskData) -> None:
    refused(lambda: evalkit.score(TRUTHS[kind]([s.id for s in data.samples]), **SMALL), "True")


@pytest.mark.slow
def test_a_truth_value_in_a_file_is_no_answer_and_its_text_is_one(data: evalkit.TaskData, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    for value, is_refused in ((True, True), ("True", False)):
        file.write_text("".join(json.dumps({"id": s.id, "prediction": value}) + "\n" for s in data.samples))
        if is_refused:
            refused(lambda: evalkit.score(file, **SMALL, max_unmatched=1), "truth value True")
        else:
            assert set(evalkit.score(file, **SMALL, max_unmatched=1).samples.answer) == {"True"}


@pytest.mark.few(1)
@pytest.mark.parametrize("answers", [[True, False], ["True", "false"], ["yes", "no"]])
def test_truth_values_of_a_table_are_yes_and_no_and_a_note_says_so(answers: list[Any]) -> None:
    data = evalkit.load_task(pd.DataFrame({"id": ["a", "b"], "question": ["q?", "r?"], "answer": answers}))
    assert [s.references for s in data.samples] == [("yes",), ("no",)]
    said = [note for note in data.notes if "are read as yes or no" in note]
    assert bool(said) == (answers[0] != "yes") and all("2 answers" in note for note in said)


def test_a_result_is_a_text_where_rich_would_show_it_itself(
    result: evalkit.Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = repr(result)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert repr(result) == plain and "exact_match" in plain
    assert capsys.readouterr().out == ""
