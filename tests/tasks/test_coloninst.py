"""The task adapter: the released layout, the checks before a number, what a dialogue becomes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.config import build as build_config
from evalkit.cli.config import load_option, options
from evalkit.core.boxes import area, iou, read_box, size_of
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import ImagePlace
from evalkit.scoring.protocols.coloninst import normalise_label
from evalkit.tasks import coloninst_hub
from evalkit.tasks.coloninst import CAP_NOTE, COUNTS, SEEN_NOTE, ColonInst
from evalkit.tasks.coloninst_labels import parent_of
from evalkit.tasks.coloninst_records import Record, read_records, unique_ids
from tests.support.coloninst_tree import build, dialogue, records, write

KINDS = ("cls", "reg", "rec", "cap")


def task(kind: str, path: Path | None, **settings: Any) -> ColonInst:
    settings = {"split": "unseen", "allow_counts": True, **settings}
    return ColonInst(name=f"coloninst-{kind}", task=kind, path=str(path) if path else None, **settings)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("coloninst") / "ColonINST")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["seen", "val", "unseen", "test"])
def test_each_split_of_each_task_loads_with_its_images(tree: Path, kind: str, split: str) -> None:
    loaded = task(kind, tree, split=split).load()
    assert len(loaded.samples) == len({s.id for s in loaded.samples}) == 20
    assert loaded.split == ("seen" if split in ("seen", "val") else "unseen")
    assert all(Path(s.images[0].path).is_file() for s in loaded.samples)
    assert (SEEN_NOTE in loaded.notes) == (loaded.split == "seen")
    assert (CAP_NOTE in loaded.notes) == (kind == "cap")
    assert all("<image>" not in s.question and s.answer_type is None for s in loaded.samples)


@pytest.mark.parametrize("kind", KINDS)
def test_the_train_dialogues_of_a_task_are_found_in_the_files_of_several(tree: Path, kind: str) -> None:
    loaded = task(kind, tree).load_train()
    assert (loaded.split, len(loaded.samples)) == ("train", 20)
    assert {s.tags["task"] for s in loaded.samples} == {kind}


@pytest.mark.parametrize("part", ["Json-file", "Json-file/test"])
def test_the_json_folders_alone_are_enough_for_scoring(tree: Path, part: str) -> None:
    assert len(task("cls", tree / part).load(images=False).samples) == 20


def test_two_dialogues_of_one_path_are_two_samples_whatever_their_order(tree: Path, tmp_path: Path) -> None:
    samples = task("reg", tree).load(images=False).samples
    twice = [s for s in samples if s.tags["source"] == "EDD2020"]
    assert {s.id for s in twice} == {f"EDD2020/Test/all-images/EDD2020_AJ0021.jpg{end}" for end in ("", "#2")}
    assert len({s.images[0].path for s in twice}) == 1
    turned = write(tmp_path / "turned.json", records("reg", "test", 20)[::-1])
    again = {s.id: s for s in task("reg", turned).load(images=False).samples}
    assert all(again[s.id].question == s.question and again[s.id].references == s.references for s in samples)


def test_ids_are_unique_even_for_the_same_dialogue_three_times() -> None:
    assert sorted(unique_ids([("a", "q", "x")] * 3)) == ["a", "a#2", "a#3"]


def test_tags_name_source_category_parent_and_box_size(tree: Path) -> None:
    for kind in KINDS:
        sample = next(s for s in task(kind, tree).load(images=False).samples if s.tags["source"] == "SUN")
        assert sample.tags["category"] == "low grade adenoma"
        assert sample.tags["parent"] == "polyp related"
        assert ("box_size" in sample.tags) == (kind in ("reg", "rec"))


@pytest.mark.parametrize(
    ("path", "cluster"),
    [
        ("CVC-ClinicDB/Train/polyp/103.png", "CVC-ClinicDB/Train/polyp/103.png"),
        ("PolypGen/Train/polyp/14_endocv2021_positive_1266.jpg", "PolypGen:14"),
        ("PolypGen/Train/polyp/C3_EndoCV2021_00108.jpg", "PolypGen/Train/polyp/C3_EndoCV2021_00108.jpg"),
        ("PolypGen/Train/polyp/125OLCV1_100H0003.jpg", "PolypGen/Train/polyp/125OLCV1_100H0003.jpg"),
        ("Kvasir-Capsule/Test/erosion/eb0203196e284797_2380.jpg", "Kvasir-Capsule:eb0203196e284797"),
        ("SUN/Test/low_grade_adenoma/case1_3-a2_image0001.jpg", "SUN:case1_3-a2"),
        ("SUN/Test/low_grade_adenoma/case1_3/x.jpg", "SUN:case1_3"),
        ("KUMC/Val/polyp/12_345.jpg", "KUMC:12"),
        ("KUMC/Val/polyp/345.jpg", "KUMC/Val/polyp/345.jpg"),
        ("Nerthus/Val/BBPS1/bowel_20_score_2-1_00000001.jpg", "Nerthus:bowel_20_score_2-1"),
        ("HyperKvasir/Val/cecum/ab_12.jpg", "HyperKvasir/Val/cecum/ab_12.jpg"),
        ("103.png", "103.png"),
    ],
)
def test_the_cluster_is_the_video_where_the_path_tells_it(path: str, cluster: str) -> None:
    assert Record(path=path, question="q", answer="a").cluster == cluster


def test_the_prompt_is_the_image_and_then_the_question_verbatim(tree: Path) -> None:
    adapter = task("reg", tree)
    loaded = adapter.load(images=False)
    (message,) = adapter.messages(loaded.samples[0])
    raw = json.loads((tree / "Json-file/test/ColonINST-test-reg.json").read_text(encoding="utf-8"))[0]
    assert message.content[0] == ImagePlace(0)
    assert f"<image>\n{message.content[1]}" == raw["conversations"][0]["value"]
    assert loaded.prompt.startswith("coloninst@")


def test_other_counts_than_the_published_are_refused(tree: Path) -> None:
    with pytest.raises(DataError, match=r"20 dialogues.*45284.*allow_counts"):
        task("cls", tree, allow_counts=False).load(images=False)


def test_the_wrong_task_and_the_wrong_split_are_named(tree: Path) -> None:
    file = tree / "Json-file/val/ColonINST-val-reg.json"
    with pytest.raises(DataError, match="belong to the task reg, not to cls"):
        task("cls", file, split="seen").load(images=False)
    with pytest.raises(DataError, match="belong to the split seen"):
        task("reg", file, split="unseen").load(images=False)


@pytest.mark.parametrize("settings", [{"kind": "det"}, {"split": "dev"}, {"on_missing_image": "ignore"}])
def test_invalid_settings_are_refused(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="coloninst"):
        task(settings.pop("kind", "cls"), tmp_path, **settings)


def test_missing_images_are_named_by_source(tmp_path: Path) -> None:
    root = build(tmp_path / "c")
    for path in (root / "Positive-images/SUN").rglob("*.jpg"):
        path.unlink()
    next((root / "Positive-images/PolypGen").rglob("*.jpg")).unlink()
    adapter = task("cls", root, split="seen")
    with pytest.raises(DataError, match=r"images are missing.*SUN: 4 of 4") as caught:
        adapter.load()
    assert "CVC-ClinicDB" not in str(caught.value)
    assert len(adapter.load(images=False).samples) == 20
    loaded = task("cls", root, split="seen", on_missing_image="skip").load()
    assert "SUN: 4 dialogues, image missing" in loaded.skipped
    assert all(s.tags["source"] != "SUN" for s in loaded.samples)


def test_without_any_images_generation_is_refused_with_the_counts(tmp_path: Path) -> None:
    root = build(tmp_path / "c", images=False)
    with pytest.raises(DataError, match=r"20 of 20 images.*no such folder found.*task.images=DIR"):
        task("cls", root, on_missing_image="skip").load()


def test_images_may_lie_elsewhere(tree: Path, tmp_path: Path) -> None:
    root = build(tmp_path / "c", images=False)
    assert len(task("cls", root, images=str(tree / "Positive-images")).load().samples) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("[[" + json.dumps(dialogue("a/b/c/d.jpg", "Categorize the object.", "polyp")) + "]", "not valid JSON"),
        ("[]", "empty list"),
        ("{}", "dict"),
        ("[1]", "item 1 is not a record"),
        ('[{"id": "a"}]', "item 1 is not a record"),
        ('[{"id": "", "conversations": []}]', "item 1 is not a record"),
        (json.dumps([dialogue("a", "q", " ")]), "reference answer is empty"),
        (
            json.dumps([{"id": "a", "conversations": [{"from": "human", "value": 3}]}]),
            "'human' is of type int, expected text",
        ),
        (json.dumps([{"id": "a", "conversations": [{"from": "gpt", "value": "x"}] * 2}]), "several turns"),
        (json.dumps([dialogue("a", "q", "x")]) + json.dumps([dialogue("a", "q", "x")]), "text follows"),
    ],
)
def test_damaged_files_are_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_records(path)
    assert "broken.json" in str(caught.value)


def test_a_missing_file_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ColonINST-test-cls\.json"):
        task("cls", tmp_path).load(images=False)


def test_results_appended_by_the_evaluator_are_ignored(tmp_path: Path) -> None:
    items = [dialogue("SUN/Test/polyp/a.jpg", "Categorize the object.", "polyp", "polyp")]
    path = tmp_path / "pred.json"
    tail = ',\n{\n    "eval_result": {\n        "CLS": 1.0\n    }\n}'
    path.write_text(json.dumps(items) + tail * 2, encoding="utf-8")
    file = read_records(path)
    assert (len(file.records), file.answered) == (1, True)


def test_captions_that_refuse_are_tagged(tmp_path: Path) -> None:
    items = [
        dialogue(f"KUMC/Test/polyp/{i}.jpg", "Interpret what the image shows.", text)
        for i, text in enumerate(["I'm sorry, but I can't provide a caption.", "A polyp."])
    ]
    samples = task("cap", write(tmp_path / "cap.json", items)).load(images=False).samples
    assert [s.tags["reference_refuses"] for s in samples] == ["yes", "no"]


def test_files_are_downloaded_by_name_at_a_full_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    full, calls = "c0199a5" + "0" * 33, []
    local = write(tmp_path / "x.json", records("cls", "val", 20))

    class Commit:
        commit_id = full

    monkeypatch.setattr(coloninst_hub, "_cached_hash", lambda prefix: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_commits", lambda *a, **k: [Commit()])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: calls.append((a, k)) or str(local))
    assert len(task("cls", None, split="seen").load(images=False).samples) == 20
    assert calls == [
        (
            ("ai4colonoscopy/ColonINST-v1", "val/ColonINST-val-cls.json"),
            {"repo_type": "dataset", "revision": full},
        )
    ]
    with pytest.raises(ConfigError, match="revision"):
        task("cls", None, revision="main").load(images=False)
    with pytest.raises(DataError, match="0 commits start with"):
        task("cls", None, revision="abcdef1").load(images=False)


def test_a_hub_out_of_reach_suggests_a_local_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    (base,) = (kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")

    def unreachable(*_: object, **__: object) -> None:
        raise base("no network")

    monkeypatch.setattr(coloninst_hub, "_cached_hash", lambda prefix: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_commits", unreachable)
    with pytest.raises(DataError, match=r"cannot be downloaded.*no network.*task.path=DIR"):
        task("cls", None).load(images=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_yamls_build_the_task_and_its_protocol(kind: str) -> None:
    assert f"coloninst-{kind}" in options("task")
    config = load_option("task", f"coloninst-{kind}")
    adapter = build_config(config, "task")
    assert (adapter.name, adapter.kind, adapter.folder) == (f"coloninst-{kind}", kind, "test")


def test_degenerate_boxes() -> None:
    for text in ("", "{<1><2><3>}", "{<1><2><3><4><5>}", "[1, 2, 3, 4]", "<1.5><2><3><4>", "<-1><2><3><4>", "<9" * 5):
        assert read_box(text) is None, text
    assert read_box("<" + "9" * 5000 + "><1><1><1>") is None
    assert area((5, 5, 4, 9)) == 0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 1.0
    assert round(iou((0, 0, 10, 10), (10, 10, 20, 20)), 4) == 0.0041
    assert size_of((0, 0, 95, 94)) == "medium"
    assert size_of((0, 0, 95, 95)) == "large"


@pytest.mark.data
def test_the_labels_and_counts_agree_with_the_published_class_table(shared: Path) -> None:
    rows = json.loads((shared / "coloninst/category_counts.json").read_text(encoding="utf-8"))
    for folder in ("train", "val", "test"):
        assert sum(row[folder] for row in rows) == COUNTS[folder]["cls"]
    spelled = {"high-grade dysplasia": "high grade dysplasia", "uc (ulcerative colitis)": "ulcerative colitis"}
    named = {spelled.get(row["category"].lower(), row["category"].lower()) for row in rows}
    labels = {normalise_label(label) for label in load_option("protocol", "coloninst")["labels"]["cls"]}
    assert labels == named
    assert len(labels) == 43
    assert all(parent_of(label) for label in labels)
    largest = {f: Counter() for f in ("val", "test")}
    for row in rows:
        for folder, count in largest.items():
            count[row["category"]] += row[folder]
    assert largest["val"].most_common(1) == [("polyp", 6127)]
    assert largest["test"].most_common(1) == [("low grade adenoma", 23943)]


@pytest.mark.data
def test_the_documented_examples_are_read(shared: Path) -> None:
    file = read_records(shared / "coloninst/format_examples_from_docs.json")
    assert [record.kind for record in file.records] == ["cls", "reg", "rec"]
    assert not file.answered
