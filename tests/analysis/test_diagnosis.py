"""The verb `diagnose`: the 2x2 table with unread answers, findings named by questions, tags, and refusals."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.analysis.contradictions import contradictions_of_verdicts
from evalkit.analysis.diagnosis import Verdict, diagnose, finding_of, verdicts
from evalkit.cli.main import main
from evalkit.core.types import Sample
from evalkit.reports.diagnosis_table import print_diagnosis, shown
from evalkit.runs.schema import PredictionLine
from evalkit.stats.diagnostic import diagnostic_measures
from tests.support.made_runs import answered, failed, made_run, made_samples


def line(place: int, gold: str, text: str | None, question: str = "Is there a mass?") -> PredictionLine:
    sample = Sample(id=f"q{place}", image_id=f"im{place // 2}", question=question, references=(gold,))
    return PredictionLine.of(sample, failed(sample) if text is None else answered(sample, text))


@pytest.mark.parametrize(
    ("question", "finding"),
    [
        ("Is there a pneumothorax?", "pneumothorax"),
        ("Can effusion be observed on the lower left lung in this picture?", "effusion"),
        ("Are there multiple nodules?", "nodule"),
        ("Does the patient have a brain tumour?", "tumor"),
        ("Does this patient have any fractured ribs?", "fracture"),
        ("Are metastases seen?", "metastasis"),
        ("Is/Are there abnormalities in the left lung?", "abnormality"),
        ("Is the lung free of nodules?", ""),
        ("Is there no fracture?", ""),
        ("Is the mass larger than before?", ""),
        ("Is there a mass or a nodule?", ""),
        ("Is this a CT scan?", ""),
        ("Are there other abnormalities besides the mass?", ""),
        ("", ""),
    ],
)
def test_a_finding_is_named_where_yes_says_that_it_is_there(question: str, finding: str) -> None:
    assert finding_of(question) == finding


def test_unread_answers_are_a_third_outcome_and_wrong_in_the_worst_case() -> None:
    answers = ["yes", "Yes.", "no", None, "maybe", "", "No, there is none", "yes and no"]
    lines = [line(k, "yes" if k % 8 < 6 else "no", answers[k % 8]) for k in range(24)]
    lines.append(line(30, "left lung", "yes"))
    block = diagnose("r", verdicts(lines, lambda _: ""), "", None).blocks[0]
    assert block.n == 24
    assert block.table == {"yes": {"yes": 6, "no": 3, "unread": 9}, "no": {"yes": 0, "no": 3, "unread": 3}}
    read, worst = ({m.name: m for m in side} for side in (block.read, block.worst))
    assert (read["sensitivity"].value, worst["sensitivity"].value) == (6 / 9, 6 / 18)
    assert (read["specificity"].value, worst["specificity"].value) == (1.0, 0.5)


def test_groups_of_few_images_have_a_table_and_no_measures() -> None:
    many = [line(k, "yes" if k % 3 else "no", "yes") for k in range(20)]
    few = [line(40 + k, "no", "yes", "Is there a cyst?") for k in range(4)]
    found = diagnose("r", verdicts([*many, *few], lambda row: finding_of(row.question)), "finding", 0.1)
    assert [(b.group, b.n, bool(b.read)) for b in found.blocks] == [
        ("all", 24, True),
        ("mass", 20, True),
        ("cyst", 4, False),
    ]
    assert found.blocks[2].note == "too few images (2; 5 are needed)"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    samples = made_samples(80)
    return made_run(
        tmp_path / "run", samples, [answered(s, s.references[0] if k % 5 else "yes") for k, s in enumerate(samples)]
    )


def test_the_verb_prints_and_writes_the_block(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "prevalence=0.05", f"file={tmp_path / 'd.json'}"]) == 0
    printed = capsys.readouterr().out
    assert "PPV %, at 5 % prevalence" in printed
    assert "mass" in printed
    record = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert record["prevalence"] == 0.05
    assert [b["group"] for b in record["blocks"]] == ["all", "mass"]


def test_the_verb_names_references_that_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [s for s in made_samples(80) if s.answer_type == "CLOSED"]
    samples = [replace(s, question="Is there a mass?", image_id=f"im{k // 2}") for k, s in enumerate(samples)]
    pairs = [{s.references[0] for s in samples[k : k + 2]} for k in range(0, len(samples), 2)]
    n = sum(len(golds) > 1 for golds in pairs)
    assert 0 < n < len(pairs)
    folder = made_run(tmp_path / "run", samples, [answered(s, "yes") for s in samples])
    assert main(["diagnose", str(folder), f"file={tmp_path / 'd.json'}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{n} pairs of image and question have different ones ({2 * n} of {len(samples)} rows)" in printed
    record = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))["contradictions"]
    assert record == {"pairs": n, "rows": 2 * n, "unmatched": n, "n": len(samples)}


@pytest.mark.parametrize(("cluster", "pairs"), [("image", 1), ("video", None), ("patient", None)])
def test_contradictions_are_read_off_a_run_whose_clusters_are_images(cluster: str, pairs: int | None) -> None:
    found = contradictions_of_verdicts(
        verdicts([line(0, "yes", "yes"), line(1, "no", "yes"), line(2, "no", "no")], lambda row: ""), cluster
    )
    assert (found and found.pairs) == pairs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prevalence=0"], "prevalence=0 is not possible"),
        (["prevalence=5"], "prevalence=5 is not possible"),
        (["by=organ"], "not registered here"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", f"run={run}", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_yes_no_questions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [s for s in made_samples(20) if s.answer_type == "OPEN"]
    folder = made_run(tmp_path / "open", samples, [answered(s, "x") for s in samples])
    assert main(["diagnose", f"run={folder}"]) == 2
    assert "nothing to diagnose" in capsys.readouterr().err


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("prevalence", "text"), [(0.05, "5"), (1 / 3, "33.3"), (0.9996, "99.96"), (0.999999, "99.9999"), (1e-6, "0.0001")]
)
def test_a_stated_prevalence_is_never_printed_as_0_or_100(
    run: Path, prevalence: float, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", f"run={run}", f"prevalence={prevalence}"]) == 0
    assert f"at {text} % prevalence" in capsys.readouterr().out


@pytest.mark.parametrize("prevalence", [1e-9, 1e-4, 0.05, 0.9999, 1 - 1e-9])
def test_bounds_that_are_printed_differ(prevalence: float) -> None:
    gold, said = [True] * 100 + [False] * 400, [k % 7 != 0 for k in range(100)] + [k % 5 == 0 for k in range(400)]
    for measure in diagnostic_measures(gold, said, range(500), prevalence):
        low, high = re.findall(r"\[([-\d.]+), ([-\d.]+)\]", shown(measure))[0]
        assert low != high, measure


@pytest.mark.parametrize(("largest", "marked"), [(1, False), (200, True)])
def test_few_images_that_carry_the_rows_are_said(
    largest: int, marked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images = ["0"] * largest + [str(k) for k in range(1, 40)]
    rows = [
        Verdict(sample_id=str(k), image_id=i, question="?", group="", gold=k % 2 > 0, said=k % 3 > 0)
        for k, i in enumerate(images)
    ]
    print_diagnosis(diagnose("r", rows, "", None))
    assert ("effective number of clusters" in capsys.readouterr().out) == marked
