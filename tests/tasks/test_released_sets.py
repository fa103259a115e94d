"""The real sets: counts, rows, other numberings, and what blind answers score."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from evalkit.analysis.dataset_audit import Finding, audit
from evalkit.core.types import CLOSED, OPEN
from evalkit.models.text_only_baselines import Lookup
from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa import VqaTask
from evalkit.tasks.vqa_rad import VqaRad
from tests.support.paths import CONF

pytestmark = pytest.mark.data


def make(name: str, shared: Path, **settings: str) -> VqaTask:
    kind, place = {
        "osf": (VqaRad, "vqa-rad/osf"),
        "mevf": (VqaRad, "vqa-rad/mevf"),
        "slake": (Slake, "slake"),
        "path": (PathVqa, "pathvqa/hf"),
        "path-original": (PathVqa, "pathvqa/original"),
    }[name]
    if kind is PathVqa:
        settings = {"closed_rule": "yesno", **settings}
    return kind(name=name, path=str(shared / place), **settings)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("name", "settings", "form", "opened", "closed", "images"),
    [
        ("osf", {}, "osf-json", 179, 272, 203),
        ("osf", {"closed_rule": "yesno"}, "osf-json", 200, 251, 203),
        ("mevf", {}, "mevf-json", 179, 272, 203),
        ("slake", {}, "slake-json", 645, 416, 96),
        ("slake", {"closed_rule": "yesno"}, "slake-json", 706, 355, 96),
        ("slake", {"language": "zh"}, "slake-json", 613, 420, 96),
        ("slake", {"language": "all"}, "slake-json", 1258, 836, 180),
        ("slake", {"split": "validation"}, "slake-json", 631, 422, 96),
        ("path", {}, "hf-json", 3357, 3362, 858),
        ("path-original", {}, "pvqa-json", 3370, 3391, 858),
    ],
)
def test_counts(
    shared: Path, name: str, settings: dict[str, str], form: str, opened: int, closed: int, images: int
) -> None:
    loaded = make(name, shared, **settings).load(images=False)
    kinds = [s.answer_type for s in loaded.samples]
    assert (loaded.form, kinds.count(OPEN), kinds.count(CLOSED)) == (form, opened, closed)
    assert len({s.image_id for s in loaded.samples}) == images
    assert len({s.id for s in loaded.samples}) == opened + closed
    assert not loaded.skipped


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("osf", {0: ("10", "Is there evidence of an aortic aneurysm?", "yes", CLOSED)}),
        ("slake", {0: ("11934", "What modality is used to take this image?", "CT", OPEN)}),
        (
            "path",
            {
                1: ("25914", "how are the histone subunits charged?", "positively charged", OPEN),
                -1: (
                    "32631",
                    "does the subcutaneous tissue show masses or nodules of calcium salt surrounded by foreign body "
                    "giant cells?",
                    "yes",
                    CLOSED,
                ),
            },
        ),
    ],
)
def test_rows_are_the_released_ones(shared: Path, name: str, rows: dict[int, tuple[str, str, str, str]]) -> None:
    samples = make(name, shared).load(images=False).samples
    for place, expected in rows.items():
        s = samples[place]
        assert (s.id, s.question, s.references[0], s.answer_type) == expected


def test_every_row_is_the_record_of_the_file(shared: Path) -> None:
    """A second reading of the two files that carry ids, without any of the adapters' code."""
    records = json.loads((shared / "slake" / "test.json").read_text(encoding="utf-8"))
    english = [r for r in records if r["q_lang"] == "en"]
    got = make("slake", shared).load(images=False).samples
    assert [(s.id, s.image_id, s.tags["answer_type"], s.tags["modality"], s.tags["organ"]) for s in got] == [
        (str(r["qid"]), r["img_name"], r["answer_type"], r["modality"], r["location"]) for r in english
    ]
    assert [" ".join(r["answer"].split()) for r in english] == [s.references[0] for s in got]
    assert sum(s.references[0] == "None" for s in got) == 9


