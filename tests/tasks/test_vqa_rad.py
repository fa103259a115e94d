"""VQA-RAD: every released form by its content, the release's type traps, its counts and its real figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.images import digest, open_image, probe
from evalkit.tasks.vqa_rad import VqaRad, hf_order


def task(path: Path | str | None, **settings: Any) -> VqaRad:
    return VqaRad(**{"name": "vqa-rad", "path": str(path) if path else None, "allow_counts": True, **settings})


def osf(
    qid: Any, question: str, answer: Any, label: str = "CLOSED", phrase: str = "test_freeform", **more: Any
) -> dict:
    return {
        "qid": qid, "phrase_type": phrase, "qid_linked_id": "03f4", "image_case_url": "https://example.org/case",
        "image_name": "synpic1.jpg", "image_organ": "HEAD", "evaluation": "not evaluated", "question": question,
        "question_rephrase": "NULL", "question_relation": "NULL", "question_frame": "NULL", "question_type": "PRES",
        "answer": answer, "answer_type": label,
    } | more  # fmt: skip


def mevf(qid: int, question: str, answer: Any, label: str = "CLOSED") -> dict[str, Any]:
    return {
        "qid": qid, "image_name": "synpic1.jpg", "image_organ": "CHEST", "answer": answer, "answer_type": label,
        "question_type": "PRES", "question": question, "phrase_type": "freeform",
    }  # fmt: skip


OSF = [
    osf("0", "Are regions of the brain infarcted?", "Yes", phrase="freeform"),
    osf(1, "How many\tlesions are seen? ", 3, "OPEN", question_type="ATRIB, PRSE"),
    osf(2, "Is it normal?", "no", "CLOSED ", "test_para", question_frame="Is this normal?"),
    osf(3, "What is seen?", "None", "OPEN", image_name="synpic2.jpg", image_organ="NULL"),
]


def osf_copy(root: Path, put, put_image, rows: list[dict] = OSF, name: str = "a file.json") -> Path:
    put(root / name, rows)
    put_image(root / "Some Folder" / "synpic1.jpg", 1)
    put_image(root / "Some Folder" / "synpic2.jpg", 2)
    return root


def test_the_osf_form_is_recognised_by_its_fields_and_its_types_are_normalised(tmp_path, put, put_image):
    loaded = task(osf_copy(tmp_path, put, put_image)).load()
    assert loaded.form == "osf-json"
    assert [(s.id, s.question, s.references, s.answer_type) for s in loaded.samples] == [
        ("1", "How many lesions are seen?", ("3",), "OPEN"),
        ("2", "Is it normal?", ("no",), "CLOSED"),
        ("3", "What is seen?", ("None",), "OPEN"),
    ]
    assert loaded.samples[0].tags == {
        "organ": "HEAD", "question_type": "ATTRIB+PRES", "phrase_type": "test_freeform", "leak": "none", "pair": "03f4",
        "answer_type": "OPEN",
    }  # fmt: skip
    assert loaded.samples[1].tags["leak"] == "frame"
    assert "organ" not in loaded.samples[2].tags
    assert [s.choices for s in loaded.samples] == [(), ("yes", "no"), ()]
    assert open_image(loaded.samples[0].images[0]).getpixel((0, 0)) == (1, 0, 77)
    assert open_image(loaded.samples[2].images[0]).getpixel((0, 0)) == (2, 0, 77)


def test_the_first_qid_of_the_release_is_a_string_and_still_row_0(tmp_path, put, put_image):
    train = task(osf_copy(tmp_path, put, put_image)).load_train()
    assert [(s.id, s.references) for s in train.samples] == [("0", ("Yes",))]
    assert "leak" not in train.samples[0].tags
    assert train.samples[0].images == ()


def test_a_byte_order_mark_and_a_file_named_directly_change_nothing(tmp_path, put, put_image):
    root = osf_copy(tmp_path, put, put_image)
    (root / "a file.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(OSF).encode())
    by_folder, by_file = task(root).load(), task(root / "a file.json").load()
    assert by_folder.samples == by_file.samples
    assert by_folder.data_sha256 == by_file.data_sha256
    assert len(probe(r for s in by_file.samples for r in s.images)) == 2


def test_empty_answers_are_left_out_and_named_and_repeated_ids_stay_apart(tmp_path, put):
    rows = [osf(7, "A?", "x", "OPEN"), osf(7, "B?", " \t", "OPEN"), osf(7, "C?", "y", "OPEN")]
    loaded = task(put(tmp_path / "x.json", rows)).load(images=False)
    assert [s.id for s in loaded.samples] == ["7", "7#3"]
    assert loaded.skipped == ("row 7#2: its answer is empty",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer_type": "MAYBE"}, ["MAYBE", "OPEN or CLOSED", "qid 1"]),
        ({"answer": None}, ["qid 1", "answer", "None"]),
        ({"answer": ["a", "b"]}, ["qid 1", "answer"]),
        ({"answer": True}, ["qid 1", "answer", "True"]),
        ({"answer": float("nan")}, ["qid 1", "answer", "nan"]),
        ({"question": "  "}, ["row 1", "no question"]),
        ({"qid": "one"}, ["'one'", "whole number"]),
        ({"qid": None}, ["qid", "None"]),
        ({"image_name": None}, ["qid 1", "image_name"]),
    ],
)
def test_an_invalid_row_is_refused_by_name(tmp_path, put, change, words):
    path = put(tmp_path / "x.json", [osf(0, "Is it?", "yes"), osf(1, "Is it?", "yes") | change])
    with pytest.raises(DataError) as caught:
        task(path).load(images=False)
    assert all(word in str(caught.value) for word in [str(path) if change != {"question": "  "} else "", *words])


@pytest.mark.parametrize("field", ["question", "answer", "image_name", "qid"])
def test_a_row_without_a_field_is_refused_by_name(tmp_path, put, field):
    broken = osf(1, "Is it?", "yes")
    del broken[field]
    path = put(tmp_path / "x.json", [osf(0, "Is it?", "yes"), broken])
    with pytest.raises(DataError, match=f"no field '{field}'"):
        task(path).load(images=False)


def test_a_row_without_a_label_is_refused_under_label_and_derived_under_yesno(tmp_path, put):
    unlabelled = osf(1, "Is it?", "Yes")
    del unlabelled["answer_type"]
    path = put(tmp_path / "x.json", [osf(0, "What is it?", "a mass", "CLOSED"), unlabelled])
    with pytest.raises(DataError, match=r"1 of 2 rows.*task\.closed_rule=yesno"):
        task(path).load(images=False)
    loaded = task(path, closed_rule="yesno").load(images=False)
    assert [s.answer_type for s in loaded.samples] == ["OPEN", "CLOSED"]


def test_the_mevf_form_names_its_split_in_the_file(tmp_path, put):
    put(tmp_path / "data_RAD" / "testset.json", [mevf(11, "Is it?", "yes"), mevf(13, "Where?", "left", "OPEN")])
    put(tmp_path / "data_RAD" / "trainset.json", [mevf(1, "Is it?", "Yes", "CLOSED ")])
    adapter = task(tmp_path)
    assert adapter.load().form == "mevf-json"
    assert [s.id for s in adapter.load().samples] == ["mevf-test-11", "mevf-test-13"]
    assert [(s.id, s.answer_type) for s in adapter.load_train().samples] == [("mevf-train-1", "CLOSED")]
    assert {s.tags["phrase_type"] for s in adapter.load().samples} == {"test_freeform"}, "the release's word for it"
    assert adapter.load_train().samples[0].tags["phrase_type"] == "freeform"


def test_the_llava_med_form_reads_both_spellings_and_drops_the_option_hint(tmp_path, put, put_image, conversation):
    hint = " Please choose from the following two options: [yes, no]"
    put(
        tmp_path / "vqa_rad" / "test.json",
        [
            conversation(10, "synpic1.jpg", f"Is there evidence of an aortic aneurysm?{hint}", "yes", "CLOSED"),
            conversation(12, "synpic1.jpg", "Where is this?", "urinary", "OPEN", key="conversatons"),
        ],
    )
    put_image(tmp_path / "images" / "synpic1.jpg", 5)
    loaded = task(tmp_path).load()
    assert loaded.form == "llava-med-json"
    assert [(s.id, s.question, s.references[0], s.answer_type) for s in loaded.samples] == [
        ("10", "Is there evidence of an aortic aneurysm?", "yes", "CLOSED"),
        ("12", "Where is this?", "urinary", "OPEN"),
    ]
    assert open_image(loaded.samples[0].images[0]).getpixel((0, 0)) == (5, 0, 77)


@pytest.mark.parametrize("turns", [None, "text", [], [{"from": "human"}], [{"from": "human", "value": "Q?"}], [1, 2]])
def test_a_conversation_without_both_turns_is_refused_by_record(tmp_path, put, turns):
    path = put(tmp_path / "test.json", [{"id": 3, "image": "a.jpg", "answer_type": "OPEN", "conversations": turns}])
    with pytest.raises(DataError, match=r"record 0 \(id 3\)"):
        task(path).load(images=False)


def parquet_copy(root: Path, put_parquet) -> Path:
    put_parquet(root / "data" / "test-00000-of-00002-0a1b.parquet", [(1, "is it?", "yes"), (1, "where?", "left"),
                                                                    (2, "how many?", "2")])  # fmt: skip
    put_parquet(root / "data" / "test-00001-of-00002-9f3c.parquet", [(3, "is it?", "no"), (1, "what?", "none")])
    put_parquet(root / "data" / "train-00000-of-00001-77.parquet", [(9, "is it?", "yes")])
    return root


def test_hugging_face_parquet_is_read_over_files_and_row_groups_with_one_reference_an_image(tmp_path, put_parquet):
    loaded = task(parquet_copy(tmp_path, put_parquet), closed_rule="yesno").load()
    assert loaded.form == "hf-parquet"
    assert [(s.id, s.question, s.references[0]) for s in loaded.samples] == [
        ("hf-test-0", "is it?", "yes"), ("hf-test-1", "where?", "left"), ("hf-test-2", "how many?", "2"),
        ("hf-test-3", "is it?", "no"), ("hf-test-4", "what?", "none"),
    ]  # fmt: skip
    assert loaded.order["hf"] == tuple(s.id for s in loaded.samples)
    assert [open_image(s.images[0]).getpixel((0, 0))[0] for s in loaded.samples] == [1, 1, 2, 3, 1]
    refs = [s.images[0] for s in loaded.samples]
    assert refs[0] == refs[1] == refs[4] and len(set(refs)) == 3
    assert len({s.image_id for s in loaded.samples}) == 3
    assert all(digest(s.images[0]).startswith(s.image_id) for s in loaded.samples)
    train = task(tmp_path, closed_rule="yesno").load_train()
    assert [s.references[0] for s in train.samples] == ["yes"]


def test_a_label_rule_on_parquet_is_refused_with_both_remedies(tmp_path, put_parquet):
    with pytest.raises(DataError, match=r"5 of 5 rows.*task\.closed_rule=yesno.*task\.osf_path=DIR"):
        task(parquet_copy(tmp_path, put_parquet)).load()


def test_damaged_or_foreign_parquet_is_refused_by_name(tmp_path, put, put_parquet):
    path = put(tmp_path / "test-0.parquet", b"PAR1 this is not one")
    with pytest.raises(DataError, match=r"test-0\.parquet cannot be read as parquet"):
        task(tmp_path, closed_rule="yesno").load()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"query": ["a"], "answer": ["b"]}), path)
    with pytest.raises(DataError, match="no field 'question'; it has query, answer"):
        task(tmp_path, closed_rule="yesno").load()
    pq.write_table(pa.table({"question": ["a"], "answer": pa.array([None], pa.string())}), path)
    with pytest.raises(DataError, match="answer is None"):
        task(tmp_path, closed_rule="yesno").load()


def release(n: int = 451) -> list[dict]:
    return [osf(10 * k, f"Is it {k}?", "Yes" if k % 2 else "A Mass", "CLOSED" if k % 2 else "OPEN") for k in range(n)]


def test_parquet_rows_joined_to_the_release_take_its_ids_and_labels(tmp_path, put, put_parquet):
    put(tmp_path / "osf" / "any.json", release())
    positions = sorted(range(451), key=str)
    rows = [(k % 7, f"is it {k}?", "yes" if k % 2 else "a mass") for k in positions]
    put_parquet(tmp_path / "hf" / "test-0.parquet", rows, 100)
    loaded = task(tmp_path / "hf", osf_path=str(tmp_path / "osf")).load()
    assert loaded.form == "hf-parquet+osf"
    assert [s.id for s in loaded.samples][:4] == ["0", "10", "100", "1000"]
    assert loaded.order["hf"] == tuple(s.id for s in loaded.samples)
    assert Counter(s.answer_type for s in loaded.samples) == {"CLOSED": 225, "OPEN": 226}
    assert {s.image_id for s in loaded.samples} == {"synpic1.jpg"}

    rows[5] = (0, rows[5][1].replace("?", " ?"), rows[5][2])  # the hub's copy differs in one such space
    put_parquet(tmp_path / "hf" / "test-0.parquet", rows, 100)
    assert task(tmp_path / "hf", osf_path=str(tmp_path / "osf")).load().samples[5].id == loaded.samples[5].id

    rows[3] = (0, rows[3][1], "another answer")
    put_parquet(tmp_path / "hf" / "test-0.parquet", rows, 100)
    with pytest.raises(DataError, match=r"Row 3 .*another answer.*not two forms of the same release"):
        task(tmp_path / "hf", osf_path=str(tmp_path / "osf")).load()


def test_an_osf_path_without_the_release_is_refused_and_one_beside_other_forms_is_found(tmp_path, put, put_parquet):
    put(tmp_path / "mevf" / "testset.json", [mevf(1, "Is it?", "yes")])
    put_parquet(tmp_path / "hf" / "test-0.parquet", [(1, "is it 0?", "a mass")])
    with pytest.raises(DataError, match=r"task\.osf_path=.*there is no OSF release"):
        task(tmp_path / "hf", osf_path=str(tmp_path / "mevf")).load()
    put(tmp_path / "osf" / "any.json", release(450))
    with pytest.raises(DataError, match="450 test rows, the parquet files 1"):
        task(tmp_path / "hf", osf_path=str(tmp_path)).load()


def test_a_folder_with_several_released_forms_is_refused_by_name(tmp_path, put, put_parquet, put_image):
    osf_copy(tmp_path / "osf", put, put_image)
    put(tmp_path / "mevf" / "testset.json", [mevf(1, "Is it?", "yes")])
    put_parquet(tmp_path / "hub" / "test-0.parquet", [(1, "is it?", "yes")])
    with pytest.raises(DataError, match=r"several released forms of the test split") as e:
        task(tmp_path).load(images=False)
    for part in ("mevf-json (mevf/testset.json)", "osf-json (osf/a file.json)", "hf-parquet (hub/test-0.parquet)"):
        assert part in str(e.value)
    assert task(tmp_path / "osf").load(images=False).form == "osf-json"


def test_a_copy_of_the_same_file_is_no_second_form_and_another_file_is(tmp_path, put):
    put(tmp_path / "a.json", OSF)
    put(tmp_path / "backup" / "a.json", OSF)
    assert task(tmp_path).load(images=False).form == "osf-json"
    put(tmp_path / "backup" / "b.json", OSF[:2])
    with pytest.raises(DataError, match=r"several different files of the test split: osf-json \(a\.json\)"):
        task(tmp_path).load(images=False)


def test_a_row_with_a_doubled_key_is_refused(tmp_path, put):
    text = json.dumps(OSF).replace('"answer": "no"', '"answer": "no", "answer": "yes"')
    put(tmp_path / "test.json", text)
    with pytest.raises(DataError, match="the key 'answer' occurs twice"):
        task(tmp_path).load(images=False)


def test_a_subset_has_no_hugging_face_order_because_its_positions_are_others(tmp_path, put, put_parquet):
    put(tmp_path / "osf" / "any.json", release(450))
    assert task(tmp_path / "osf").load(images=False).order == {}
    put_parquet(tmp_path / "hf" / "test-0.parquet", [(1, "is it 0?", "a mass")])
    with pytest.raises(DataError, match="450 test rows, the parquet files 1"):
        task(tmp_path / "hf", osf_path=str(tmp_path / "osf")).load()


def test_the_hugging_face_order_is_positions_sorted_as_text():
    ids = [str(7 * k) for k in range(451)]
    order = hf_order(ids[::-1], "test")["hf"]
    assert order[:4] == (ids[0], ids[1], ids[10], ids[100])
    assert sorted(order) == sorted(ids)
    assert hf_order(ids, "train") == {}
    assert hf_order(["mevf-test-1"] * 451, "test") == {}


def test_wrong_counts_are_refused_with_both_counts_and_noted_when_allowed(tmp_path, put):
    path = put(tmp_path / "x.json", OSF)
    with pytest.raises(DataError) as caught:
        task(path, allow_counts=False).load(images=False)
    for words in ("3 rows (2 open, 1 closed)", "451 rows (179 open, 272 closed)", "task.allow_counts=true"):
        assert words in str(caught.value)
    (note,) = task(path).load(images=False).notes
    assert "3 rows (2 open, 1 closed)" in note and "451 rows" in note


def test_a_named_test_file_is_never_its_own_train_split(tmp_path, put):
    path = put(tmp_path / "testset.json", [mevf(11, "Is it?", "yes")])
    with pytest.raises(DataError, match="no train split"):
        task(path).load_train()
    put(tmp_path / "trainset.json", [mevf(1, "Is it so?", "no")])
    assert [s.id for s in task(path).load_train().samples] == ["mevf-train-1"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "tset"}, ["task.split=tset", "'test'"]),
        ({"prompt": "shrt"}, ["task.prompt=shrt", "'short'"]),
        ({"closed_rule": "lable"}, ["task.closed_rule=lable", "'label'"]),
        ({"on_missing_image": "skp"}, ["task.on_missing_image=skp", "'skip'"]),
        ({"prompt": None}, ["task.prompt=None", "short"]),
    ],
)
def test_settings_that_do_not_exist_name_near_ones(settings, words):
    with pytest.raises(ConfigError) as caught:
        task(None, **settings)
    assert all(word in str(caught.value) for word in words)


def test_a_missing_or_foreign_folder_says_what_was_expected(tmp_path, put):
    with pytest.raises(DataError, match="no such file or folder"):
        task(tmp_path / "nowhere").load()
    with pytest.raises(DataError, match=r"no test split.*found: nothing.*Known forms: OSF JSON"):
        task(tmp_path).load()
    put(tmp_path / "detection.json", {"boxes": []})
    put(tmp_path / "notes.json", "not json")
    put(tmp_path / "test.json", [{"img_name": "a", "q_lang": "en", "question": "Q?", "qid": 1, "answer": "a"}])
    with pytest.raises(DataError, match=r"no test split.*detection\.json, notes\.json, test\.json"):
        task(tmp_path).load()
    with pytest.raises(DataError, match="no validation split"):
        task(put(tmp_path / "osf.json", OSF), split="val").load()


@pytest.mark.parametrize("content", ["[{", "", "\x00", b"\xff\xfe\x00", "[" * 100_000])
def test_a_damaged_file_of_the_split_is_named_and_not_passed_over(tmp_path, put, content):
    path = put(tmp_path / "testset.json", content)
    for where in (tmp_path, path):
        with pytest.raises(DataError, match=r"testset\.json is not a JSON file"):
            task(where).load(images=False)


@pytest.mark.parametrize("content", [[], {}, [1, 2], "text", None, [{"a": 1}, 2]])
def test_json_of_another_shape_is_refused(tmp_path, put, content):
    path = put(tmp_path / "x.json", json.dumps(content))
    with pytest.raises(DataError, match="not a JSON array of records"):
        task(path).load(images=False)


def hub_error(kind: str) -> Exception:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    transport = HfHubHTTPError.__bases__[0]
    return {"offline": OSError("no route"), "cache": LocalEntryNotFoundError("x"), "proxy": transport("proxy")}[kind]


@pytest.mark.parametrize("kind", ["offline", "cache", "proxy"])
def test_a_hub_out_of_reach_suggests_a_local_copy_or_fetch(monkeypatch, kind):
    import huggingface_hub

    def refuse(*args: Any, **settings: Any) -> str:
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(DataError, match=r"task\.path=DIR.*evalkit fetch task=vqa-rad"):
        task(None, repo="owner/name").load()
    with pytest.raises(DataError, match=r"not on the Hugging Face hub.*task\.path=DIR"):
        task(None).load()


def test_only_the_split_is_downloaded_at_the_pinned_revision(monkeypatch, tmp_path, put_parquet):
    import huggingface_hub

    calls: list[tuple[Any, Any]] = []

    def give(repo: str, **settings: Any) -> str:
        calls.append((repo, settings))
        return str(parquet_copy(tmp_path, put_parquet))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    adapter = task(None, repo="owner/name", revision="abc", closed_rule="yesno")
    assert len(adapter.load().samples) == 5
    ((repo, settings),) = calls
    assert (repo, settings["revision"], settings["repo_type"]) == ("owner/name", "abc", "dataset")
    assert settings["allow_patterns"] == ["*test*.parquet", "*.md"]


# --- the real release -------------------------------------------------------------------------------------------------


def real(shared: Path, form: str = "osf", **settings: Any) -> VqaRad:
    return task(shared / "vqa-rad" / form, allow_counts=False, **settings)


@pytest.mark.data
def test_the_real_release_has_the_published_counts(shared):
    loaded = real(shared).load()
    assert (len(loaded.samples), loaded.skipped, loaded.notes) == (451, (), ())
    assert Counter(s.answer_type for s in loaded.samples) == {"OPEN": 179, "CLOSED": 272}
    assert len({s.image_id for s in loaded.samples}) == 203
    assert Counter(s.tags["phrase_type"] for s in loaded.samples) == {"test_freeform": 308, "test_para": 143}
    by_answer = real(shared, closed_rule="yesno").load(images=False)
    assert Counter(s.answer_type for s in by_answer.samples) == {"OPEN": 200, "CLOSED": 251}
    train = real(shared).load_train()
    assert Counter(s.answer_type for s in train.samples) == {"OPEN": 770, "CLOSED": 1027}


@pytest.mark.data
def test_the_real_mevf_copy_has_the_larger_train_split(shared):
    adapter = real(shared, "mevf")
    assert Counter(s.answer_type for s in adapter.load(images=False).samples) == {"OPEN": 179, "CLOSED": 272}
    assert Counter(s.answer_type for s in adapter.load_train().samples) == {"OPEN": 1241, "CLOSED": 1823}
    assert Counter(s.tags["phrase_type"] for s in adapter.load(images=False).samples) == Counter(
        s.tags["phrase_type"] for s in real(shared).load(images=False).samples
    )


@pytest.mark.data
def test_real_rows_at_the_start_the_middle_and_the_end_are_what_the_release_says(shared):
    samples = real(shared).load().samples
    rows = [(s.id, s.image_id, s.question, s.references[0], s.answer_type) for s in samples]
    released = [
        r for r in json.loads((shared / "vqa-rad/osf/VQA_RAD Dataset Public.json").read_text(encoding="utf-8-sig"))
        if r["phrase_type"].startswith("test_")
    ]  # fmt: skip
    assert rows[0] == ("10", "synpic42202.jpg", "Is there evidence of an aortic aneurysm?", "yes", "CLOSED")
    for k in (0, 9, 450):
        r = released[k]
        expected = (str(r["qid"]), r["image_name"], " ".join(r["question"].split()), str(r["answer"]).strip())
        assert rows[k] == (*expected, r["answer_type"].strip())
    assert digest(samples[0].images[0]) and open_image(samples[450].images[0]).mode == "RGB"


@pytest.mark.data
def test_the_real_hugging_face_order_is_the_one_found_by_hand(shared):
    known = json.loads((shared / "vqa-rad/hf/test_hf_order_with_osf_qid.json").read_text(encoding="utf-8"))
    loaded = real(shared).load(images=False)
    assert loaded.order["hf"] == tuple(str(r["qid"]) for r in sorted(known, key=lambda r: r["hf_index"]))
    by_id = {s.id: s for s in loaded.samples}
    for r in known:
        sample = by_id[str(r["qid"])]
        assert (sample.image_id, sample.answer_type) == (r["image_name"], r["answer_type"])
        assert sample.references[0].lower() == " ".join(r["answer"].lower().split())


@pytest.mark.data
def test_the_real_leaks_are_the_284_rewordings_in_the_larger_train_split(shared):
    known = json.loads((shared / "vqa-rad/leaked_test_qids_via_frames.json").read_text(encoding="utf-8"))["qids"]
    samples = real(shared).load(images=False).samples
    leaked = {s.id for s in samples if s.tags["leak"] == "frame"}
    assert leaked == {str(q) for q in known} and len(leaked) == 284
