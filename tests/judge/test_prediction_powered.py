"""Accuracy from judgments and labels: ppi-python's values, coverage, labels picked by verdict or from elsewhere."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.judge_correction import drawn, picked
from evalkit.cli.main import main
from evalkit.core.errors import DataError
from evalkit.judge.agreement import Agreement, check_labels
from evalkit.judge.api import judge_run
from evalkit.judge.correction import weighted_share
from evalkit.judge.draw_labels import DrawnAnswer, draw_answers
from evalkit.judge.human_labels import read_labels
from evalkit.judge.items import item_results
from evalkit.judge.journal import choose_judge
from evalkit.judge.prediction_powered import (
    JudgedAnswers,
    LabelledAnswers,
    picked_by_verdict,
    prediction_powered_accuracy,
)
from evalkit.runs.schema import PredictionLine
from tests.support.judge_samples import answers, config, vqa


def estimate(human: list[bool], right: list[bool], everything: list[bool]) -> tuple[float | None, ...]:
    found = prediction_powered_accuracy(
        JudgedAnswers(everything, range(len(everything))),
        LabelledAnswers(human, right, range(len(human)), [1.0] * len(human)),
    )
    return found.value, found.low, found.high


def test_the_estimate_is_the_prediction_powered_mean_with_the_tuning_of_least_variance() -> None:
    rng = np.random.default_rng(4)
    everything = rng.random(4000) < 0.7
    human = np.where(everything[:200], rng.random(200) < 0.9, rng.random(200) < 0.25)
    tuning = human[everything[:200]].mean() - human[~everything[:200]].mean()
    expected = tuning * everything.mean() + (human - tuning * everything[:200]).mean()
    value, low, high = estimate(human.tolist(), everything[:200].tolist(), everything.tolist())
    assert value == pytest.approx(expected)
    # ppi_mean_pointestimate and ppi_mean_ci of ppi-python 0.2.3 with this tuning, all judgments as unlabelled ones.
    assert (value, low, high) == pytest.approx((0.766572, 0.718325, 0.814819), abs=0.003)


@pytest.mark.parametrize("by_verdict", [False, True])
@pytest.mark.parametrize("judge", [(0.6, 0.9, 0.85), (0.9, 0.95, 0.7)])
def test_the_interval_covers_for_random_labels_and_for_as_many_of_each_verdict(
    judge: tuple[float, float, float], by_verdict: bool
) -> None:
    rng, hits, values = np.random.default_rng(5), 0, []
    for _ in range(200):
        image, right, judged = drawn(rng, judge)
        places = picked(rng, judged, 100, by_verdict)
        found = prediction_powered_accuracy(
            JudgedAnswers(judged.tolist(), image.tolist()),
            LabelledAnswers(
                right[places].tolist(), judged[places].tolist(), image[places].tolist(), [1.0] * len(places)
            ),
        )
        hits += found.low <= judge[0] <= found.high
        values.append(found.value)
    assert hits >= 183
    assert np.mean(values) == pytest.approx(judge[0], abs=0.01)


def test_equal_labels_leave_doubt_and_few_images_give_no_value() -> None:
    value, low, high = estimate([True] * 10, [True] * 10, [True] * 100)
    assert (value, high) == pytest.approx((1.0, 1.0))
    assert low is not None and low < 0.9
    assert estimate([True, False], [True, False], [True] * 50 + [False] * 50)[0] is None


def test_labels_of_one_verdict_alone_are_refused_unless_chance_explains_them() -> None:
    judged = [True] * 60 + [False] * 40
    found = prediction_powered_accuracy(
        JudgedAnswers(judged, range(100)), LabelledAnswers([True] * 30, [True] * 30, range(30), [1.0] * 30)
    )
    assert found.value is None
    assert "0 labels of answers judged not right, of which the run has 40" in found.why
    rare = [True] * 99 + [False]
    assert estimate([True] * 15 + [False] * 5, [True] * 20, rare)[0] == 0.75


def test_a_draw_by_verdict_is_told_from_a_random_one() -> None:
    judged = [True] * 400 + [False] * 100
    assert not picked_by_verdict([True] * 80 + [False] * 20, judged)
    assert not picked_by_verdict([True] * 74 + [False] * 26, judged)
    assert picked_by_verdict([True] * 50 + [False] * 50, judged)
    assert picked_by_verdict([True] * 99 + [False], judged)


def test_a_weighted_share_is_its_definition_and_lies_within_its_bounds() -> None:
    found = weighted_share([1, 0, 1, 1], "abcc", [1.0, 3.0, 1.0, 1.0])
    assert found.value == 0.5
    assert found.interval is not None
    assert 0 < found.interval.low < 0.5 < found.interval.high < 1
    assert weighted_share([1, 0], "aa", [1.0, 2.0]).interval.low is None


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 answers of which 3 in 4 are right; the judge calls right all of these and a fifth of the others."""

    def complete(messages: list[dict]) -> str:
        number = int(messages[1]["content"].split("organ is number ")[1].split("?")[0])
        return json.dumps({"verdict": "correct" if is_right(number) or number % 5 == 0 else "wrong", "reason": "x"})

    folder, samples = tmp_path_factory.mktemp("judged"), vqa(400)
    local = config("", transport="local", rows="all", cache=str(folder / "cache.sqlite"))
    judge_run(folder / "run", local, samples, answers(samples), complete=complete)
    return folder / "run"


def is_right(number: int) -> bool:
    return number % 4 != 0


