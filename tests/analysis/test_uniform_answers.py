"""Runs whose answers are all empty or all the same: said beside the table, in the summary and on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.analysis.sanity_checks import uniform_answers
from evalkit.cli.main import main
from evalkit.core.types import Prediction, Sample
from evalkit.tasks.phantom import Phantom


def samples(golds: list[str]) -> list[Sample]:
    return [Sample(id=str(k), image_id="i", question="Q?", references=(gold,)) for k, gold in enumerate(golds)]


def predictions(texts: list[str | None]) -> list[Prediction]:
    return [Prediction(sample_id=str(k), text=t, error="x" if t is None else None) for k, t in enumerate(texts)]


TWENTY = ["yes", "no"] * 10


@pytest.mark.parametrize(
    ("golds", "texts", "said"),
    [
        ([], [], ""),
        (["yes"], [None], ""),
        (["yes"], [""], "all 1 answers are empty"),
        (TWENTY, [""] * 20, "all 20 answers are empty"),
        (TWENTY, [" \n"] * 19 + [None], "all 19 answers are empty"),
        (TWENTY, [""] * 19 + ["no"], ""),
        (TWENTY, ["yes"] * 20, "all 20 answers are the same ('yes'), to questions with 2 different"),
        (TWENTY, ["Yes", "yes "] * 10, "all 20 answers are the same"),
        (TWENTY, ["yes"] * 19 + [None], ""),
        (TWENTY, ["yes"] * 19 + ["no"], ""),
        (["yes"] * 20, ["yes"] * 20, ""),
        (["yes", "Yes "] * 10, ["yes"] * 20, ""),
        (TWENTY[:10], ["yes"] * 10, ""),
    ],
)
def test_what_is_said(golds: list[str], texts: list[str | None], said: str) -> None:
    found = uniform_answers(samples(golds), predictions(texts))
    assert len(found) == bool(said)
    assert not said or found[0].startswith(said)


@pytest.mark.parametrize("text", ["", "nodule"])
def test_it_is_said_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    said = "all 40 answers are the same" if text else "all 40 answers are empty"
    task = Phantom(name="phantom", split="test", prompt="short", n_test=4).load(images=False)
    file = tmp_path / "answers.jsonl"
    lines = [json.dumps({"id": s.id, "prediction": text}) for s in task.samples]
    file.write_text("\n".join(lines), encoding="utf-8")
    where = [f"out={tmp_path / 'runs'}", "leaderboard=null", "task.n_test=4"]
    assert main(["score", f"predictions={file}", "task=phantom", "name=mute", *where]) == 0
    shown = capsys.readouterr()
    assert f"warning: {said}" in shown.err and said in " ".join(shown.out.split())
    (run,) = (tmp_path / "runs").glob("mute-*")
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["warnings"][0].startswith(said)
    assert main(["report", f"run={run}"]) == 0
    assert said in (run / "report.html").read_text(encoding="utf-8")
