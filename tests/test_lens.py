"""The lens: one cause a difference, causes that add up, protocols that count alike found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.config import build, load_option
from evalkit.lens import COLUMNS, cause_of, look, render, spread, to_csv, to_json
from evalkit.scoring import Context, score_all, tabulate
from evalkit.tasks.base import LoadedTask
from evalkit.types import Prediction, Sample, Score

NAMES = ("llava-med", "llava-med-run-eval", "strict", "medevalkit", "medevalkit-fixed", "lmms-eval", "exact-match")


def sample(number: int, gold: str, closed: bool) -> Sample:
    kind = "CLOSED" if closed else "OPEN"
    return Sample(
        id=str(number),
        image_id=f"i{number // 3}",
        question="Is it normal?",
        references=(gold,),
        tags={"answer_type": kind},
    )


def lens_of(pairs: list[tuple[str, bool, str]], names: tuple[str, ...] = NAMES):  # type: ignore[no-untyped-def]
    samples = tuple(sample(k, gold, closed) for k, (gold, closed, _) in enumerate(pairs))
    predictions = [Prediction(sample_id=str(k), text=text) for k, (_, _, text) in enumerate(pairs)]
    protocols = [build(load_option("protocol", n), n) for n in names]
    task = LoadedTask(name="vqa-rad", split="test", form="made", samples=samples, closed_rule="label", prompt="plain@0")
    scores = score_all(samples, predictions, protocols)
    rows = tabulate(samples, scores, protocols, Context(model="m", task=task))
    return look(samples, predictions, scores, rows)


def score(value: float | None, metric: str = "closed_accuracy", note: str = "") -> Score:
    reason = "" if value is not None else "unreadable"
    return Score(sample_id="0", protocol="p", metric=metric, value=value, reason=reason, note=note)


@pytest.mark.parametrize(
    ("gold", "answer", "first", "second", "cause"),
    [
        ("yes", "", score(0), score(1), "empty answer"),
        ("no", "Normal", score(1), score(0), '"no" inside another word, or negated'),
        ("yes", "Yes, it is abnormal", score(1), score(0), '"no" inside another word, beside a yes'),
        ("no", "Yes and no", score(1), score(None), "says both yes and no"),
        ("yes", "in the eyes", score(1), score(None), '"yes" inside another word'),
        ("yes", "cardiac", score(0), score(None), "neither yes nor no"),
        ("left", "left", score(1), None, "closed by label against closed by yes/no"),
        ("yes", "yes", score(1), None, "yes/no answer outside the metric"),
        ("left", "Left.", score(1), score(0), "closed answer other than yes or no"),
        ("left lung", "Left Lung.", score(1, "open_recall"), score(0, "open_recall"), "case, punctuation or spacing"),
        ("x-ray", "xray", score(1, "open_recall"), score(0, "open_recall"), "hyphen or joined words"),
        ("mri", "magnetic resonance", score(1, "open_recall", "mri = x"), score(0, "open_recall"), "alias"),
        ("2", "two", score(1, "open_recall"), score(0, "open_recall"), "number word"),
        ("left lung", "left left", score(0.7, "open_recall"), score(0.5, "open_recall"), "repeated words"),
        ("lung, heart", "heart lung", score(1, "open_recall"), score(0, "open_recall"), "order of a list"),
        ("lung", "it is the left lung of a man", score(1, "open_recall"), score(0, "open_recall"), "verbose answer"),
        ("left lung", "right lung", score(0.5, "open_recall"), score(0, "open_recall"), "some of the words"),
        ("ct", "structure", score(1, "open_recall"), score(0, "open_recall"), "reference inside another word"),
        ("heart", "brain", score(1, "open_recall"), score(0, "open_recall"), "other"),
    ],
)
def test_the_cause_of_a_difference(gold: str, answer: str, first: Score, second: Score | None, cause: str) -> None:
    closed = first.metric.startswith("closed")
    assert cause_of(sample(0, gold, closed), answer, first, second) == cause


ANSWERS = st.sampled_from(
    ["", "yes", "no", "Yes, it is abnormal", "normal", "yes and no", "left", "left lung", "two", "2", "CT", "a long answer, no"]
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["yes", "no", "left", "2", "ct scan"]), st.booleans(), ANSWERS), min_size=1))
def test_the_causes_add_up_to_the_rows_that_differ(pairs: list[tuple[str, bool, str]]) -> None:
    lens = lens_of(pairs)
    for d in lens.differences:
        assert sum(d.causes.values()) == d.n > 0
        assert d.n <= len(pairs)
    for column, groups in lens.alike.items():
        members = [p for g in groups for p in g]
        assert len(members) == len(set(members))
        shown = {frozenset((d.first, d.second)) for d in lens.differences if d.column == column}
        assert len(shown) == len(groups) * (len(groups) - 1) // 2


def test_the_matrix_the_files_and_the_text_say_the_same() -> None:
    lens = lens_of([("yes", True, "Yes, it is abnormal"), ("no", True, "normal"), ("left lung", False, "left left")])
    content = json.loads(json.dumps(to_json(lens)))
    assert content["columns"] == [c for c in COLUMNS if c in content["columns"]]
    assert len(to_csv(lens).splitlines()) == len(lens.cells) + 1
    text = render(lens, "llava-med")
    assert "closed, counted differently from llava-med" in text
    low, high = spread(lens, "closed") or (None, None)
    assert low is not None and high is not None
    assert low.value is not None and high.value is not None and low.value <= high.value


@pytest.mark.data
def test_real_answers_through_the_command_line(shared: Path, tmp_path: Path) -> None:
    from tests.test_cli import evalkit, folder_of

    file = shared / "predictions" / "qwen2-vl-2b-vqa-rad" / "lora_rank4" / "lora_predictions.jsonl"
    result = evalkit(
        "score", f"predictions={file}", "task=vqa-rad", f"task.path={shared / 'vqa-rad' / 'osf'}", "task.order=hf",
        "protocol=all", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lens = json.loads((folder_of(result, tmp_path) / "lens.json").read_text(encoding="utf-8"))
    pair = next(
        d for d in lens["differences"]
        if d["column"] == "closed" and {d["first"], d["second"]} == {"llava-med", "exact-match"}
    )  # fmt: skip
    # 272 rows are closed by label, 251 by yes or no: nothing else separates the two on these short answers.
    assert [(c["cause"], c["n"]) for c in pair["causes"]] == [("closed by label against closed by yes/no", 21)]
