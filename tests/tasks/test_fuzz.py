"""Copies of data sets, damaged or made up: samples, or one paragraph."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from evalkit.cli.config import build, load_option
from evalkit.tasks.base import LoadedTask
from tests.support.coloninst_tree import records
from tests.support.fuzzing import EDITS, GRAFTS, edited, examples, grafted_file, value_or_error
from tests.tasks.test_path_vqa import FLAT, ORIGINAL
from tests.tasks.test_vqa_rad import OSF, mevf

SLAKE = [
    {
        "img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is it?", "answer": "Yes", "q_lang": "en",
        "location": "Lung", "modality": "CT", "answer_type": "CLOSED", "base_type": "vqa", "content_type": "Organ",
        "triple": ["vhead", "_", "_"], "qid": qid,
    }
    for qid in (1, 2)
]  # fmt: skip
CHAT = {
    "question_id": 1, "image": "1.jpg", "pair_id": "p", "text": "What is it?\n<image>", "gpt4_answer": "It is.",
    "fig_caption": "A slice.", "fig_label": "Fig. 1", "in_text_mention": [{"tokens": "See Fig. 1 .", "entities": []}],
    "domain": {"mri": True, "ct_scan": False}, "type": "conversation",
}  # fmt: skip


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {
        "image": pa.array([{"bytes": b"x", "path": None}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "question": ["Is it?"],
        "answer": ["yes"],
    }
    out = io.BytesIO()
    pq.write_table(pa.table(rows), out)
    return out.getvalue()


def text(content: Any) -> bytes:
    return json.dumps(content).encode()


# Of each form: the task, the place of its file in a copy, a valid content.
FORMS: dict[str, tuple[str, str, bytes]] = {
    "vqa-rad, OSF": ("vqa-rad", "VQA_RAD Dataset Public.json", text(OSF)),
    "vqa-rad, MEVF": ("vqa-rad", "testset.json", text([mevf(1, "Is it?", "yes"), mevf(2, "What?", 3, "OPEN")])),
    "slake": ("slake", "test.json", text(SLAKE)),
    "pathvqa": ("pathvqa", "pvqa_test.json", text(ORIGINAL)),
    "pathvqa, flat": ("pathvqa", "test.json", text(FLAT)),
    "pathvqa, parquet": ("pathvqa", "data/test-00000.parquet", parquet()),
    "coloninst-cls": ("coloninst-cls", "Json-file/test/ColonINST-test-cls.json", text(records("cls", "test", 3))),
    "coloninst-rec": ("coloninst-rec", "Json-file/test/ColonINST-test-rec.json", text(records("rec", "test", 3))),
    "llava-med-chat": ("llava-med-chat", "llava_med_eval_qa50_qa.jsonl", text(CHAT) + b"\n"),
}  # fmt: skip
FUZZED = settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
every_form = pytest.mark.parametrize("form", FORMS)


def load(name: str, folder: Path) -> LoadedTask:
    config = load_option("task", name)
    off = {"allow_counts": True, "check_counts": False}
    task = build({**config, **{k: v for k, v in off.items() if k in config}, "path": str(folder)}, name)
    loaded: LoadedTask = task.load(images=False)
    return loaded


def check(form: str, content: bytes, tmp_path: Path) -> LoadedTask | None:
    name, place, _ = FORMS[form]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    loaded = value_or_error(lambda: load(name, tmp_path), str(tmp_path), name)
    for sample in loaded.samples if loaded else ():
        sample.question.encode("utf-8")
        assert all(reference.encode("utf-8") is not None for reference in sample.references)
    return loaded


@every_form
def test_a_valid_copy_is_read(form: str, tmp_path: Path) -> None:
    loaded = check(form, FORMS[form][2], tmp_path)
    assert loaded is not None and loaded.samples


@pytest.mark.few(2)
@every_form
@FUZZED
@given(edits=EDITS)
def test_an_edited_copy(form: str, tmp_path: Path, edits: Any) -> None:
    check(form, edited(FORMS[form][2], edits), tmp_path)


@pytest.mark.few(2)
@pytest.mark.parametrize("form", [form for form in FORMS if "parquet" not in form])
@FUZZED
@given(grafts=GRAFTS)
def test_a_copy_with_other_values(form: str, tmp_path: Path, grafts: Any) -> None:
    _, place, content = FORMS[form]
    check(form, grafted_file(content, grafts, lines=place.endswith(".jsonl")), tmp_path)
