"""SLAKE: the original with a folder or an archive of images, parquet, LLaVA-Med's form; two languages kept apart."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.images import open_image
from evalkit.tasks.image_check import check_images
from evalkit.tasks.slake import Slake


def task(path: Path | str | None, **settings: Any) -> Slake:
    return Slake(**{"name": "slake", "path": str(path) if path else None, "allow_counts": True, **settings})


def row(qid: Any, question: str, answer: Any, label: str | None = "OPEN", lang: str = "en", **more: Any) -> dict:
    return {
        "img_id": 1, "img_name": "xmlab1/source.jpg", "question": question, "answer": answer, "q_lang": lang,
        "location": "Lung", "modality": "CT", "answer_type": label, "base_type": "vqa", "triple": ["vhead", "_", "_"],
        "qid": qid, "content_type": "Modality",
    } | more  # fmt: skip


ROWS = [
    row(5, "What modality is used?", "CT"),
    row(6, "这是什么?", "肺", lang="zh"),
    row(7, "What disease is it?", "None", img_name="xmlab2/source.jpg", location="Neck"),
    row(8, "图片中包含肝脏吗?", "不包含", "CLOSED", lang="zh"),
    row("9", "Which is bigger, liver or\theart?", "Liver", "closed "),
]


def original(root: Path, put) -> Path:
    put(root / "test.json", ROWS)
    put(root / "imgs" / "xmlab1" / "detection.json", [{"question": "no", "answer": "row"}])
    return root


def with_folder(root: Path, put, put_image) -> Path:
    put_image(root / "imgs" / "xmlab1" / "source.jpg", 1)
    put_image(root / "imgs" / "xmlab1" / "mask.png", 9)
    put_image(root / "imgs" / "xmlab2" / "source.jpg", 2)
    return original(root, put)


def png(seed: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (seed, 0, 77)).save(buffer, "PNG")
    return buffer.getvalue()


def with_archive(root: Path, put, names: tuple[int, ...] = (1, 2)) -> Path:
    root.mkdir(exist_ok=True)
    with zipfile.ZipFile(root / "imgs.zip", "w") as archive:
        for seed in names:
            archive.writestr(f"imgs/xmlab{seed}/source.jpg", png(seed))
            archive.writestr(f"imgs/xmlab{seed}/mask.png", png(9))
            archive.writestr(f"__MACOSX/imgs/xmlab{seed}/._source.jpg", b"resource fork")
    return original(root, put)


def test_english_is_the_default_and_each_row_keeps_its_tags(tmp_path, put, put_image):
    loaded = task(with_folder(tmp_path, put, put_image)).load()
    assert loaded.form == "slake-json"
    assert [(s.id, s.question, s.references[0], s.answer_type, s.choices) for s in loaded.samples] == [
        ("5", "What modality is used?", "CT", "OPEN", ()),
        ("7", "What disease is it?", "None", "OPEN", ()),
        ("9", "Which is bigger, liver or heart?", "Liver", "CLOSED", ("liver", "heart")),
    ]
    assert loaded.samples[1].tags == {
        "modality": "CT", "organ": "Neck", "content_type": "Modality", "base_type": "vqa", "language": "en",
        "answer_type": "OPEN",
    }  # fmt: skip
    assert [open_image(s.images[0]).getpixel((0, 0))[0] for s in loaded.samples] == [1, 2, 1]


def test_other_languages_are_loaded_by_setting(tmp_path, put):
    zh = task(original(tmp_path, put), language="zh").load(images=False)
    assert [(s.id, s.answer_type, s.choices) for s in zh.samples] == [
        ("6", "OPEN", ()), ("8", "CLOSED", ("包含", "不包含")),
    ]  # fmt: skip
    assert [s.id for s in task(tmp_path, language="all").load(images=False).samples] == ["5", "6", "7", "8", "9"]


def test_an_archive_is_read_in_place_and_gives_what_the_folder_gives(tmp_path, put, put_image):
    folder = task(with_folder(tmp_path / "a", put, put_image)).load()
    archive = task(with_archive(tmp_path / "b", put)).load()
    assert {s.images[0].kind for s in archive.samples} == {"zip"}
    assert list(check_images(folder)[1].values()) == list(check_images(archive)[1].values())
    assert folder.data_sha256 == archive.data_sha256
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["imgs", "imgs.zip", "test.json"]
    assert not list((tmp_path / "b").rglob("*.jpg"))


def test_unpacked_files_take_precedence_over_the_archive_and_missing_ones_are_named(tmp_path, put, put_image):
    with_archive(tmp_path, put, names=(1,))
    put_image(tmp_path / "imgs" / "xmlab1" / "source.jpg", 200)
    loaded = task(tmp_path).load()
    assert open_image(loaded.samples[0].images[0]).getpixel((0, 0))[0] == 200
    with pytest.raises(DataError, match=r"first row 7: .*xmlab2/source\.jpg.*on_missing_image=skip"):
        check_images(loaded)


def test_an_image_is_never_taken_from_another_folder_by_its_bare_name(tmp_path, put, put_image):
    original(tmp_path, put)
    put_image(tmp_path / "imgs" / "xmlab3" / "source.jpg", 3)
    put_image(tmp_path / "source.jpg", 4)
    with pytest.raises(DataError, match=r"3 of 3 rows .*xmlab1/source\.jpg"):
        check_images(task(tmp_path).load())


def test_a_damaged_archive_member_is_a_broken_image_not_a_crash(tmp_path, put):
    with_archive(tmp_path, put)
    deflated = tmp_path / "imgs.zip"
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imgs/xmlab1/source.jpg", png(1) * 50)
        archive.writestr("imgs/xmlab2/source.jpg", png(2))
    content = bytearray(deflated.read_bytes())
    content[60:90] = b"\xff" * 30
    deflated.write_bytes(bytes(content))
    kept, _ = check_images(task(tmp_path).load(), on_missing="skip")
    assert [s.id for s in kept.samples] == ["7"]
    assert "imgs.zip::imgs/xmlab1/source.jpg" in kept.skipped[0]


def test_parquet_is_english_only_and_has_no_labels(tmp_path, put_parquet):
    put_parquet(tmp_path / "data" / "test-0.parquet", [(1, "What?", "CT"), (2, "Is it?", "Yes")], 1)
    loaded = task(tmp_path, closed_rule="yesno").load()
    assert (loaded.form, [s.answer_type for s in loaded.samples]) == ("hf-parquet", ["OPEN", "CLOSED"])
    assert {s.tags["language"] for s in loaded.samples} == {"en"}
    with pytest.raises(DataError, match=r"2 of 2 rows.*task\.closed_rule=yesno"):
        task(tmp_path).load()
    with pytest.raises(ConfigError, match="English only"):
        task(tmp_path, language="zh").load()


def test_parquet_with_a_label_column_keeps_it(tmp_path, put_parquet):
    rows = [(1, "Which, a or b?", "a", {"answer_type": "CLOSED "}), (2, "What?", "b", {"answer_type": "open"})]
    put_parquet(tmp_path / "validation-0.parquet", rows)
    loaded = task(tmp_path, split="val").load()
    assert (loaded.split, [s.answer_type for s in loaded.samples]) == ("validation", ["CLOSED", "OPEN"])


def test_the_llava_med_form_is_english_only(tmp_path, put, put_image, conversation):
    records = [conversation(11934, "xmlab1/source.jpg", "What modality?", "CT", "OPEN", key="conversatons")]
    put(tmp_path / "test.json", records)
    put_image(tmp_path / "imgs" / "xmlab1" / "source.jpg", 1)
    loaded = task(tmp_path).load()
    assert (loaded.form, loaded.samples[0].question) == ("llava-med-json", "What modality?")
    assert check_images(loaded)[0].samples == loaded.samples
    with pytest.raises(ConfigError, match="English only"):
        task(tmp_path, language="all").load()


@pytest.mark.parametrize("name", ["validate", "validation", "val", "dev"])
def test_the_validation_split_is_found_under_any_of_its_names(tmp_path, put, name):
    put(tmp_path / f"{name}.json", ROWS)
    put(tmp_path / "test.json", ROWS[:1])
    assert len(task(tmp_path, split="validation").load(images=False).samples) == 3


def test_yesno_is_refused_where_the_answers_are_chinese():
    for language in ("zh", "all"):
        with pytest.raises(ConfigError, match=r"closed_rule=yesno.*English words"):
            task(None, language=language, closed_rule="yesno")
    with pytest.raises(ConfigError, match=r"task\.language=eng.*'en'"):
        task(None, language="eng")


def test_an_empty_answer_is_left_out_and_counted(tmp_path, put):
    put(tmp_path / "train.json", [*ROWS, row(1622, "Is it?", "", "OPEN")])
    train = task(tmp_path).load_train()
    assert len(train.samples) == 3
    assert train.skipped == ("row 1622: its answer is empty",)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"answer_type": "yes/no"}, "answer_type is 'yes/no'"), ({"answer": float("nan")}, "answer is nan")],
)
def test_values_of_the_wrong_type_are_refused(tmp_path, put, change, words):
    put(tmp_path / "test.json", [ROWS[0] | change])
    with pytest.raises(DataError, match=words):
        task(tmp_path).load(images=False)


def test_wrong_counts_are_refused_with_both_counts(tmp_path, put):
    with pytest.raises(DataError, match=r"3 rows \(2 open, 1 closed\).*1061 rows \(645 open, 416 closed\)"):
        task(original(tmp_path, put), allow_counts=False).load(images=False)
    with pytest.raises(DataError, match=r"this copy has 2 rows.*published set 1033 rows\."):
        task(tmp_path, allow_counts=False, language="zh").load(images=False)


def test_a_copy_of_another_dataset_is_refused(tmp_path, put):
    put(tmp_path / "test.json", [{"qid": 1, "image_name": "a.jpg", "question": "Q?", "answer": "a"}])
    with pytest.raises(DataError, match=r"no test split in a known form.*test\.json.*the original JSON"):
        task(tmp_path).load()


# --- the real release -------------------------------------------------------------------------------------------------


def real(shared: Path, **settings: Any) -> Slake:
    return task(shared / "slake", allow_counts=False, **settings)


@pytest.mark.few(2)
@pytest.mark.data
@pytest.mark.parametrize(
    ("settings", "n", "n_open", "n_closed"),
    [
        ({}, 1061, 645, 416),
        ({"closed_rule": "yesno"}, 1061, 706, 355),
        ({"language": "zh"}, 1033, 613, 420),
        ({"language": "all"}, 2094, 1258, 836),
        ({"split": "validation"}, 1053, 631, 422),
    ],
)
def test_the_real_release_has_the_published_counts(shared, settings, n, n_open, n_closed):
    loaded = real(shared, **settings).load(images=False)
    assert len(loaded.samples) == n
    assert Counter(s.answer_type for s in loaded.samples) == {"OPEN": n_open, "CLOSED": n_closed}


@pytest.mark.data
def test_the_real_train_split_has_one_row_without_an_answer(shared):
    train = real(shared).load_train()
    assert len(train.samples) == 4918
    assert train.skipped == ("row 1622: its answer is empty",)


@pytest.mark.data
def test_real_rows_at_the_start_the_middle_and_the_end_are_what_the_release_says(shared):
    samples = real(shared).load().samples
    released = [
        r for r in json.loads((shared / "slake/test.json").read_text(encoding="utf-8")) if r["q_lang"] == "en"
    ]  # fmt: skip
    assert (samples[0].id, samples[0].question) == ("11934", "What modality is used to take this image?")
    for k in (0, 9, 1060):
        s, r = samples[k], released[k]
        assert (s.id, s.image_id, s.question) == (str(r["qid"]), r["img_name"], " ".join(r["question"].split()))
        assert (s.references[0], s.answer_type) == (r["answer"].strip(), r["answer_type"])
        assert s.images[0].path.endswith(r["img_name"])
    assert len({s.image_id for s in samples}) == 96
    assert sum(s.references[0] == "None" for s in samples) == 9


@pytest.mark.data
def test_a_copy_with_one_picture_is_refused_with_the_number_of_rows_without_one(shared):
    copy = Slake(name="slake", path=str(shared.parent / "cases" / "pictures-one-image"), allow_counts=True)
    with pytest.raises(DataError, match=r"16 of 20 rows have no usable image \(4 images\), first row 1000"):
        check_images(copy.load())


def test_a_linked_image_folder_is_read(tmp_path, put, put_image):
    put(tmp_path / "copy" / "test.json", ROWS)
    put_image(tmp_path / "disk" / "xmlab1" / "source.jpg", 1)
    put_image(tmp_path / "disk" / "xmlab2" / "source.jpg", 2)
    (tmp_path / "copy" / "imgs").symlink_to(tmp_path / "disk")
    assert len(check_images(task(tmp_path / "copy").load()).digests) == 2
