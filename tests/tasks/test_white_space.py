"""White space inside a question: the data set's own in every prompt, single spaces everywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.types import ImagePlace, Sample
from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.prompts import OPTIONS, SHORT
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa import VqaTask
from evalkit.tasks.vqa_rad import VqaRad
from tests.tasks.test_vqa_rad import mevf, osf

WRITTEN = " Is the\t lung  normal\r\nhere? "
ASKED, FOLDED = "Is the\t lung  normal\r\nhere?", "Is the lung normal here?"
PROMPTS = {"plain": ASKED, "short": f"{ASKED}\n{SHORT}", "options": f"{ASKED} {OPTIONS.format('yes, no')}"}


def conversation(question: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": "yes"}]
    return {"id": "1", "image": "a.jpg", "answer_type": "CLOSED", "conversations": turns}


def slake(question: str) -> dict[str, Any]:
    return {"qid": 1, "img_name": "a/source.jpg", "q_lang": "en", "question": question, "answer": "Yes",
            "answer_type": "CLOSED"}  # fmt: skip


def original(question: str) -> dict[str, Any]:
    return {"img_id": "a", "sentf": {"pvqa": [question]}, "labelf": {"pvqa": [{"yes": 1}]}}


FORMS: dict[str, tuple[type[VqaTask], Any]] = {
    "SLAKE": (Slake, slake),
    "SLAKE, LLaVA-Med": (Slake, conversation),
    "VQA-RAD, OSF": (VqaRad, lambda q: osf(1, q, "yes")),
    "VQA-RAD, MEVF": (VqaRad, lambda q: mevf(1, q, "yes")),
    "VQA-RAD, LLaVA-Med": (VqaRad, conversation),
    "PathVQA, original": (PathVqa, original),
    "PathVQA, flat": (PathVqa, lambda q: {"question": q, "answer": "yes"}),
}


def load(form: str, folder: Path, question: str, prompt: str = "short") -> tuple[VqaTask, Sample, str]:
    kind, row = FORMS[form]
    folder.mkdir()
    (folder / "test.json").write_text(json.dumps([row(question)]), encoding="utf-8")
    closed_rule = "yesno" if kind is PathVqa else "label"
    task = kind(name="t", path=str(folder), allow_counts=True, prompt=prompt, closed_rule=closed_rule)
    loaded = task.load(images=False)
    return task, loaded.samples[0], loaded.data_sha256


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_has_the_white_space_of_the_data_set(tmp_path: Path, form: str, prompt: str) -> None:
    task, sample, digest = load(form, tmp_path / "a", WRITTEN, prompt)
    (message,) = task.messages(sample)
    assert message.content == (ImagePlace(0), PROMPTS[prompt])
    _, folded, same_digest = load(form, tmp_path / "b", FOLDED, prompt)
    assert sample.question == folded.question == folded.prompt_question == FOLDED
    assert (sample.verbatim, folded.verbatim) == (ASKED, "")
    assert digest == same_digest, "the rows are the same data"


def test_parquet_keeps_it_too(tmp_path: Path, put_parquet: Any) -> None:
    put_parquet(tmp_path / "data" / "test-00000.parquet", [(1, WRITTEN, "yes")])
    for kind in (VqaRad, PathVqa):
        task = kind(name="t", path=str(tmp_path), allow_counts=True, closed_rule="yesno", prompt="plain")
        assert task.messages(task.load(images=False).samples[0])[0].content[1] == ASKED


@pytest.mark.data
@pytest.mark.parametrize("form", ["osf", "mevf"])
def test_one_test_question_of_vqa_rad_has_a_tab(shared: Path, form: str) -> None:
    task = VqaRad(name="vqa-rad", path=str(shared / "vqa-rad" / form), prompt="plain")
    asked = {s.question: s.prompt_question for s in task.load(images=False).samples if s.prompt_question != s.question}
    folded = "was the patient positioned appropriately without tilting?"
    assert asked == {folded: "was the patient positioned appropriately \twithout tilting?"}
