"""Files of a run have typed contracts: written and read back equal, damage named by file, line and key."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.errors import StoreError
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey, MetricValue, Score
from evalkit.runs import read
from evalkit.runs.codec import decode, decode_object, encode
from evalkit.runs.schema import (
    AnswersFile,
    LeaderboardResult,
    Manifest,
    PredictionLine,
    ProtocolVersion,
    Summary,
    Timing,
)
from evalkit.runs.store import manifest_record, write_record
from evalkit.scoring.score_table import score_line
from tests.support.paths import ROOT

SIGNATURE = Signature.of("closed_accuracy", {"task": "toy.test", "n": "2", "protocol": "strict.1", "v": "0.1.0"})
VALUE = MetricValue(
    protocol="strict",
    metric="closed_accuracy",
    slice="all",
    value=0.5,
    low=0.1,
    high=0.9,
    n=2,
    n_clusters=2,
    value_worst_case=0.5,
    higher_is_better=True,
    signature=SIGNATURE,
)
SUMMARY = Summary(
    run_id="m-toy-1", evalkit="0.1.0", model="m", task="toy", split="test", form="made", n=2, n_images=2,
    data_sha256="d", closed_rule="label", prompt="plain@0", image="original", generation="greedy.max16", n_failed=0,
    n_empty=0, n_truncated=0, metrics=(VALUE,), timing=Timing(seconds=1.0, n_asked=2), sanity_checks={"rates": {}},
)  # fmt: skip
MANIFEST = Manifest(
    run_id="m-toy-1", model="m", task="toy", split="test", form="made", n=2, data_sha256="d", prompt="plain@0",
    image="original", generation="greedy.max16", closed_rule="label", config={"choices": {"task": "toy"}},
    protocols=(ProtocolVersion(name="strict", version=1),), status="scored", evalkit="0.1.0",
    predictions=AnswersFile(path="a.jsonl", sha256=None, format="evalkit", joined_by="id"),
)  # fmt: skip


def test_a_summary_and_a_manifest_are_read_back_equal(tmp_path: Path) -> None:
    write_record(tmp_path / "summary.json", SUMMARY)
    write_record(tmp_path / "manifest.json", MANIFEST)
    assert read.summary_at(tmp_path / "summary.json") == SUMMARY
    assert read.manifest_at(tmp_path / "manifest.json") == MANIFEST


def test_a_leaderboard_result_is_a_summary_with_the_training_exposure(tmp_path: Path) -> None:
    fields = {f: getattr(SUMMARY, f) for f in SUMMARY.__dataclass_fields__}
    result = LeaderboardResult(**fields, role="baseline", regime="zero-shot")
    write_record(tmp_path / "result.json", result)
    assert read.result_at(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": "2"}, "key 'n': input should be a valid integer; found '2'"),
        ({"metrics": None}, "key 'metrics'"),
        ({"metrics": [{"protocol": "strict"}]}, "key 'metrics.0.metric': field required"),
        ({"schema": 99}, "has schema 99, this evalkit reads a summary up to schema 2"),
        ({"schema": None}, "key 'schema': expected a number from 1 to 2, found None"),
        ({"metrics": [encode(replace(VALUE, signature=None))]}, "has no signature"),
        ({"metrics": [encode(VALUE) | {"signature": "closed_accuracy"}]}, "key 'metrics.0.signature'"),
        ({"metrics": [encode(VALUE) | {"n_unscored": 3}]}, "3 unscored of 2"),
        ({"metrics": [encode(VALUE) | {"low": 0.9, "high": 0.1}]}, "is reversed"),
        ({"metrics": [encode(VALUE), encode(VALUE)]}, "'strict closed_accuracy all' is there twice"),
        ({"metrics": [{"metric": "m", "protocol": "p"}]}, "key 'metrics.0.slice': field required"),
        ({"n_failed": -1}, "a negative count"),
        ({"sanity_checks": {"baselines": 5}}, "sanity_checks.baselines is invalid"),
        ({"sanity_checks": {"baselines": {"metrics": [{}]}}}, "sanity_checks.baselines is invalid"),
    ],
)
def test_damage_to_a_summary_is_named_by_file_and_key(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(encode(SUMMARY) | change), encoding="utf-8")
    with pytest.raises(StoreError) as problem:
        read.summary_at(path)
    assert str(path) in str(problem.value)
    assert words in str(problem.value)


def test_a_metric_without_its_direction_is_refused(tmp_path: Path) -> None:
    content = encode(SUMMARY)
    del content["metrics"][0]["higher_is_better"]
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match=r"key 'metrics\.0\.higher_is_better': field required"):
        read.summary_at(path)


@pytest.mark.parametrize("key", ["choices", "task", "model", "engine", "protocol"])
def test_a_configuration_of_another_shape_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(encode(MANIFEST) | {"config": {key: 5}}), encoding="utf-8")
    with pytest.raises(StoreError, match=rf"config\.{key} is 5, expected an object"):
        read.manifest_at(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    text = json.dumps(encode(SUMMARY))
    path.write_text(text[:-1] + ', "n": 3}', encoding="utf-8")
    with pytest.raises(StoreError, match=r"summary\.json .*the key 'n' occurs twice"):
        read.summary_at(path)


@pytest.mark.parametrize("change", [{"text": None}, {"error": "x"}, {"seconds": float("nan")}])
def test_a_prediction_line_with_both_or_neither_of_text_and_error_is_refused(change: dict[str, Any]) -> None:
    line = PredictionLine(
        sample_id="1", image_id="a", question="q", references=("yes",), answer_type=None, text="t", error=None,
        finish_reason="stop", n_tokens=1, seconds=1.0, fingerprint="f",
    )  # fmt: skip
    with pytest.raises(StoreError, match="predictions:7"):
        decode(PredictionLine, json.dumps(encode(line) | change), "predictions:7")


def test_a_record_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    broken = replace(MANIFEST, protocols=(ProtocolVersion(name="strict", version=1.5),))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"protocols\.0\.version"):
        write_record(tmp_path / "manifest.json", broken)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"', "{", "", "[" * 100_000])
def test_a_file_that_is_no_object_is_one_clear_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        read.manifest_at(path)


def test_unknown_keys_are_ignored_so_that_later_files_stay_readable() -> None:
    assert decode_object(Summary, encode(SUMMARY) | {"added_later": 1}, "x") == SUMMARY


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(score_line(Score(sample_id="1", protocol="p", metric="m", value=1.0)))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"sample_id": "2", "protocol": "p", "metric": "m", "value": null}\n')
    with pytest.raises(StoreError, match=r"scores\.jsonl:2: value error, score m of '2': a value or a reason"):
        read.scores_at(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no summary at .*summary\.json"):
        read.summary_at(tmp_path / "summary.json")
    with pytest.raises(StoreError, match="folder of a finished run"):
        read.predictions_at(tmp_path / "predictions.jsonl")


@given(
    st.builds(
        PredictionLine,
        sample_id=st.text(min_size=1),
        image_id=st.text(),
        question=st.text(),
        references=st.lists(st.text()).map(tuple),
        answer_type=st.sampled_from(["OPEN", "CLOSED", None]),
        text=st.text(),
        error=st.none(),
        finish_reason=st.sampled_from(["stop", "length", "error", "unknown"]),
        n_tokens=st.none() | st.integers(0, 10**9),
        seconds=st.none() | st.floats(0, 1e9),
        fingerprint=st.text(),
        attempts=st.lists(st.text()).map(tuple),
    )
)
def test_any_prediction_line_is_read_back_equal(line: PredictionLine) -> None:
    assert decode(PredictionLine, json.dumps(encode(line), ensure_ascii=False), "x") == line


def test_the_schemas_in_the_documentation_are_those_of_the_types() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_schemas.py"))["files"]()
    stored = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "schemas").glob("*.json")}
    assert stored == made, "the types changed: run python docs/make_schemas.py"


def test_a_schema_accepts_what_is_written_and_refuses_a_damaged_file() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs" / "schemas" / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(encode(SUMMARY), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(encode(SUMMARY) | {"n": "2"}, schema)


def test_a_recorded_configuration_names_no_module_of_evalkit() -> None:
    config = {
        "task": {"target": "evalkit.tasks.slake:Slake", "name": "slake"},
        "engine": {"inner": {"target": "evalkit.engines.hf:HfEngine"}},
        "model": {"target": "mypackage.models:Mine"},
        "list": [{"target": "evalkit.x:Y", "kept": 1}],
    }
    assert manifest_record(config) == {
        "task": {"name": "slake"},
        "engine": {"inner": {}},
        "model": {"target": "mypackage.models:Mine"},
        "list": [{"kept": 1}],
    }


WORDS = st.text(st.characters(exclude_characters="|:", exclude_categories=["Cs"]), min_size=1)
VALUES = st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]))


@given(WORDS, st.dictionaries(WORDS, VALUES), VALUES, VALUES)
def test_a_signature_is_parsed_back_equal(metric: str, more: dict[str, str], task: str, protocol: str) -> None:
    signature = Signature.of(metric, {"task": task, "protocol": protocol, **more})
    assert Signature.parse(str(signature)) == signature


@pytest.mark.parametrize(
    "text",
    ["", "accuracy", "accuracy|task", "|task:a|protocol:b", "m|task:a|task:b|protocol:c", "m|task:a", "m|:x|task:a"],
)
def test_a_text_that_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        Signature.parse(text)


def test_a_column_and_a_recipe_leave_out_the_parts_of_the_row_and_of_the_data() -> None:
    parts = {"task": "a.test", "n": "5", "slice": "all", "data": "d", "rule": "label", "protocol": "p.1", "gen": "g"}
    signature = Signature.of("m", {**parts, "prompt": "x", "v": "0"})
    assert signature.column == "m|task:a.test|n:5|slice:all|data:d|rule:label|protocol:p.1"
    assert signature.recipe == "rule:label|protocol:p.1"
    other = Signature.of("m", {**parts, "prompt": "y", "rule": "yesno"})
    assert signature.differences(other, {"v"}) == [("rule", "label", "yesno"), ("prompt", "x", "y")]


@pytest.mark.parametrize("text", ["", "strict", " open_recall", "strict ", "a b c"])
def test_a_text_that_is_no_metric_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PROTOCOL METRIC"):
        MetricKey.parse(text)


@pytest.mark.parametrize(
    "change",
    [{"value": float("nan")}, {"low": float("inf")}, {"n": -1}, {"n_unscored": 3}, {"n_unscored": -1}],
)
def test_a_metric_value_rejects_impossible_numbers(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="strict closed_accuracy"):
        replace(VALUE, **change)
