"""Answers that a caller has, in every form; what is missing, doubled or of another type is never a silent number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import evalkit
from evalkit.errors import ConfigError, DataError

N = 24
DATA = evalkit.load_task("phantom", limit=N)
ALL = evalkit.load_task("phantom")
IDS = [s.id for s in DATA.samples]
TEXTS = [s.references[0] if k % 4 else "no" for k, s in enumerate(DATA.samples)]
EXACT = ("exact-match", "exact_match")


def scored(answers: Any, **settings: Any) -> evalkit.Result:
    return evalkit.score(answers, "phantom", **{"limit": N, "protocols": "exact-match", **settings})


def scores(answers: Any) -> bytes:
    result = scored(answers)  # its folder lives as long as it does
    return (result.folder / "scores.jsonl").read_bytes()


@pytest.fixture(scope="module")
def expected() -> bytes:
    return scores(TEXTS)


BACKWARDS = dict(reversed(list(zip(IDS, TEXTS, strict=True))))
FORMS: dict[str, Any] = {
    "tuple": tuple(TEXTS),
    "array": np.array(TEXTS),
    "dict": BACKWARDS,
    "series by id": pd.Series(BACKWARDS),
    "series in order": pd.Series(TEXTS),
    "frame": pd.DataFrame({"id": list(BACKWARDS), "prediction": list(BACKWARDS.values())}),
    "frame by its index": pd.DataFrame({"response": BACKWARDS}).rename_axis("id"),
    "frame with questions": pd.DataFrame({"question": [s.question for s in DATA.samples], "id": IDS, "pred": TEXTS}),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.few(2)
def test_every_form_gives_the_same_scores(name: str, expected: bytes) -> None:
    assert scores(FORMS[name]) == expected


def test_a_generator_is_a_list(expected: bytes) -> None:
    assert scores(text for text in TEXTS) == expected


@pytest.mark.few(1)
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_file_is_read_as_on_the_command_line(ending: str, tmp_path: Path, expected: bytes) -> None:
    every = pd.DataFrame({"id": [s.id for s in ALL.samples], "prediction": TEXTS + ["x"] * (len(ALL) - N)})
    file = tmp_path / f"my-model.{ending}"
    writers = {"csv": lambda: every.to_csv(file, index=False), "parquet": lambda: every.to_parquet(file)}
    writers.get(ending, lambda: every.to_json(file, orient="records", lines=True))()
    result = scored(file)
    assert (result.folder / "scores.jsonl").read_bytes() == expected and result.summary.model == "my-model"


def test_all_answers_with_a_limit_are_taken_too(expected: bytes) -> None:
    result = scored(TEXTS + ["x"] * (len(ALL) - N))
    assert (result.folder / "scores.jsonl").read_bytes() == expected


@pytest.mark.slow
def test_a_run_is_scored_again_under_other_protocols() -> None:
    run = evalkit.evaluate("scripted", limit=N, settings={"model.rule": "yes"}, protocols="strict")
    for given in (run, run.folder, str(run.folder)):
        again = scored(given)
        assert again[EXACT].n == N and again.summary.model == run.summary.model
        assert again["exact-match", "exact_match"].signature is not None
    with pytest.raises(ConfigError, match="no metric 'exact-match exact_match'"):
        run[EXACT]


MISSING = {"none": None, "nan": float("nan"), "numpy nan": np.float32("nan"), "na": pd.NA, "nat": pd.NaT}


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("form", ["list", "dict", "series", "frame"])
@pytest.mark.few(3)
def test_a_missing_answer_is_a_failed_sample_and_no_text(kind: str, form: str) -> None:
    answers = [MISSING[kind], *TEXTS[1:]]
    given = {
        "list": answers,
        "dict": dict(zip(IDS, answers, strict=True)),
        "series": pd.Series(answers, dtype=object),
        "frame": pd.DataFrame({"id": IDS, "prediction": pd.Series(answers, dtype=object)}),
    }[form]
    result = scored(given)
    assert result.summary.n_failed == 1 and result.summary.n_empty == 0
    assert result.samples.error.dropna().tolist() == ["null answer"] and result[EXACT].n_unscored == 1
    assert "1 of 24 samples failed and are not in the values" in result.warnings


@pytest.mark.slow
def test_numbers_are_texts_as_in_a_file() -> None:
    frame = pd.DataFrame({"id": IDS, "prediction": [2] * N})
    floats = pd.DataFrame({"id": IDS, "prediction": [2.0] * (N - 1) + [np.nan]})  # as pandas reads a column with a gap
    assert set(scored([2] * N).samples.answer) == set(scored(frame).samples.answer) == {"2"}
    assert scored(floats).samples.answer.dropna().unique().tolist() == ["2"]


def without(key: str) -> dict[str, str]:
    return {i: a for i, a in BACKWARDS.items() if i != key}


REFUSED: dict[str, tuple[Any, str]] = {
    "one too few": (TEXTS[1:], "There are 23 answers, and phantom"),
    "one too many": ([*TEXTS, "x"], "There are 25 answers, and phantom"),
    "none": ([], "There are 0 answers"),
    "unknown id": (without(IDS[0]) | {"nobody": "x"}, "nobody"),
    "one id more": (BACKWARDS | {"nobody": "x"}, "nobody|unmatched|samples"),
    "one id less": (without(IDS[3]), "without an answer|no answer|missing"),
    "id of another type": (without(IDS[0]) | {1.5: "x"}, r"The id 1\.5 of type float"),
    "id twice": ({1: "a", "1": "b"} | BACKWARDS, "Two answers have the id '1'"),
    "true": ([True] * N, r"is 'True' of type bool; expected a text"),
    "list as an answer": ([["a", "b"]] * N, "of type list; expected a text"),
    "dict as an answer": ([{"a": 1}] * N, "of type dict; expected a text"),
    "bytes as an answer": ([b"yes"] * N, "of type bytes; expected a text"),
    "object as an answer": ([object()] * N, "of type object; expected a text"),
    "frame with bytes": (pd.DataFrame({"id": IDS, "prediction": [b"yes"] * N}), "expected text or a number"),
    "frame with objects": (pd.DataFrame({"id": IDS, "prediction": [object()] * N}), "expected text or a number"),
    "frame with bytes in lists": (pd.DataFrame({"id": IDS, "prediction": [[b"yes"]] * N}), "expected text"),
    "set": (set(TEXTS), "Answers of type set"),
    "number": (3, "Answers of type int"),
    "nothing": (None, "Answers of type NoneType"),
    "no such file": ("nowhere.csv", "nowhere.csv"),
    "series with an id twice": (pd.Series(TEXTS, index=[*IDS[1:], IDS[1]]), "have two answers, first"),
    "series with levels": (pd.Series(TEXTS, index=pd.MultiIndex.from_product([["a"], IDS])), "several levels"),
    "frame with two answers to an id": (
        pd.DataFrame({"id": [*IDS, IDS[0]], "prediction": [*TEXTS, "other"]}), "two answers with different texts",
    ),
    "frame with a column twice": (
        pd.DataFrame([["a", "b", "c"]] * N, columns=["id", "prediction", "prediction"]), "two columns 'prediction'",
    ),
    "frame with columns that are numbers": (pd.DataFrame([["a", "b"]] * N), "the column 0, whose name is no text"),
    "frame without an answer": (pd.DataFrame({"id": IDS, "other": TEXTS}), "no column that looks like a prediction"),
    "empty frame": (pd.DataFrame({"id": [], "prediction": []}), "contains no answers|There are 0|empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.few(4)
def test_answers_that_do_not_fit_are_refused_in_one_paragraph(name: str) -> None:
    with pytest.raises((DataError, ConfigError), match=REFUSED[name][1]) as caught:
        scored(REFUSED[name][0])
    assert "\n" not in str(caught.value)


def test_the_record_says_that_the_answers_had_no_file(tmp_path: Path) -> None:
    result = scored(TEXTS, out=tmp_path, name="mine")
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["predictions"]["path"] == manifest["config"]["predictions"] == "given in Python"
    assert manifest["model"] == "mine" and manifest["status"] == "scored"
    assert str(tmp_path) not in json.dumps(manifest["predictions"])


@pytest.mark.slow
def test_a_part_of_the_rows_is_scored_by_its_own_answers() -> None:
    part = [s for s in ALL.samples if s.tags["modality"] == "CT"]
    settings = {"task.where": {"modality": "CT"}}
    by_list = evalkit.score(["x"] * len(part), settings=settings, protocols="exact-match")
    by_id = evalkit.score({s.id: "x" for s in part}, settings=settings, protocols="exact-match")
    of_all = evalkit.score(["x"] * len(ALL), settings=settings, protocols="exact-match")
    assert by_list.summary.n == by_id.summary.n == of_all.summary.n == len(part) < len(ALL)
