"""Golds that normalise to nothing, lettered options, and table values beside worst cases, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_ordinary_input import TINY, YAML, evalkit, tiny

__all__ = ["evalkit", "tiny"]
HUATUO = "protocol=huatuogpt-vision"


def answers(folder: Path, name: str, *texts: str) -> str:
    rows = [f"{chr(ord('a') + k)},{text}" for k, text in enumerate(texts)]
    (folder / name).write_text("\n".join(["id,prediction", *rows]) + "\n", encoding="utf-8")
    return f"predictions={name}"


@pytest.fixture
def letter_golds(tiny: None, tmp_path: Path) -> None:
    """The tiny task, whose gold answers are the letter A."""
    module = tmp_path / "lib" / "lettered.py"
    module.write_text(TINY.replace('references=("No",)', 'references=("A",)'), encoding="utf-8")
    text = YAML.replace("mytasks:Tiny", "lettered:Tiny").replace("name: tiny", "name: lettered")
    (tmp_path / "conf" / "task" / "lettered.yaml").write_text(text, encoding="utf-8")


@pytest.mark.few(1)
@pytest.mark.parametrize("verb", ["run", "score", "dry run"])
def test_golds_that_normalise_to_nothing_are_refused_for_a_users_task(
    evalkit: Any, letter_golds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("EVALKIT_TRUST", "lettered")
    arguments = {
        "run": ("model=scripted",),
        "score": ("score", answers(tmp_path, "a.csv", "A", "B")),
        "dry run": ("model=scripted", "dry_run=true"),
    }[verb]
    result = evalkit(*arguments, "task=lettered")
    assert result.code == 2
    assert "the gold answers of 2 samples normalise to nothing under strict" in result.message
    assert not (tmp_path / "runs").exists()


def scored(evalkit: Any, folder: Path, name: str, *texts: str) -> str:
    result = evalkit("score", answers(folder, f"{name}.csv", *texts), "task=tiny", f"name={name}", "leaderboard=null")
    assert result.code == 0, result.err
    return str(result.last_line)


@pytest.mark.slow
def test_compare_and_gate_show_the_value_of_the_table_then_the_worst_case(
    evalkit: Any, tiny: None, tmp_path: Path
) -> None:
    first = scored(evalkit, tmp_path, "unsure", "No", "It depends")
    second = scored(evalkit, tmp_path, "sure", "No", "No")
    summary = json.loads((tmp_path / first / "summary.json").read_text(encoding="utf-8"))
    closed = next(m for m in summary["metrics"] if m["metric"] == "closed_accuracy" and m["slice"] == "all")
    assert (closed["value"], closed["value_worst_case"], closed["n_unscored"]) == (1.0, 0.5, 1)
    compared = evalkit("compare", f"runs=[{second},{first}]")
    assert compared.code == 0 and "100.00 -> 100.00" in compared.out
    assert "the difference is of the worst cases 100.00 -> 50.00, with 0 and 1 unscored" in compared.out
    gated = evalkit("gate", f"baseline={second}", f"candidate={first}", "out=g", "margin=0.01")
    assert "100.00 -> 100.00 (worst case 100.00 -> 50.00)" in gated.out
    table = next((tmp_path / "g").glob("*.md")).read_text(encoding="utf-8")
    assert "| 100.00 | 100.00 (worst case 50.00) |" in table


@pytest.mark.few(1)
@pytest.mark.data
@pytest.mark.parametrize(("protocol", "lettered"), [(HUATUO, True), ("protocol=[huatuogpt-vision,strict]", False)])
def test_options_are_lettered_where_every_chosen_protocol_reads_letters(
    evalkit: Any, shared: Path, tmp_path: Path, protocol: str, lettered: bool
) -> None:
    data = ("task=slake", f"task.path={shared / 'slake'}", "task.prompt=options", "limit=60")
    result = evalkit(*data, "model=scripted", "model.rule=digest", protocol, "leaderboard=null")
    assert result.code == 0, result.err
    prompts = (tmp_path / result.last_line / "prompts.json").read_text(encoding="utf-8")
    assert ("A. " in prompts) == lettered
    assert ("lettered options, the others are asked as they are" in result.err) == lettered
    assert ("task.prompt=options does not letter them" in result.err) == (not lettered)


@pytest.mark.data
def test_helm_reads_golds_in_lower_case_on_the_osf_copy_of_vqa_rad(evalkit: Any, shared: Path, tmp_path: Path) -> None:
    rows = json.loads((shared / "vqa-rad/osf/VQA_RAD Dataset Public.json").read_text(encoding="utf-8"))
    test = [row for row in rows if row["phrase_type"].startswith("test")]
    told = [{"id": str(row["qid"]), "prediction": " ".join(str(row["answer"]).lower().split())} for row in test]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    data = ("task=vqa-rad", f"task.path={shared / 'vqa-rad/osf'}", "protocol=helm", "leaderboard=null")
    result = evalkit("score", "predictions=a.jsonl", *data)
    assert result.code == 0, result.err
    summary = json.loads((tmp_path / result.last_line / "summary.json").read_text(encoding="utf-8"))
    value = next(m["value"] for m in summary["metrics"] if m["metric"] == "quasi_exact_match" and m["slice"] == "all")
    assert value == 1.0
