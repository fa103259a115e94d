"""PathVQA: parquet, the original JSON, LLaVA-Med's form and a flat array; a pickle is never opened."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.core.images import open_image
from evalkit.tasks.image_check import check_images
from evalkit.tasks.path_vqa import PathVqa


def task(path: Path | str, **settings: Any) -> PathVqa:
    defaults = {"name": "pathvqa", "path": str(path), "allow_counts": True, "closed_rule": "yesno"}
    return PathVqa(**{**defaults, **settings})


ORIGINAL = [
    {"img_id": "test_0000", "labelf": {"pvqa": []}, "sentf": {"pvqa": []}},
    {
        "img_id": "test_0001",
        "labelf": {"pvqa": [{"squamous cell carcinoma": 1}, {"Yes": 1}]},
        "sentf": {"pvqa": ["What is  present ?", "Is it\tpresent?"]},
    },
]
FLAT = [
    {"img_id": 3430, "question": "what is present?", "answer": "the histone subunits", "qid": 25913},
    {"img_id": 3430, "question": "is it present?", "answer": "yes", "qid": 25914},
]


def test_the_original_has_one_record_an_image(tmp_path, put, put_image):
    put(tmp_path / "pvqa_test.json", ORIGINAL)
    put_image(tmp_path / "images" / "test" / "test_0001.jpg", 3)
    loaded = task(tmp_path).load()
    assert loaded.form == "pvqa-json"
    assert [(s.id, s.image_id, s.question, s.references[0], s.answer_type) for s in loaded.samples] == [
        ("test_0001-0", "test_0001", "What is present ?", "squamous cell carcinoma", "OPEN"),
        ("test_0001-1", "test_0001", "Is it present?", "Yes", "CLOSED"),
    ]
    assert [s.tags["question_type"] for s in loaded.samples] == ["what", "is"]
    assert open_image(loaded.samples[1].images[0]).getpixel((0, 0)) == (3, 0, 77)


@pytest.mark.parametrize(
    "change",
    [
        {"labelf": {"pvqa": [{"a": 1}]}},
        {"labelf": {}},
        {"labelf": None},
        {"labelf": {"pvqa": [{}, {"a": 1}]}},
        {"labelf": {"pvqa": ["yes", "no"]}},
        {"labelf": {"pvqa": [["yes"], ["no"]]}},
        {"sentf": {"pvqa": ["only one?"]}},
    ],
)
def test_an_original_record_whose_lists_do_not_fit_is_refused_by_image(tmp_path, put, change):
    put(tmp_path / "pvqa_test.json", [ORIGINAL[0], ORIGINAL[1] | change])
    with pytest.raises(DataError, match="img_id 'test_0001'"):
        task(tmp_path).load(images=False)


def test_the_llava_med_form_takes_the_question_type_from_the_first_word(tmp_path, put, put_image, conversation):
    records = [
        conversation(300648006, "test/test_0648.jpg", "Where is this?", "urinary", "OPEN"),
        conversation(300648007, "test/test_0648.jpg", "Is this it?", "no", "CLOSED", key="conversatons"),
    ]
    put(tmp_path / "test.json", records)
    put_image(tmp_path / "images" / "test" / "test_0648.jpg", 8)
    put_image(tmp_path / "images" / "train" / "test_0648.jpg", 9)
    for rule in ("label", "yesno"):
        loaded = task(tmp_path, closed_rule=rule).load()
        assert loaded.form == "llava-med-json"
        assert [(s.id, s.tags["question_type"], s.answer_type) for s in loaded.samples] == [
            ("300648006", "where", "OPEN"), ("300648007", "is", "CLOSED"),
        ]  # fmt: skip
    assert open_image(loaded.samples[0].images[0]).getpixel((0, 0)) == (8, 0, 77)


def test_old_answer_types_of_llava_med_are_refused_under_any_rule(tmp_path, put, conversation):
    put(tmp_path / "test.json", [conversation(1, "a.jpg", "Is it?", "yes", "yes/no")])
    with pytest.raises(DataError, match="answer_type is 'yes/no'; expected OPEN or CLOSED"):
        task(tmp_path).load(images=False)


def test_a_flat_array_needs_only_question_and_answer(tmp_path, put, put_image):
    put(tmp_path / "test.json", FLAT)
    put(tmp_path / "train.json", [{"question": "q?", "answer": 12}, {"question": "is it?", "answer": "No"}])
    put_image(tmp_path / "img" / "3430.jpg", 4)
    adapter = task(tmp_path)
    loaded = adapter.load()
    assert (loaded.form, [s.id for s in loaded.samples]) == ("hf-json", ["25913", "25914"])
    assert open_image(loaded.samples[0].images[0]).getpixel((0, 0)) == (4, 0, 77)
    train = adapter.load_train()
    assert [(s.id, s.references[0], s.answer_type) for s in train.samples] == [
        ("hf-train-0", "12", "OPEN"), ("hf-train-1", "No", "CLOSED"),
    ]  # fmt: skip
    assert len({s.image_id for s in train.samples}) == 2


def test_rows_without_an_image_are_refused_when_images_are_needed(tmp_path, put):
    put(tmp_path / "test.json", [{"question": "q?", "answer": "a"}])
    with pytest.raises(DataError, match=r"row hf-test-0: The row names no image"):
        check_images(task(tmp_path).load())


def test_parquet_keeps_its_row_numbers(tmp_path, put_parquet):
    rows = [(1, "what?", "a"), (None, "is it?", "yes"), (2, "is it?", "no")]
    put_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows, 1)
    loaded = task(tmp_path).load()
    assert (loaded.form, loaded.order["hf"]) == ("hf-parquet", ("hf-test-0", "hf-test-1", "hf-test-2"))
    kept, _ = check_images(loaded, on_missing="skip")
    assert [s.id for s in kept.samples] == ["hf-test-0", "hf-test-2"]
    assert kept.skipped == ("row hf-test-1: The row names no image.",)
    assert task(tmp_path / "data" / "test-00000-of-00001.parquet").load().data_sha256 == loaded.data_sha256


def test_a_label_rule_is_refused_where_no_row_has_a_label(tmp_path, put):
    put(tmp_path / "pvqa_test.json", ORIGINAL)
    with pytest.raises(DataError, match=r"2 of 2 rows of this form \(pvqa-json\).*task\.closed_rule=yesno"):
        task(tmp_path, closed_rule="label").load(images=False)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_tree_of_pickles_is_refused_without_opening_one(tmp_path):
    sprung = tmp_path / "sprung"
    folder = tmp_path / "pvqa" / "qas" / "test"
    folder.mkdir(parents=True)
    (folder / "test_qa.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match=r"test_qa\.pkl is a pickle.*evalkit reads no pickles.*pvqa_test\.json"):
        task(tmp_path / "pvqa").load()
    with pytest.raises(DataError, match="not a JSON file"):
        task(folder / "test_qa.pkl").load()
    assert not sprung.exists()
    pickle.loads((folder / "test_qa.pkl").read_bytes())  # the trap itself works
    assert sprung.exists()


def test_readable_questions_beside_pickles_are_read(tmp_path, put):
    (tmp_path / "test_qa.pkl").write_bytes(b"junk")
    put(tmp_path / "pvqa_test.json", ORIGINAL)
    assert len(task(tmp_path).load(images=False).samples) == 2


@pytest.mark.parametrize(("form", "n"), [("pvqa", "6761 rows (3370 open, 3391 closed)"), ("flat", "6719 rows (3357")])
def test_wrong_counts_are_refused_with_the_counts_of_that_form(tmp_path, put, form, n):
    put(tmp_path / "test.json", ORIGINAL if form == "pvqa" else FLAT)
    with pytest.raises(DataError) as caught:
        task(tmp_path, allow_counts=False).load(images=False)
    assert "2 rows (1 open, 1 closed)" in str(caught.value) and n in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "n", "n_open", "n_closed", "first"),
    [
        ("hf", 6719, 3357, 3362, ("25913", "3430", "the histone subunits")),
        ("original", 6761, 3370, 3391, ("test_0001-0", "test_0001", "squamous cell carcinoma")),
    ],
)
def test_the_real_releases_have_their_own_counts(shared, folder, n, n_open, n_closed, first):
    loaded = task(shared / "pathvqa" / folder, allow_counts=False).load(images=False)
    assert Counter(s.answer_type for s in loaded.samples) == {"OPEN": n_open, "CLOSED": n_closed}
    assert (len(loaded.samples), len({s.id for s in loaded.samples})) == (n, n)
    assert len({s.image_id for s in loaded.samples}) == 858
    s = loaded.samples[0]
    assert (s.id, s.image_id, s.references[0]) == first


@pytest.mark.slow
@pytest.mark.data
def test_real_flat_rows_are_in_file_order(shared):
    samples = task(shared / "pathvqa/hf", allow_counts=False).load(images=False).samples
    released = json.loads((shared / "pathvqa/hf/test.json").read_text(encoding="utf-8"))
    for k in (0, 9, 6718):
        assert (samples[k].id, samples[k].references[0]) == (str(released[k]["qid"]), released[k]["answer"].strip())
    assert len(task(shared / "pathvqa/hf", allow_counts=False).load_train().samples) == 19654
