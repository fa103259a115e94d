"""The verb `plan`: its table, its JSON and its plot, for a task, a user's table and a set to be made."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from evalkit.cli.main import main


def rows_csv(folder: Path) -> Path:
    """A table of 60 questions on 20 images, a third of them open."""
    lines = ["id,image,question,answer,modality"]
    lines += [
        f"{k},{k // 3}.png,q{k}?,{'lung' if k % 3 == 0 else 'yes'},{'CT' if k < 30 else 'MRI'}" for k in range(60)
    ]
    file = folder / "own.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_a_set_to_be_made_is_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "plan.json", tmp_path / "plan.svg"
    words = ["plan", "n=600", "images=100", "metrics=2", "margin=0.04", f"file={out}", f"plot={plot}"]
    assert main(words) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    (metric,) = plan["metrics"]
    assert (metric["n"], metric["n_images"], plan["joint"]["n_metrics"]) == (600, 100, 2)
    assert plan["joint"]["pass_power"] < metric["pass_power"] < 1
    assert plan["joint"]["smallest_margin"] > metric["smallest_margin"]
    assert metric["images_for_difference"] > 100
    assert ET.parse(plot).getroot().tag.endswith("svg")
    printed = capsys.readouterr().out
    assert "difference found with power 80 %" in printed
    assert "All 2 metrics together" in printed


@pytest.mark.slow
def test_a_users_table_is_planned_by_answer_type_and_tag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = rows_csv(tmp_path)
    table = ["plan", "task=table", f"task.path={file}", "task.tags=[modality]", f"file={tmp_path / 'plan.json'}"]
    assert main([*table, "rows=[all,OPEN,modality=CT]", "icc=0.05"]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert [(m["rows"], m["n"], m["n_images"]) for m in plan["metrics"]] == [
        ("all", 60, 20), ("OPEN", 20, 20), ("modality=CT", 30, 10),
    ]  # fmt: skip
    assert "Note: modality=CT: 10 images count as 10" in capsys.readouterr().out


@pytest.mark.slow
def test_a_plan_of_a_set_says_how_many_of_its_references_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = rows_csv(tmp_path)
    words = ["plan", "task=table", f"task.path={file}", f"file={tmp_path / 'plan.json'}"]
    assert main(words) == 0
    assert "contradict" not in capsys.readouterr().out
    # Questions are alike up to case and spaces; the first image's two closed rows and its open one become one question.
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[1:4] = ["0,0.png,Side ?,left,CT", "1,0.png,side?,left,CT", "2,0.png,side?,right,CT"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(words) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 pair of image and question has different ones (3 of 60 rows)" in printed
    assert "one answer to each equals at most 98.3 % of all references" in printed
    assert "With 1.7 % wrong references, a score of 80 %" in printed
    found = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["contradictions"]
    assert found == {"pairs": 1, "rows": 3, "unmatched": 1, "n": 60}


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a set"),
        (["n=10", "rows=all"], "has no tags"),
        (["n=10", "images=20"], "not possible"),
        (["n=10", "difference=0.3"], "larger discordance="),
        (["n=10", "loss=0.3"], "loss=0.3 is more"),
        (["n=10", "power=1"], "power=1 is not possible"),
        (["n=10", "icc=-0.1"], "icc=-0.1 is not possible"),
        (["n=10", "metrics=0"], "metrics=0 is not possible"),
        (["n=10", "task=phantom"], "not both"),
        (["task=phantom", "rows=[organ=spleen]"], "no question has it. Known"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_paragraph(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
