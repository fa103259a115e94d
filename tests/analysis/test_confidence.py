"""Confidence of a run: from made answers to the block, the printed lines, the page and the stored line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.analysis.confidence import answer_confidence, render
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Generation, OptionScore, Prediction, Sample
from evalkit.importers.evalkit_run import _logprob
from evalkit.pipeline.inputs import check_confidence
from evalkit.reports.run_page import page_data, write_page
from evalkit.scoring.text.abstention import abstains
from evalkit.stats import aurc, calibration_error
from tests.support.made_runs import made_run, made_samples, mixed


def with_probabilities(samples: list[Sample], seed: int) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    texts = ("no", "left", "It cannot be determined from this image.")
    return [
        p if p.error else replace(p, logprob=min(0.0, round(math.log(rng.uniform(0.05, 1)), 6)))
        for p in mixed(samples, seed, texts)
    ]


def block(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["sanity_checks"]["confidence"]
    return found


def metric(found: dict[str, Any], protocol: str, name: str) -> dict[str, Any]:
    return next(m for m in found["metrics"] if (m["protocol"], m["metric"]) == (protocol, name))


SAMPLES = made_samples(80, per_image=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("run") / "r", SAMPLES, with_probabilities(SAMPLES, 5))


def test_the_block_has_the_values_of_a_plain_computation(run: Path) -> None:
    found = metric(block(run), "exact-match", "exact_match")
    predictions = with_probabilities(SAMPLES, 5)
    used = [
        (math.exp(p.logprob), float(p.text == s.references[0]))
        for p, s in zip(predictions, SAMPLES, strict=True)
        if p.logprob is not None and not abstains(p.text or "")
    ]
    confidence, right = map(list, zip(*used, strict=True))
    assert found["n"] == 80 and found["n_answered"] == len(used)
    assert found["aurc"]["value"] == pytest.approx(aurc(confidence, [1 - y for y in right]))
    assert found["calibration_error"]["value"] == pytest.approx(calibration_error(confidence, right))
    whole = found["selective"][-1]
    assert whole["coverage"] == 1 and whole["value"] == pytest.approx(np.mean(right))
    assert found["overconfidence"]["value"] == pytest.approx(np.mean(confidence) - np.mean(right))


def test_right_wrong_abstained_and_unscored_are_all_samples(run: Path) -> None:
    found = metric(block(run), "exact-match", "exact_match")
    predictions = with_probabilities(SAMPLES, 5)
    shares = {name: value["value"] for name, value in found["outcomes"].items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["abstained"] == pytest.approx(sum(abstains(p.text or "") for p in predictions) / 80)
    assert shares["unscored"] == pytest.approx(sum(p.error is not None for p in predictions) / 80)
    assert shares["abstained"] > 0 and shares["unscored"] > 0
    assert found["n_without_probability"] == sum(p.error is not None for p in predictions)


def test_the_lines_name_every_outcome_and_the_file_has_the_probability(run: Path) -> None:
    text = render(block(run), "exact-match")
    assert "abstained" in text and "AURC" in text and "calibration error" in text and "strict" not in text
    lines = [json.loads(x) for x in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [x.get("logprob") for x in lines] == [p.logprob for p in with_probabilities(SAMPLES, 5)]


def test_without_probabilities_nothing_is_added(tmp_path: Path) -> None:
    run = made_run(tmp_path / "r", SAMPLES, mixed(SAMPLES, 5))
    assert "confidence" not in json.loads((run / "summary.json").read_text(encoding="utf-8"))["sanity_checks"]
    assert "logprob" not in (run / "predictions.jsonl").read_text(encoding="utf-8")
    assert page_data([run], {}, {})["runs"][0]["confidence"] is None


def test_the_page_has_the_curve_and_the_bins(run: Path, tmp_path: Path) -> None:
    data = page_data([run], {s.id: s for s in SAMPLES}, {})
    assert data["runs"][0]["confidence"] == block(run)
    write_page(tmp_path / "page.html", data)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="confidence"' in page and "riskCurve" in page and "\nconfidence();" in page


def test_a_right_answer_that_leaves_the_question_open_is_right(tmp_path: Path) -> None:
    samples = [replace(s, references=("cannot be determined",)) for s in made_samples(8)]
    answers = [
        Prediction(sample_id=s.id, text="cannot be determined", finish_reason="stop", logprob=-0.1) for s in samples
    ]
    found = metric(block(made_run(tmp_path / "r", samples, answers)), "exact-match", "exact_match")
    assert found["outcomes"]["right"]["value"] == 1 and found["outcomes"]["abstained"]["value"] == 0


def test_options_have_the_probability_of_the_chosen_one_among_them() -> None:
    options = tuple(OptionScore(text=t, logprob=v, n_tokens=1) for t, v in (("A", -1.0), ("B", -2.0), ("C", -800.0)))
    found = answer_confidence(Prediction(sample_id="1", text="A", options=options))
    assert found == pytest.approx(math.exp(-1) / (math.exp(-1) + math.exp(-2)))
    assert answer_confidence(Prediction(sample_id="1", text="A", logprob=-1.0)) == pytest.approx(math.exp(-1))
    assert answer_confidence(Prediction(sample_id="1", text="A")) is None
    assert answer_confidence(Prediction(sample_id="1", error="x")) is None


@pytest.mark.parametrize("value", [0.5, float("nan"), float("-inf")])
def test_what_is_no_log_probability_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        Prediction(sample_id="1", text="x", logprob=value)
    with pytest.raises(DataError, match="line 3"):
        _logprob(value, "line 3, logprob")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cannot be determined", True), ("I cannot tell.", True), ("It is not possible to determine.", True),
        ("I don't know", True), ("There is insufficient information.", True), ("无法判断", True),
        ("No", False), ("The lesion cannot be seen.", False), ("The mass is well determined", False), ("", False),
    ],
)  # fmt: skip
def test_what_counts_as_abstention(text: str, expected: bool) -> None:
    assert abstains(text) is expected


class _Engine:
    name = "hf"
    gives_probability = True


@pytest.mark.parametrize(
    "generation",
    [Generation(temperature=0.7), Generation(num_beams=3), Generation(repetition_penalty=1.2)],
    ids=["sampled", "beams", "penalty"],
)
def test_other_decoding_than_greedy_is_refused(generation: Generation) -> None:
    check_confidence(_Engine(), Generation(), "m")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="greedy answer"):
        check_confidence(_Engine(), generation, "m")  # type: ignore[arg-type]


def test_an_engine_without_probabilities_is_refused() -> None:
    class Blind:
        name = "scripted"

    with pytest.raises(ConfigError, match="confidence=true is not possible with m"):
        check_confidence(Blind(), Generation(), "m")  # type: ignore[arg-type]
