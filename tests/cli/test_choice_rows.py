"""Multiple-choice rows through the command line: own protocols, labels of the prompt, notes, baselines, the lens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import load_option, options, protocols_for
from tests.cli.test_ordinary_input import evalkit

__all__ = ["evalkit"]
CHOICE_PROTOCOLS = tuple(name for name in options("protocol") if name.startswith("choice-"))

MODULE = '''"""Questions with options beside a yes/no question and an open one."""

from evalkit.core.types import ImagePlace, ImageRef, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.prompts import prompt_id, render, unlisted_note

ROWS = (
    ("a", "Which scan?", ("MRI",), ("CT", "MRI", "PET"), "CHOICE"),
    ("b", "Which plane?", ("axial",), ("axial", "coronal"), "CHOICE"),
    ("c", "Which signs?", ("mass", "edema"), ("mass", "fracture", "edema"), "CHOICE"),
    ("d", "Which organ?", ("A",), ("B", "A", "C"), "CHOICE"),
    ("e", "Is there a mass?", ("No",), (), "CLOSED"),
    ("f", "What is it?", ("lung",), (), "OPEN"),
)


class Quiz:
    def __init__(self, *, name, prompt="letters", path=None, split="test"):
        self.name, self.prompt, self.split = name, prompt, split

    def load(self, *, images=True):
        samples = tuple(
            Sample(id=i, image_id=f"im{k}", question=q, references=gold, choices=choices, tags={"answer_type": kind},
                   images=(ImageRef(kind="draw", path="evalkit.tasks.phantom_draw:draw", member=f"0/test/{k}"),))
            for k, (i, q, gold, choices, kind) in enumerate(ROWS)
        )
        n = sum(kind == "CHOICE" for *_, kind in ROWS)
        return LoadedTask(name=self.name, split=self.split, samples=samples, form="quiz", closed_rule="label",
                          prompt=prompt_id(self.prompt, has_choices=True), notes=tuple(unlisted_note(self.prompt, n)))

    def messages(self, sample):
        text = render(self.prompt, sample.question, sample.choices, is_choice=sample.answer_type == "CHOICE")
        return (Message(role="user", content=(ImagePlace(0), text)),)
'''
YAML = """about: quiz
target: quizzes:Quiz
name: quiz
path: null
split: test
prompt: letters
protocols: [strict, exact-match, choice-strict]
"""


@pytest.fixture
def quiz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "quizzes.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "quiz.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path / "conf"))
    monkeypatch.setenv("EVALKIT_TRUST", "quizzes")


def scored(evalkit: Any, folder: Path, answers: dict[str, str], *arguments: str) -> tuple[Any, dict[str, Any]]:
    lines = [json.dumps({"id": i, "prediction": text}) for i, text in answers.items()]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = evalkit("score", "predictions=a.jsonl", "task=quiz", "leaderboard=null", *arguments)
    assert result.code == 0, result.err
    return result, json.loads((folder / result.last_line / "summary.json").read_text(encoding="utf-8"))


def values(summary: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(m["protocol"], m["metric"]): (m["value"], m["n"], m["n_unscored"]) for m in summary["metrics"]
            if m["slice"] == "all"}  # fmt: skip


RIGHT = {"a": "B", "b": "axial", "c": "A, C", "d": "B. A", "e": "No", "f": "lung"}


@pytest.mark.usefixtures("quiz")
def test_each_kind_of_row_has_its_own_metric_and_the_rest_is_named(evalkit: Any, tmp_path: Path) -> None:
    result, summary = scored(evalkit, tmp_path, RIGHT)
    found = values(summary)
    assert found["choice-strict", "choice_accuracy"] == (1.0, 4, 0)
    assert found["strict", "closed_accuracy"] == (1.0, 1, 0)
    assert found["strict", "open_recall"] == (1.0, 1, 0)
    assert found["strict", "exact_match"][1] == found["exact-match", "exact_match"][1] == 2
    note = "strict, exact-match do not score the 4 multiple-choice rows; choice-strict does"
    assert note in summary["notes"] and note in " ".join(result.err.split())
    (signature,) = {
        m["signature"] for m in summary["metrics"] if m["metric"] == "choice_accuracy" and m["slice"] == "all"
    }
    assert "rule:choices" in signature and "labels:letters" in signature and "protocol:choice-strict.1" in signature
    assert "chance" in result.out and "majority letter" in result.out


@pytest.mark.slow
@pytest.mark.usefixtures("quiz")
def test_a_run_without_a_choice_protocol_says_that_its_choice_rows_have_no_number(evalkit: Any, tmp_path: Path) -> None:
    _, summary = scored(evalkit, tmp_path, RIGHT, "protocol=strict")
    (note,) = summary["notes"]
    assert "no chosen protocol does, so they have no number; add protocol=choice-strict" in note


@pytest.mark.slow
@pytest.mark.usefixtures("quiz")
def test_two_options_or_none_are_unscored_with_the_reason(evalkit: Any, tmp_path: Path) -> None:
    wrong = RIGHT | {"a": "A or B", "b": "", "c": "A", "d": "A"}
    _, summary = scored(evalkit, tmp_path, wrong)
    # The answer "A" is the letter of one option of d and the text of another.
    assert values(summary)["choice-strict", "choice_accuracy"] == (0.0, 4, 3)
    reasons = {u["reason"] for u in summary["unscored"] if u["protocol"] == "choice-strict"}
    assert reasons == {"states A and B", "empty answer"}


@pytest.mark.usefixtures("quiz")
@pytest.mark.parametrize(("prompt", "value"), [("letters", None), ("numbers", 1.0), ("options", None)])
def test_numbers_are_read_where_the_prompt_shows_them(
    evalkit: Any, tmp_path: Path, prompt: str, value: float | None
) -> None:
    numbers = RIGHT | {"a": "2", "b": "Answer: 1", "c": "1, 3", "d": "(2)"}
    _, summary = scored(evalkit, tmp_path, numbers, f"task.prompt={prompt}")
    assert values(summary)["choice-strict", "choice_accuracy"][0] == value
    signature = next(m["signature"] for m in summary["metrics"] if m["metric"] == "choice_accuracy")
    assert f"labels:{'numbers' if prompt == 'numbers' else 'letters'}" in signature


@pytest.mark.few(1)
@pytest.mark.usefixtures("quiz")
@pytest.mark.parametrize(
    ("prompt", "shown"),
    [("letters", "B. MRI"), ("numbers", "2. MRI"), ("options", "- MRI"), ("plain", None), ("short", None)],
)
def test_the_prompt_of_a_run_shows_the_options_and_names_itself(
    evalkit: Any, tmp_path: Path, prompt: str, shown: str | None
) -> None:
    result = evalkit("task=quiz", "model=scripted", "model.rule=digest", f"task.prompt={prompt}", "leaderboard=null")
    assert result.code == 0, result.err
    folder = tmp_path / result.last_line
    prompts = (folder / "prompts.json").read_text(encoding="utf-8")
    assert (shown in prompts) if shown else ("MRI" not in prompts)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["prompt"].startswith(f"{prompt}@")
    assert any("asked as they are, without a list" in note for note in summary["notes"]) == (shown is None)
    assert "does not letter them" not in result.err


@pytest.mark.slow
@pytest.mark.usefixtures("quiz")
def test_every_protocol_that_fits_includes_the_readings_of_choices_and_the_lens_explains_them(
    evalkit: Any, tmp_path: Path
) -> None:
    result, summary = scored(evalkit, tmp_path, RIGHT | {"a": "**B**", "b": "B. coronal"}, "protocol=all")
    reading = {m["protocol"] for m in summary["metrics"] if m["metric"] == "choice_accuracy"}
    assert reading == {*CHOICE_PROTOCOLS, "medvlthinker", "medvlthinker-regraded"}
    assert "choice, counted differently from choice-strict" in result.out
    lens = json.loads((tmp_path / result.last_line / "lens.json").read_text(encoding="utf-8"))
    for difference in (d for d in lens["differences"] if d["column"] == "choice"):
        assert sum(cause["n"] for cause in difference["causes"]) == difference["n"]
        assert "other" not in {cause["cause"] for cause in difference["causes"]}
    assert any("several of its options are right" in note for note in summary["notes"])


@pytest.mark.usefixtures("quiz")
def test_a_random_draw_is_written_as_one(evalkit: Any, tmp_path: Path) -> None:
    result, summary = scored(evalkit, tmp_path, RIGHT | {"a": "no idea"}, "protocol=choice-mmmu")
    lines = (tmp_path / result.last_line / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    (score,) = [s for s in map(json.loads, lines) if s["sample_id"] == "a"]
    assert (score["value"], score["extracted"]) == (pytest.approx(1 / 3), "random")
    assert "draw one at random" in score["note"]
    assert "fallback:expected-random" in next(m["signature"] for m in summary["metrics"])


@pytest.mark.slow
def test_all_takes_the_readings_of_choices_only_where_the_task_has_one_of_them() -> None:
    every = {"all": {}}
    task = {"name": "t", "protocols": ["strict"]}
    assert not set(CHOICE_PROTOCOLS) & set(protocols_for(every, task))
    assert set(CHOICE_PROTOCOLS) < set(protocols_for(every, {**task, "protocols": ["strict", "choice-mmmu"]}))
    chosen = {"choice-strict": load_option("protocol", "choice-strict")}
    assert set(protocols_for(chosen, task)) == {"choice-strict"}
    by_hand = {"choice-strict": chosen["choice-strict"] | {"labels": "letters"}}
    assert protocols_for(by_hand, {**task, "prompt": "numbers"})["choice-strict"]["labels"] == "letters"


@pytest.mark.usefixtures("quiz")
def test_the_board_has_chance_and_the_majority_letter_in_tables_of_multiple_choice(
    evalkit: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"id": i, "prediction": text}) + "\n" for i, text in RIGHT.items()), encoding="utf-8"
    )
    result = evalkit("score", "predictions=a.jsonl", "task=quiz", "leaderboard=boards", "name=reader")
    assert result.code == 0, result.err
    tables = "\n".join(page.read_text(encoding="utf-8") for page in (tmp_path / "boards").rglob("*.md"))
    rows = [
        line for line in tables.splitlines() if "choice" not in line and ("chance" in line or "majority letter" in line)
    ]
    assert len(rows) == 2, tables
    # (1/3 + 1/2 + 1/7 + 1/3) / 4: one of three, one of two, the set of two of three, one of three
    assert any("chance" in line and "32.74" in line for line in rows), rows
