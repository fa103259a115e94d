"""`compare` and `gate` as tables in files, and gate.md with one row a sample and its gold answer."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.analysis.gate.report import gold_answers, markdown, record
from evalkit.cli.main import main
from evalkit.core.errors import StoreError
from evalkit.reports.difference_tables import gate_sheet
from evalkit.reports.sheet import FORMS
from evalkit.runs.read import references_at
from tests.support.gate_runs import BASE, flip, gate_runs
from tests.support.gate_runs import run as gate_run
from tests.support.made_runs import answered, made_run, made_samples

N = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs, of which the second has three wrong answers more."""
    samples, place = made_samples(N), tmp_path_factory.mktemp("runs")
    made = []
    for model, right in (("one", 50), ("two", 47)):
        answers = [answered(s, s.references[0] if k < right else "?") for k, s in enumerate(samples)]
        made.append(made_run(place / f"{model}-toy-{right:08x}", samples, answers, model=model))
    return made[0], made[1]


@pytest.mark.few(1)
@pytest.mark.parametrize("suffix", [".tex", ".md", ".csv", ".html"])
def test_a_comparison_goes_into_a_file(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    target = tmp_path / f"t{suffix}"
    words = [f"runs=[{folders[0]},{folders[1]}]", "metrics=[exact-match exact_match]", f"to={target}"]
    assert main(["compare", *words]) == 0
    assert str(target) in capsys.readouterr().out
    text = target.read_text(encoding="utf-8")
    assert "two" in text and ("-5.00" in text or "-\\{\\}5.00" in text or "-0.05" in text)
    if suffix == ".csv":
        (row,) = csv.DictReader(text.splitlines())
        assert float(row["difference"]) == pytest.approx(-3 / N) and row["n_worse"] == "3"
        assert row["reference_model"] == "one"


def test_the_gates_table_and_summary(folders: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "gate.csv"
    words = [f"baseline={folders[0]}", f"candidate={folders[1]}", "margin=0.3", f"out={tmp_path}", f"to={target}"]
    assert main(["gate", *words]) in (0, 4)
    content = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    metrics = [m for c in content["comparisons"] for m in c["metrics"]]
    assert [r["metric"] for r in rows] == [m["metric"] for m in metrics]
    assert [r["verdict"] for r in rows] == [m["verdict"] for m in metrics]
    summary = (tmp_path / "gate.md").read_text(encoding="utf-8")
    shown = [line for line in summary.splitlines() if line.startswith("| q")]
    assert len(shown) == 3, "one row a sample, though several metrics changed"
    golds = {s.id: s.references for s in made_samples(N)}
    for line in shown:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[3] == " / ".join(golds[cells[0]])
        assert "1 → 0" in cells[6]
    assert any(line.count("→") > 1 for line in shown)
    flipped = content["comparisons"][0]["flipped"]
    assert all(f["references"] == list(golds[f["sample_id"]]) for f in flipped)


@pytest.mark.parametrize("verb", ["compare", "gate"])
def test_an_unknown_suffix_is_refused_before_anything_is_computed(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    runs = {"compare": [f"runs=[{folders[0]},{folders[1]}]"],
            "gate": [f"baseline={folders[0]}", f"candidate={folders[1]}", f"out={tmp_path}"]}[verb]  # fmt: skip
    assert main([verb, *runs, "to=t.docx"]) == 2
    said = capsys.readouterr()
    assert "to=t.docx has an unknown suffix" in said.err and not said.out


def test_runs_without_a_folder_have_no_gold_and_say_so() -> None:
    (comparison,) = gate_runs((gate_run(BASE), gate_run(flip(BASE, 2, 0), "b")))
    assert gold_answers(comparison) == {}
    row = next(line for line in markdown(record([comparison])).splitlines() if "1 → 0" in line)
    assert row.split("|")[4].strip() == "–"


def test_every_form_of_a_gate_names_verdict_and_direction() -> None:
    base, other = gate_run(BASE, model="a&b"), gate_run(flip(BASE, 300, 0), "b", model="<b>")
    content = record(gate_runs((base, replace(other, cluster="patient_id"))))
    for form, write in FORMS.items():
        assert "fail" in write(gate_sheet(content)), form
    assert "<b>" not in FORMS["html"](gate_sheet(content))
    assert "clusters of patient_id" in gate_sheet(content).notes[0]


def test_a_damaged_line_of_answers_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    for line in ('{"sample_id": "a"}', "[1]", "{"):
        path.write_text(f"{line}\n", encoding="utf-8")
        with pytest.raises(StoreError, match="line 1 is not an answer"):
            references_at(path, {"a"})