def test_hugging_face_s_row_numbers(shared: Path) -> None:
    table = json.loads((shared / "vqa-rad" / "hf" / "test_hf_order_with_osf_qid.json").read_text(encoding="utf-8"))
    order = make("osf", shared).load(images=False).order["hf"]
    assert order == tuple(str(r["qid"]) for r in sorted(table, key=lambda r: r["hf_index"]))


def test_the_leak_flags_are_the_known_ones(shared: Path) -> None:
    known = json.loads((shared / "vqa-rad" / "leaked_test_qids_via_frames.json").read_text(encoding="utf-8"))["qids"]
    samples = make("osf", shared).load(images=False).samples
    assert sorted(int(s.id) for s in samples if s.tags["leak"] == "frame") == sorted(known)
    assert len(known) == 284


@pytest.mark.few(2)
@pytest.mark.parametrize(("name", "train"), [("osf", 1797), ("mevf", 3064), ("slake", 4918), ("path", 19654)])
def test_train_rows(shared: Path, name: str, train: int) -> None:
    """SLAKE's 4,919 English train rows include one without an answer, which is left out with a message."""
    loaded = make(name, shared).load_train()
    assert len(loaded.samples) == train
    assert len(loaded.skipped) == (1 if name == "slake" else 0)


def words_found(gold: str, answer: str) -> float:
    gold_words, words = re.findall(r"\w+", gold.lower()), set(re.findall(r"\w+", answer.lower()))
    return sum(word in words for word in gold_words) / len(gold_words) if gold_words else 0.0


@pytest.mark.parametrize(
    ("name", "closed", "opened"),
    # VQA-RAD's open figure moves between 15 and 20 with how ties between equally frequent answers are broken.
    [("path", 81.8, 15.3), ("slake", 66.6, 52.6), ("osf", 52.2, 18.5)],
)
@pytest.mark.slow
def test_scores_of_a_lookup_baseline_without_images(shared: Path, name: str, closed: float, opened: float) -> None:
    task = make(name, shared)
    table = Lookup().fit(task.load_train().samples)
    samples = task.load(images=False).samples
    answers = {s.id: table.answer(s.question, s.answer_type) for s in samples}
    right = [answers[s.id].lower() == s.references[0].lower() for s in samples if s.answer_type == CLOSED]
    recalls = [words_found(s.references[0], answers[s.id]) for s in samples if s.answer_type == OPEN]
    assert 100 * sum(right) / len(right) == pytest.approx(closed, abs=0.05)
    assert 100 * sum(recalls) / len(recalls) == pytest.approx(opened, abs=0.05)


def findings(task: VqaTask) -> dict[str, Finding]:
    return {f.check: f for f in audit(task, images=False)}


def test_the_audit_finds_the_known_defects(shared: Path) -> None:
    rad, mevf = findings(make("osf", shared)), findings(make("mevf", shared))
    assert rad["closed"].count == 21
    assert rad["train images"].count == 202
    assert "446 of 451" in rad["train images"].text
    assert (rad["train rows"].count, rad["leaks"].count) == (1, 284)
    assert (mevf["train images"].count, mevf["train rows"].count) == (203, 14)
    path = findings(make("path", shared))
    assert (path["duplicates"].count, path["conflicts"].count) == (608, 236)
    assert "951 rows" in path["conflicts"].text
    assert "3 of them with yes and no" in path["conflicts"].text
    assert "not comparable" in path["train images"].text
    assert "not comparable" in path["train rows"].text


@pytest.mark.slow
def test_slake_s_languages_share_images_across_splits(shared: Path) -> None:
    slake = findings(make("slake", shared))
    assert (slake["closed"].count, slake["train images"].count, slake["train, zh images"].count) == (61, 0, 72)
    assert findings(make("slake", shared, language="zh"))["train, en images"].count > 0


def test_the_pinned_commit_of_slake_has_the_files_of_this_copy(shared):
    settings = (CONF / "task" / "slake.yaml").read_text(encoding="utf-8")
    for name in ("test.json", "validate.json"):
        digest = hashlib.sha256((shared / "slake" / name).read_bytes()).hexdigest()
        assert digest[:8] in settings, name
    assert yaml.safe_load(settings)["revision"] == "a9083ce6c34ac3ffb17671a605962924d8a8f9e9"
