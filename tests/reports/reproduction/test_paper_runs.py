"""From answers to verdicts through the command line: data and answers made up to hit published counts."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.coloninst_tree import dialogue
from tests.support.command_line import environment
from tests.support.paper_inputs import llava_med_answers, llava_med_rows, write_json, write_lines

# task -> open rows, closed rows, images, published recall and count of the released weights, and their model.
SETS = {
    "vqa-rad": (179, 272, 203, "66.26", 220, "llava-med-v1.0-vqa-rad"),
    "slake": (645, 416, 96, "82.30", 353, "llava-med-v1.0-slake"),
    "pathvqa": (3370, 3391, 858, "37.59", 3104, "llava-med-v1.0-pathvqa"),
}
USERS = """
about: a table of mine
published:
  paper: Mine, 2026
  version: draft
  url: https://example.org/mine
  table: Table 1
  sources: {draft: {read: my own draft, confidence: high}}
  trains: {phantom-train: the train split of phantom}
  systems:
    - id: majority
      label: Majority
      model: the most frequent answer
      figures:
        - {task: phantom, split: test, protocol: llava-med, metric: closed_accuracy, value: "%s", regime: fine-tuned,
           train: phantom-train, source: draft, n: %d}
"""


def evalkit(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return command_line.in_this_process(*arguments, cwd=cwd, env=environment() | extra)


def score(root: Path, task: str, off: int = 0) -> None:
    """Data in LLaVA-Med's form, answers with the published counts (`off` closed ones more), scored into runs/."""
    n_open, n_closed, images, recall, right, model = SETS[task]
    rows = llava_med_rows(n_open, n_closed, images)
    data = write_json(root / "data" / task / "test.json", rows)
    answers = write_lines(root / f"answers-{task}.jsonl", llava_med_answers(rows, recall, right + off))
    settings = (f"task={task}", f"task.path={data.parent}", f"name={model}", "protocol=llava-med")
    result = evalkit("score", f"predictions={answers}", *settings, cwd=root)
    assert result.returncode == 0, result.stderr


def verdicts(root: Path, *arguments: str) -> dict[tuple[str, str, str], list[dict[str, str]]]:
    result = evalkit("paper", *arguments, "file=table.csv", cwd=root)
    assert result.returncode == 0, result.stderr
    found: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    with (root / "table.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["run"]:
                found.setdefault((row["row"], row["task"], row["metric"]), []).append(row)
    return found


@pytest.mark.few(1)
@pytest.mark.parametrize("task", ["vqa-rad", "slake", pytest.param("pathvqa", marks=pytest.mark.slow)])
def test_answers_with_llava_meds_counts_reproduce_its_cells_and_one_more_deviates(tmp_path: Path, task: str) -> None:
    score(tmp_path, task)
    score(tmp_path, task, off=1)
    met = verdicts(tmp_path, "paper=llava-med-vqa")
    label = "60K-IM 3 ep, FT 9 (the released weights)"
    assert set(met) == {(label, task, "open_recall"), (label, task, "closed_accuracy")}
    assert [r["verdict"] for r in met[label, task, "open_recall"]] == ["reproduced"] * 2
    closed = {r["verdict"]: r for r in met[label, task, "closed_accuracy"]}
    right = SETS[task][4]
    assert set(closed) == {"reproduced", "deviates"}
    assert closed["reproduced"]["k"] == str(right)
    assert closed["deviates"]["why"] == f"{right + 1} right, published are {right} of {SETS[task][1]}"


@pytest.mark.slow
def test_answers_with_coloninsts_count_reproduce_its_cell_and_one_less_deviates(tmp_path: Path) -> None:
    n, right = 8929, 8379
    for folder, k in (("a", right), ("b", right - 1)):
        made = [
            dialogue(
                f"CVC-ClinicDB/Val/polyp/{i}.png", "Categorize the object.", "polyp", "polyp" if i < k else "ulcer"
            )
            for i in range(n)
        ]
        answers = write_json(tmp_path / folder / "val_pred_cls.json", made)
        settings = ("task=coloninst-cls", "task.split=seen", "name=llava-med-v1.0-coloninst-extra")
        result = evalkit("score", f"predictions={answers}", *settings, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    met = verdicts(tmp_path, "paper=coloninst")
    assert set(met) == {("G2", "coloninst-cls", "accuracy")}
    counts = {r["verdict"]: r["k"] for r in met["G2", "coloninst-cls", "accuracy"]}
    assert counts == {"reproduced": "8379", "deviates": "8378"}


@pytest.mark.slow
def test_a_users_paper_is_one_yaml_and_its_missing_runs_are_started(tmp_path: Path) -> None:
    first = evalkit("model=majority", "task=phantom", "protocol=llava-med", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    summary = json.loads((tmp_path / first.stdout.strip().splitlines()[-1] / "summary.json").read_text("utf-8"))
    closed = next(m for m in summary["metrics"] if (m["metric"], m["slice"]) == ("closed_accuracy", "all"))
    conf = tmp_path / "conf" / "paper"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(USERS % (f"{100 * closed['value']:.2f}", closed["n"]), encoding="utf-8")
    mine = {"EVALKIT_CONF": str(tmp_path / "conf")}
    listed = evalkit("list", "papers", cwd=tmp_path, **mine)
    assert "a table of mine" in listed.stdout
    plan = evalkit("paper", "paper=mine", "runs=new", "paper.run=true", "dry_run=true", cwd=tmp_path, **mine)
    assert plan.returncode == 0, plan.stderr
    assert "run model=majority task=phantom task.split=test out=new 'protocol=[llava-med]'" in plan.stdout
    assert not (tmp_path / "new").exists()
    made = evalkit("paper", "paper=mine", "runs=new", "paper.run=true", "file=t.tex", cwd=tmp_path, **mine)
    assert made.returncode == 0, made.stderr
    assert "1 reproduced" in made.stdout
    assert r"\quad evalkit" in (tmp_path / "t.tex").read_text(encoding="utf-8")
    again = evalkit("paper", "paper=mine", "runs=new", "paper.run=true", "dry_run=true", cwd=tmp_path, **mine)
    assert "can be run: 0" in again.stderr


@pytest.mark.slow
def test_a_run_that_cannot_start_leaves_the_table_and_exit_code_three(tmp_path: Path) -> None:
    conf = tmp_path / "conf" / "paper"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(USERS % ("50.00", 10) + "settings: {phantom: [task.seeed=1]}\n", encoding="utf-8")
    result = evalkit("paper", "paper=mine", "paper.run=true", cwd=tmp_path, EVALKIT_CONF=str(tmp_path / "conf"))
    assert result.returncode == 3
    assert "1 not run" in result.stdout
    assert "majority on phantom test (exit code 2)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("file=table.html",), ".md, .csv, .tex"),
        (("accept=maybe",), "accept=maybe"),
        (("paper=llava-med-vq",), "llava-med-vqa"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = evalkit("paper", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