def checked(tmp_path: Path, run: Path, numbers: list[int], **columns: object) -> Agreement:
    rows = [{"sample_id": f"q{k}", "label": "correct" if is_right(k) else "wrong", **columns} for k in numbers]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return check_labels(file, run=run)


def test_labels_picked_by_verdict_are_seen_and_weighted_back(tmp_path: Path, judged_run: Path) -> None:
    drawn_ones = random.Random(3)
    called_right = [k for k in range(400) if is_right(k) or k % 5 == 0]
    called_wrong = [k for k in range(400) if k not in set(called_right)]
    found = checked(tmp_path, judged_run, [*drawn_ones.sample(called_right, 40), *drawn_ones.sample(called_wrong, 40)])
    whole = found.groups[0]
    assert any("picked by verdict" in note for note in found.notes)
    assert whole.get("corrected_accuracy").value == pytest.approx(0.75, abs=0.03)
    assert whole.get("specificity").value == pytest.approx(0.8, abs=0.1), "unweighted it is above 0.9"
    random_ones = checked(tmp_path, judged_run, drawn_ones.sample(range(400), 80))
    assert not any("picked" in note for note in random_ones.notes)
    assert random_ones.groups[0].get("corrected_accuracy").value == pytest.approx(0.75, abs=0.08)


def test_labels_of_one_verdict_give_no_corrected_accuracy(tmp_path: Path, judged_run: Path) -> None:
    found = checked(tmp_path, judged_run, [k for k in range(400) if is_right(k)][:60])
    corrected = found.groups[0].get("corrected_accuracy")
    assert corrected.value is None
    assert "label a random sample" in corrected.why


@pytest.mark.slow
def test_labels_of_another_run_correct_by_the_judges_errors_or_are_refused(tmp_path: Path, judged_run: Path) -> None:
    def elsewhere(n: int, right: int, **columns: object) -> Agreement:
        rows = [
            {"sample_id": f"other{k}", "label": "correct" if k < right else "wrong", **columns}
            | {"judge": "correct" if k < right or k % 5 == 0 else "wrong"}
            for k in range(n)
        ]
        file = tmp_path / "labels.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return check_labels(file, run=judged_run)

    alike = elsewhere(60, 45).groups[0].get("corrected_accuracy")
    assert alike.value == pytest.approx(0.75, abs=0.02)
    picked_ones = elsewhere(60, 20)
    assert picked_ones.groups[0].get("corrected_accuracy").value is None
    assert "column weight" in picked_ones.groups[0].get("corrected_accuracy").why
    assert elsewhere(60, 20, weight=1).groups[0].get("corrected_accuracy").value == pytest.approx(0.75, abs=0.03)


def test_drawn_answers_have_the_weights_of_their_strata(judged_run: Path) -> None:
    samples = vqa(400)
    lines = [PredictionLine.of(s, a) for s, a in zip(samples, answers(samples), strict=True)]
    items = item_results(choose_judge(judged_run))
    for by in (None, "verdict", "answer_type"):
        found = draw_answers(lines, items, 100, by, 0)
        assert len({d.line.sample_id for d in found}) == 100
        assert sum(d.weight for d in found) == pytest.approx(400)
    by_verdict = draw_answers(lines, items, 100, "verdict", 0)
    assert sorted({round(d.weight, 6) for d in by_verdict}) == [1.6, 6.4]
    assert draw_answers(lines, items, 100, None, 0) != draw_answers(lines, items, 100, None, 1)
    assert len(draw_answers(lines, items, 1000, None, 0)) == 400


def test_a_cell_is_no_formula_and_has_no_thought() -> None:
    (sample,) = vqa(1)
    line = PredictionLine.of(sample, answers([sample], "<think>hm</think>=cmd()")[0])
    row = DrawnAnswer(line=line, weight=2.0).row()
    assert (row["answer"], row["weight"], row["label"]) == ("'=cmd()", "2", "")


@pytest.mark.slow
def test_the_verb_writes_a_file_that_judge_check_reads(
    tmp_path: Path, judged_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support.made_runs import answered, made_run

    samples = vqa(400)
    folder = made_run(tmp_path / "made", samples, [answered(s, f"It is answer {s.id}.") for s in samples])
    (folder / "judgments.jsonl").write_bytes((judged_run / "judgments.jsonl").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["judge", "sample", f"run={folder}", "n=50", "by=verdict"]) == 0
    with open("labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    assert "verdict" not in rows[0] and {row["label"] for row in rows} == {""}
    for row in rows:
        row["label"] = "correct" if is_right(int(row["sample_id"][1:])) else "wrong"
    with open("labels.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    corrected = check_labels(Path("labels.csv"), run=judged_run).groups[0].get("corrected_accuracy")
    assert corrected.low < 0.75 < corrected.high
    assert main(["judge", "sample", f"run={folder}"]) == 2
    assert "may have labels" in capsys.readouterr().err
    for words, message in ((["n=0"], "n=0 is not possible"), (["by=colour"], "Known: verdict, answer_type")):
        assert main(["judge", "sample", f"run={folder}", "file=x.csv", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("weight", ["", "0", "-1", "nan", "inf", "x"])
def test_a_weight_that_is_no_number_above_0_is_refused(tmp_path: Path, weight: str) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps({"sample_id": "a", "label": "wrong", "weight": weight}), encoding="utf-8")
    with pytest.raises(DataError, match="not a number above 0"):
        read_labels(file)
