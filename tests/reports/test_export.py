"""Exports: valid in the formats of other tools, every number with its interval, n, failures and direction."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from evalkit.core.errors import ConfigError, DataError, StoreError
from evalkit.core.types import MetricValue, Sample
from evalkit.importers import read_answers
from evalkit.reports.export import FinishedRun, read_run
from evalkit.reports.export.every_eval_ever import write_every_eval_ever
from evalkit.reports.export.latex_table import write_latex
from evalkit.reports.export.lm_eval import write_lm_eval
from evalkit.reports.export.model_index import write_model_index
from tests.support.export_schemas import EVERY_EVAL_EVER, EVERY_EVAL_EVER_SAMPLE, LM_EVAL
from tests.support.made_runs import ErrorRates, answered, failed, made_run, made_run_under, made_samples, mixed
from tests.support.old_runs import rewrite


def load(path: Path) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{path.name} holds {word}, which is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(content: Any, schema: dict[str, Any]) -> None:
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(schema).iter_errors(content)]
    assert not errors, errors[:3]


@pytest.fixture
def ordinary(tmp_path: Path) -> Path:
    """40 samples; of the answers some failed, some can be read under one protocol and not under another."""
    samples = made_samples(40)
    return made_run(tmp_path / "made-toy-00000000", samples, mixed(samples, 1))


@pytest.fixture
def nothing_scored(tmp_path: Path) -> Path:
    """Every generation failed."""
    samples = made_samples(6)
    return made_run(tmp_path / "dead-toy-00000000", samples, [failed(s) for s in samples])


def test_a_run_without_scores_is_exported_where_the_format_has_a_place_for_it_and_else_refused(
    nothing_scored: Path, tmp_path: Path
) -> None:
    run = read_run(nothing_scored)
    assert {n.value for n in run.numbers} == {None}
    for write in (write_every_eval_ever, write_model_index):
        with pytest.raises(DataError, match="of 6 samples 6 failed"):
            write(run, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    text = write_latex(run, tmp_path)[0].read_text(encoding="utf-8")
    assert "failed 6" in text and "closed\\_accuracy & -- & -- & 3 & 3" in text
    results, samples = write_lm_eval(run, tmp_path)
    check(load(results), LM_EVAL)
    toy = load(results)["results"]["toy"]
    assert toy["closed_accuracy,strict"] is None and toy["closed_accuracy_unscored,strict"] == 3
    assert load(results)["n-samples"]["toy"] == {"original": 6, "effective": 0}
    assert samples.read_text(encoding="utf-8") == ""


def test_every_eval_ever_has_every_number_with_interval_counts_and_signature(ordinary: Path, tmp_path: Path) -> None:
    run = read_run(ordinary)
    path, samples, unscored = write_every_eval_ever(run, tmp_path)
    content = load(path)
    check(content, EVERY_EVAL_EVER)
    summary = load(ordinary / "summary.json")
    wanted = {f"toy/{m['protocol']}/{m['metric']}": m for m in summary["metrics"] if m["slice"] == "all"}
    assert {r["evaluation_name"] for r in content["evaluation_results"]} == set(wanted)
    for result in content["evaluation_results"]:
        metric, details = wanted[result["evaluation_name"]], result["score_details"]
        assert details["score"] == metric["value"]
        assert details["uncertainty"]["num_samples"] == metric["n"] - metric["n_unscored"]
        interval = details["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == (metric["low"], metric["high"])
        assert details["details"]["n_unscored"] == str(metric["n_unscored"])
        assert details["details"]["n_failed"] == str(summary["n_failed"]) != "0"
        assert details["details"]["signature"] == metric["signature"]
    detail = content["detailed_evaluation_results"]
    assert samples == tmp_path / detail["file_path"] and detail["total_rows"] == len(lines(samples))
    assert detail["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
    assert detail["additional_details"]["n_unscored_left_out"] == str(len(lines(unscored)))


def test_the_mean_of_the_sample_lines_is_their_number(ordinary: Path, tmp_path: Path) -> None:
    path, samples, unscored = write_every_eval_ever(read_run(ordinary), tmp_path)
    rows = lines(samples)
    for row in rows:
        check(row, EVERY_EVAL_EVER_SAMPLE)
    for result in load(path)["evaluation_results"]:
        scores = [r["evaluation"]["score"] for r in rows if r["evaluation_result_id"] == result["evaluation_result_id"]]
        assert sum(scores) / len(scores) == pytest.approx(result["score_details"]["score"])
        left = [u for u in lines(unscored) if f"toy/{u['protocol']}/{u['metric']}" == result["evaluation_name"]]
        assert len(scores) + len(left) == int(result["score_details"]["details"]["n"])
    assert all(u["reason"] for u in lines(unscored))
    assert any("CUDA out of memory" in u["reason"] or "failed" in u["reason"] for u in lines(unscored))


def test_a_failed_generation_is_in_no_sample_line_with_a_score_of_zero(ordinary: Path, tmp_path: Path) -> None:
    lost = {r["sample_id"] for r in lines(ordinary / "predictions.jsonl") if r["error"] is not None}
    _, samples, unscored = write_every_eval_ever(read_run(ordinary), tmp_path)
    assert lost and not lost & {r["sample_id"] for r in lines(samples)}
    assert lost <= {r["sample_id"] for r in lines(unscored)}


def test_exporting_again_replaces_the_files(ordinary: Path, tmp_path: Path) -> None:
    first = write_every_eval_ever(read_run(ordinary), tmp_path)
    assert write_every_eval_ever(read_run(ordinary), tmp_path) == first
    assert len(list((tmp_path / "data").rglob("*.*"))) == 2


def test_a_number_without_a_value_is_named_and_not_exported_as_zero(tmp_path: Path) -> None:
    samples = [s for s in made_samples(12) if s.answer_type == "CLOSED"]
    run = read_run(made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples], protocols=("llava-med",)))
    content = load(write_every_eval_ever(run, tmp_path / "out")[0])
    check(content, EVERY_EVAL_EVER)
    assert {r["metric_config"]["metric_name"] for r in content["evaluation_results"]} == {
        "closed_accuracy",
        "closed_recall",
    }
    missing = json.loads(content["eval_library"]["additional_details"]["numbers_without_a_value"])
    assert {"name": "llava-med/open_recall", "n": 0, "n_unscored": 0, "why": "no rows"} in missing
    text = write_model_index(run, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "# without a value: llava-med/open_recall: no rows" in text


def test_an_interval_that_is_undefined_is_left_out(tmp_path: Path) -> None:
    samples = made_samples(6, per_image=6)
    run = read_run(
        made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples], protocols=("exact-match",))
    )
    content = load(write_every_eval_ever(run, tmp_path / "out")[0])
    check(content, EVERY_EVAL_EVER)
    assert all("confidence_interval" not in r["score_details"]["uncertainty"] for r in content["evaluation_results"])
    assert " & -- & 6 & 0 & " in write_latex(run, tmp_path)[0].read_text(encoding="utf-8")


def test_the_hub_reads_the_model_index_back(ordinary: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    (path,) = write_model_index(read_run(ordinary, model_id="org/made-7b"), tmp_path)
    card = ModelCard(f"---\n{path.read_text(encoding='utf-8')}---\n# A card\n")
    assert card.data.model_name == "org/made-7b"
    summary = load(ordinary / "summary.json")
    wanted = {(m["protocol"], m["metric"]): m for m in summary["metrics"] if m["slice"] == "all"}
    found = {(r.metric_config, r.metric_type): r for r in card.data.eval_results}
    assert set(found) == set(wanted)
    for key, result in found.items():
        metric = wanted[key]
        assert result.metric_value == metric["value"]
        assert result.metric_args["n_unscored"] == metric["n_unscored"]
        assert (result.metric_args["interval_low"], result.metric_args["interval_high"]) == (
            metric["low"],
            metric["high"],
        )
        assert result.metric_args["signature"] == metric["signature"]
        assert result.dataset_args["n_failed"] == summary["n_failed"]


def test_the_harness_files_have_the_numbers_and_are_read_back_by_the_importer(ordinary: Path, tmp_path: Path) -> None:
    results, samples = write_lm_eval(read_run(ordinary), tmp_path)
    content = load(results)
    check(content, LM_EVAL)
    metric = next(m for m in load(ordinary / "summary.json")["metrics"] if m["protocol"] == "strict")
    toy, key = content["results"]["toy"], metric["metric"]
    assert toy[f"{key},strict"] == metric["value"] and toy[f"{key}_low,strict"] == metric["low"]
    assert toy[f"{key}_n,strict"] == metric["n"] and toy[f"{key}_unscored,strict"] == metric["n_unscored"]
    answers = [r for r in lines(ordinary / "predictions.jsonl") if r["text"] is not None]
    assert content["n-samples"]["toy"] == {"original": 40, "effective": len(answers)}
    one = tmp_path / "one.jsonl"
    one.write_text("".join(json.dumps(r) + "\n" for r in lines(samples) if r["filter"] == "strict"), encoding="utf-8")
    assert [a.text for a in read_answers(one).answers] == [r["text"] for r in answers]


def test_slices_are_exported_on_request(ordinary: Path, tmp_path: Path) -> None:
    assert {n.slice for n in read_run(ordinary).numbers} == {"all"}
    run = read_run(ordinary, slices=True)
    assert "organ=lung" in {n.slice for n in run.numbers}
    check(load(write_every_eval_ever(run, tmp_path)[0]), EVERY_EVAL_EVER)
    assert "organ=lung" in write_latex(run, tmp_path)[0].read_text(encoding="utf-8")
    assert "toy:organ=lung" in load(write_lm_eval(run, tmp_path)[0])["results"]


def test_a_run_with_other_images_is_named_as_such(ordinary: Path, tmp_path: Path) -> None:
    rewrite(ordinary / "summary.json", {"image": "blank"})
    run = read_run(ordinary)
    names = {r["evaluation_name"] for r in load(write_every_eval_ever(run, tmp_path)[0])["evaluation_results"]}
    assert "toy (blank image)/strict/closed_accuracy" in names
    assert "toy (blank image)" in write_model_index(run, tmp_path)[0].read_text(encoding="utf-8")
    assert "toy (blank image)" in write_latex(run, tmp_path)[0].read_text(encoding="utf-8")


def judged(folder: Path, samples: list[Sample], **changes: Any) -> None:
    """Judge a run with given replies."""
    from evalkit.core.types import Prediction
    from evalkit.judge.api import judge_run
    from evalkit.judge.config import JudgeConfig

    def reply(messages: list[dict[str, Any]]) -> str:
        return changes.get("reply", '{"verdict": "correct", "why": "same"}')

    answers = {r["sample_id"]: r for r in lines(folder / "predictions.jsonl")}
    predictions = [
        Prediction(sample_id=s.id, text=answers[s.id]["text"], error=answers[s.id]["error"]) for s in samples
    ]
    config = JudgeConfig(name="tiny", model="tiny-judge", transport="local", rows="all", cache=None, retries=0)
    judge_run(folder, config, samples, predictions, complete=reply)


def test_judged_numbers_name_their_judge(tmp_path: Path) -> None:
    samples = made_samples(12)
    folder = made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples], protocols=("strict",))
    judged(folder, samples)
    run = read_run(folder)
    content = load(write_every_eval_ever(run, tmp_path)[0])
    check(content, EVERY_EVAL_EVER)
    result = next(r for r in content["evaluation_results"] if r["metric_config"]["metric_name"] == "judged_accuracy")
    assert result["score_details"]["score"] == 1.0
    assert "tiny-judge" in result["metric_config"]["llm_scoring"]["judges"][0]["model_info"]["id"]
    assert "judge:tiny" in write_latex(run, tmp_path)[0].read_text(encoding="utf-8")


def test_a_judge_outage_is_named_in_every_form_and_gives_no_number(tmp_path: Path) -> None:
    samples = made_samples(12)
    folder = made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples], protocols=("strict",))
    judged(folder, samples, reply="the service is not there")
    run = read_run(folder)
    lost = next(n for n in run.missing if n.metric == "judged_accuracy")
    assert "judg" in run.problem(lost)
    about = load(write_every_eval_ever(run, tmp_path)[0])["eval_library"]["additional_details"]
    assert "judge:tiny/judged_accuracy" in about["numbers_without_a_value"]
    assert "judge:tiny/judged\\_accuracy: no value" in write_latex(run, tmp_path)[0].read_text(encoding="utf-8")
    assert load(write_lm_eval(run, tmp_path)[0])["results"]["toy"]["judged_accuracy,judge:tiny"] is None
    assert "# without a value: judge:tiny/judged_accuracy" in write_model_index(run, tmp_path)[0].read_text("utf-8")


def test_the_model_is_named_by_its_weights_on_the_hub(tmp_path: Path) -> None:
    samples = made_samples(4)
    model = {"kind": "checkpoint", "source": "org/made-7b", "revision": "abc"}
    config = {"model": model, "task": {"repo": "org/toy"}, "choices": {"engine": "hf"}}
    folder = made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples], config=config)
    content = load(write_every_eval_ever(read_run(folder), tmp_path)[0])
    check(content, EVERY_EVAL_EVER)
    assert content["model_info"]["id"] == "org/made-7b" and content["model_info"]["developer"] == "org"
    assert content["model_info"]["additional_details"]["model_availability"] == "open_weights"
    assert content["evaluation_results"][0]["source_data"]["hf_repo"] == "org/toy"
    without = made_run(tmp_path / "two", samples, [answered(s, "yes") for s in samples], model="a b/../c")
    assert read_run(without).model_id == "unknown/a-b-..-c"


def test_bad_input_is_refused(ordinary: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="developer/name"):
        read_run(ordinary, model_id="../../etc")
    with pytest.raises(ConfigError, match="relationship=freind"):
        write_every_eval_ever(read_run(ordinary), tmp_path / "no", relationship="freind")
    with pytest.raises(StoreError, match="no summary"):
        read_run(tmp_path)
    (ordinary / "summary.json").write_text('{"run_id": "x"}', encoding="utf-8")
    with pytest.raises(StoreError, match="key 'schema'"):
        read_run(ordinary)


def exported_directions(run: FinishedRun, out: Path) -> tuple[dict[str, bool], dict[str, bool]]:
    """Metric -> lower_is_better in Every Eval Ever, and metric -> higher_is_better in the harness's results."""
    content = load(write_every_eval_ever(run, out)[0])
    check(content, EVERY_EVAL_EVER)
    configs = [r["metric_config"] for r in content["evaluation_results"]]
    results = load(write_lm_eval(run, out)[0])
    check(results, LM_EVAL)
    return {c["metric_name"]: c["lower_is_better"] for c in configs}, results["higher_is_better"]["toy"]


def test_the_direction_of_a_plug_in_protocols_metric_is_exported(tmp_path: Path) -> None:
    samples = made_samples(8)
    predictions = [answered(s, s.references[0] if k < 6 else "nothing") for k, s in enumerate(samples)]
    run = read_run(made_run_under(tmp_path / "run", samples, predictions, [ErrorRates()]))
    lower, higher = exported_directions(run, tmp_path / "out")
    assert lower == {"error_rate": True, "exact_match": False}
    assert higher == {"error_rate": False, "exact_match": True}
    rows = lines(next((tmp_path / "out" / "data").rglob("*_samples.jsonl")))
    correct = {(r["sample_id"], r["evaluation_name"]): r["evaluation"]["is_correct"] for r in rows}
    assert all(correct[s.id, "toy/error-rates/error_rate"] == (k < 6) for k, s in enumerate(samples))
    assert all(correct[s.id, "toy/error-rates/exact_match"] == (k < 6) for k, s in enumerate(samples))


def with_numbers(run: FinishedRun, **directions: bool | None) -> FinishedRun:
    """A run whose only numbers are these metrics, under the protocols p-0, p-1 ..."""
    signature = run.numbers[0].signature
    numbers = [
        MetricValue(protocol=f"p-{k}", metric=m, slice="all", value=0.5, n=4, higher_is_better=d, signature=signature)
        for k, (m, d) in enumerate(directions.items())
    ]
    return replace(run, numbers=tuple(numbers))


def test_rates_of_failures_are_lower_is_better_and_a_quantity_without_a_direction_makes_no_claim(
    ordinary: Path, tmp_path: Path
) -> None:
    run = with_numbers(
        read_run(ordinary), unparsable_rate=False, flip_rate=False, order_effect=None, reference_score=None
    )
    lower, higher = exported_directions(run, tmp_path)
    assert lower == {"unparsable_rate": True, "flip_rate": True, "order_effect": False, "reference_score": False}
    assert higher == {"unparsable_rate": False, "flip_rate": False}


def test_a_name_with_opposite_directions_in_two_protocols_makes_no_claim(ordinary: Path, tmp_path: Path) -> None:
    run = read_run(ordinary)
    opposite = with_numbers(run, agreement=True).numbers[0]
    run = replace(run, numbers=(opposite, replace(opposite, protocol="other", higher_is_better=False)))
    assert load(write_lm_eval(run, tmp_path)[0])["higher_is_better"]["toy"] == {}
