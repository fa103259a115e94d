"""Benchmarks of conf/task on the table task: made-up rows in each released form."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.commands.audit import other_splits
from evalkit.cli.config import build, load_option, options, protocols_for
from evalkit.core.errors import DataError
from evalkit.core.images import open_image
from evalkit.core.types import CHOICE, CLOSED, OPEN, ImagePlace, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.selection import SelectedTask, Selection
from evalkit.tasks.table.task import TableTask

Row = dict[str, Any]
RED, GREEN, BLUE, GREY = (200, 10, 10), (10, 200, 10), (10, 10, 200), (90, 90, 90)
OPTIONS = ("Diffuse uptake", "Focal uptake", "No uptake", "Unclear")


def png(colour: tuple[int, int, int]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, images: dict[str, tuple[int, int, int]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, colour in images.items():
            archive.writestr(name, png(colour))


def write_csv(path: Path, rows: Sequence[Row], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def pictures(*colours: tuple[int, int, int], of: int) -> Row:
    """Columns image_1 ... of a parquet row, as the datasets library writes them; null where there are fewer."""
    shown = [{"bytes": png(c), "path": f"{k}.png"} for k, c in enumerate(colours)]
    return {f"image_{k + 1}": shown[k] if k < len(shown) else None for k in range(of)}


def pmc_vqa(folder: Path) -> None:
    lettered = {f"Choice {a}": f" {a}:{text} " for a, text in zip("ABCD", OPTIONS, strict=True)}
    rows = [
        {
            "Figure_path": "PMC1_F1.jpg",
            "Question": "What uptake?",
            "Answer": OPTIONS[1],
            **lettered,
            "Answer_label": "B",
        },
        {"Figure_path": "PMC2_F3.jpg", "Question": "And here? ", "Answer": OPTIONS[3], **lettered, "Answer_label": "D"},
    ]
    write_csv(folder / "test_clean.csv", rows)
    write_csv(folder / "test_2.csv", rows[:1])  # another set in the same repository
    write_zip(folder / "images.zip", {"images/PMC1_F1.jpg": RED, "images/PMC2_F3.jpg": GREEN})


def pmc_vqa_test2(folder: Path) -> None:
    lettered = {f"Choice {a}": f"{a}: {text}" for a, text in zip("ABCD", OPTIONS, strict=True)}
    shared = {"Caption": "Focal uptake in the breast", "Question": "What uptake?", **lettered}
    rows = [
        {"index": 7, "Figure_path": "PMC1_1.jpg", **shared, "Answer": "B", "split": "test"},
        {"index": 8, "Figure_path": "PMC1_2.jpg", **shared, "Answer": "A", "split": "test"},
    ]
    write_csv(folder / "test_2.csv", rows)
    write_zip(folder / "images_2.zip", {"figures/PMC1_1.jpg": RED, "figures/PMC1_2.jpg": GREEN})


def medxpertqa(folder: Path) -> None:
    letters = dict(zip("ABCDE", (*OPTIONS, "Artefact"), strict=True))
    shown = " ".join(f"({a}) {text}" for a, text in letters.items())
    tags = {"medical_task": "Diagnosis", "body_system": "Skeletal", "question_type": "Reasoning"}
    rows = [
        {"id": "MM-0", "question": f"Which uptake?\nAnswer Choices: {shown}", "options": letters, "label": "E",
         "images": ["MM-0-b.jpeg", "MM-0-a.jpeg"], **tags},
        {"id": "MM-1", "question": f"What next?\nAnswer Choices: {shown}", "options": letters, "label": "A",
         "images": ["MM-1-a.jpeg"], **tags},
    ]  # fmt: skip
    (folder / "MM").mkdir()
    for name, some in (("test", rows), ("dev", rows[:1])):
        (folder / f"MM/{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in some), encoding="utf-8")
    images = {"images/MM-0-a.jpeg": RED, "images/MM-0-b.jpeg": GREEN, "images/MM-1-a.jpeg": BLUE}
    write_zip(folder / "images.zip", images)


SUBJECTS = (
    "Basic_Medical_Science",
    "Clinical_Medicine",
    "Diagnostics_and_Laboratory_Medicine",
    "Pharmacy",
    "Public_Health",
)


def mmmu(folder: Path) -> None:
    shared = {"explanation": "", "img_type": "['Plots']", "topic_difficulty": "Easy", "subfield": "Anatomy"}
    for subject in SUBJECTS:
        row = {"id": f"validation_{subject}_1", "question": "In <image 1>, which?", "options": "['CT', \"it's MRI\"]",
               "answer": "B", "question_type": "multiple-choice", **shared, **pictures(RED, of=7)}  # fmt: skip
        write_parquet(folder / subject / "validation-00000-of-00001.parquet", [row])
        write_parquet(folder / subject / "test-00000-of-00001.parquet", [row | {"answer": "?"}])
        write_parquet(folder / subject / "dev-00000-of-00001.parquet", [row])
    both = {"question": "Which is bone?", "options": "['<image 2>', '<image 1>']", "answer": "A"}
    open_row = {"question": "How many <image 1>?", "options": "[]", "answer": "2", "question_type": "open"}
    rows = [row | {"id": "validation_Pharmacy_1"} | both | pictures(RED, GREEN, of=7),
            row | {"id": "validation_Pharmacy_2"} | open_row]  # fmt: skip
    write_parquet(folder / "Pharmacy" / "validation-00000-of-00001.parquet", rows)


def mmmu_pro(folder: Path) -> None:
    ten = [f"finding {k}" for k in range(10)]
    shared = {"explanation": "?", "img_type": "['CT']", "topic_difficulty": "Hard"}
    row = {"id": "test_Pharmacy_1", "question": "In <image 1>, which?", "options": str(ten), "answer": "J",
           "subject": "Pharmacy", **shared, **pictures(BLUE, of=7)}  # fmt: skip
    shuffled = {
        "id": "test_Public_Health_2",
        "subject": "Public_Health",
        "question": "Which is bone?",
        "options": "['<image 2>', '<image 1>']",
        "answer": "B",
    }
    doubled = {"id": "test_Pharmacy_140", "options": "['a', 'b', 'a']", "answer": "B"}
    other = {"id": "test_Art_3", "subject": "Art"}
    rows = [row, row | shuffled | pictures(RED, GREEN, of=7), row | doubled, row | other]
    write_parquet(folder / "standard (10 options)" / "test-00000-of-00002.parquet", rows[:2])
    write_parquet(folder / "standard (10 options)" / "test-00001-of-00002.parquet", rows[2:])
    write_parquet(folder / "standard (4 options)" / "test-00000-of-00001.parquet", rows)


def omnimedvqa(folder: Path) -> None:
    shared = {"dataset": "ACRIMA", "question_type": "Modality Recognition", "modality_type": "Fundus"}
    rows = [
        {**shared, "question_id": "ACRIMA_0", "question": "Which modality?", "gt_answer": "Fundus imaging",
         "image_path": "Images/ACRIMA/1.png", "option_A": "CT", "option_B": "Fundus imaging"},
        {"dataset": "Chest CT Scan", "question_type": "Disease Diagnosis", "modality": "CT", "question_id": "Chest_0",
         "question": "Which finding?", "gt_answer": "Mass", "image_path": "Images/Chest/1.png",
         "option_A": "None", "option_B": "Rib", "option_C": "Heart", "option_D": "Mass"},
    ]  # fmt: skip
    for place, name, some in (("Open-access", "ACRIMA", rows[:1]), ("Open-access", "Chest CT Scan", rows[1:]),
                              ("Restricted-access", "Other", rows)):  # fmt: skip
        (folder / "QA_information" / place).mkdir(parents=True, exist_ok=True)
        (folder / "QA_information" / place / f"{name}.json").write_text(json.dumps(some), encoding="utf-8")
    for name, colour in (("ACRIMA", RED), ("Chest", GREEN)):
        (folder / "Images" / name).mkdir(parents=True)
        (folder / "Images" / name / "1.png").write_bytes(png(colour))


def medframeqa(folder: Path) -> None:
    shared = {"system": "CNS", "organ": "brain", "keyword": "k", "modality": "MRI", "video_id": "v1", "image_url": ["https://x.y/1"],
              "reasoning_chain": "r", "options": list(OPTIONS)}  # fmt: skip
    rows = [
        {
            "question_id": "q1",
            "question": "Across frames?",
            "correct_answer": "C",
            **shared,
            **pictures(RED, GREEN, BLUE, of=5),
        },
        {"question_id": "q2", "question": "And here?", "correct_answer": "A", **shared, **pictures(GREEN, RED, of=5)},
    ]
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def endobench(folder: Path) -> None:
    shared = {"question": "Which organ?", "A": "Colon", "B": "Stomach", "category": "Anatomy"}
    rows = [
        {"index": 1, "image": base64.b64encode(png(RED)).decode(), **shared, "C": "Oesophagus", "answer": "C"},
        {"index": 2, "image": base64.b64encode(png(GREEN)).decode(), **shared, "C": "", "answer": "A"},
    ]
    write_csv(folder / "EndoBench.tsv", rows, "\t")


def pathmmu(folder: Path, tiny: bool = False) -> None:
    def row(number: int, image: str, right: int) -> Row:
        options = [f"{letter}) {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)]
        return {"No": number, "img": image, "question": f"What uptake in {image}?", "options": options,
                "answer": options[right], "explanation": "?"}  # fmt: skip

    data = {
        "PubMed": {"val": [row(1, "v.png", 0)], "test": [row(1, "a.png", 1)], "test_tiny": [row(2, "b.png", 3)]},
        "Atlas": {"val": [], "test": [row(1, "b.png", 0)], "test_tiny": []},
    }
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    write_zip(folder / "images.zip", {"images/a.png": RED, "images/b.png": GREEN})


def gmai(folder: Path) -> None:
    shared = {"question": "Which organ?", "A": "Colon", "B": "Stomach", "category": "c", "Clinical VQA task": "t"}
    rows = [
        {"index": 1, "image": base64.b64encode(png(RED)).decode(), **shared, "C": "Liver", "D": "", "E": "",
         "answer": "C", "split": "val"},
        {"index": 2, "image": base64.b64encode(png(GREEN)).decode(), **shared, "C": "Liver", "D": "Lung",
         "E": "E. coli", "answer": "E", "split": "val"},
    ]  # fmt: skip
    write_csv(folder / "GMAI-MMBench_VAL.tsv", rows, "\t")


def coloneval(folder: Path) -> None:
    def row(image: str, question: str, answer: str) -> Row:
        turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
        return {"id": image, "image": image, "conversations": turns}

    place = folder / "JSON" / "ColonEval"
    place.mkdir(parents=True)
    technique = "Which technique? <A> Linked Color Imaging (LCI), <B> Narrow Band Imaging (NBI), <C> White Light"
    files = {
        "Task6": [row("Positive-images/x.png", technique, "<B> Narrow Band Imaging (NBI)")],
        "Task9": [row("Positive-images/x.png", "Is there a polyp?", "Yes")],
        "Task11": [row("Negative-images/y.png", "What is it?", "hemorrhoid")],
        "Task16": [row("Negative-images/y.png", "How large? <A> 0mm < polyp < 6mm, <B> polyp ≥ 6mm", "<B>")],
    }  # fmt: skip
    for name, rows in files.items():
        (place / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    for name, colour in (("Positive-images/x", RED), ("Negative-images/y", GREEN)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(png(colour))


def colonpert(folder: Path) -> None:
    coloneval(folder)
    (folder / "JSON" / "ColonPert").mkdir()
    (folder / "JSON" / "ColonEval" / "Task6.json").rename(folder / "JSON" / "ColonPert" / "TestA_on_image.json")
    (folder / "JSON" / "ColonEval" / "Task16.json").rename(folder / "JSON" / "ColonPert" / "TestD_emotion.json")


Expected = dict[str, tuple[str, tuple[str, ...], tuple[str, ...], list[tuple[int, int, int]]]]

# The writer of the form, and of each row: the question, its options, the right letters, the images in order.
SETS: dict[str, tuple[Callable[[Path], None], Expected]] = {
    "pmc-vqa": (pmc_vqa, {
        "2": ("What uptake?", OPTIONS, ("B",), [RED]), "3": ("And here?", OPTIONS, ("D",), [GREEN]),
    }),
    "pmc-vqa-test2": (pmc_vqa_test2, {
        "2": ("What uptake?", OPTIONS, ("B",), [RED]), "3": ("What uptake?", OPTIONS, ("A",), [GREEN]),
    }),
    "medxpertqa-mm": (medxpertqa, {
        "MM-0": ("Which uptake?", (*OPTIONS, "Artefact"), ("E",), [GREEN, RED]),
        "MM-1": ("What next?", (*OPTIONS, "Artefact"), ("A",), [BLUE]),
    }),
    "mmmu-med": (mmmu, {
        **{f"validation_{s}_1": ("In <image 1>, which?", ("CT", "it's MRI"), ("B",), [RED]) for s in SUBJECTS},
        "validation_Pharmacy_1": ("Which is bone?", ("<image 2>", "<image 1>"), ("A",), [RED, GREEN]),
        "validation_Pharmacy_2": ("How many <image 1>?", (), (), [RED]),
    }),
    "mmmu-pro-med": (mmmu_pro, {
        "test_Pharmacy_1": ("In <image 1>, which?", tuple(f"finding {k}" for k in range(10)), ("J",), [BLUE]),
        "test_Public_Health_2": ("Which is bone?", ("<image 2>", "<image 1>"), ("B",), [RED, GREEN]),
    }),
    "omnimedvqa": (omnimedvqa, {
        "ACRIMA_0": ("Which modality?", ("CT", "Fundus imaging"), ("B",), [RED]),
        "Chest_0": ("Which finding?", ("None", "Rib", "Heart", "Mass"), ("D",), [GREEN]),
    }),
    "medframeqa": (medframeqa, {
        "q1": ("Across frames?", OPTIONS, ("C",), [RED, GREEN, BLUE]),
        "q2": ("And here?", OPTIONS, ("A",), [GREEN, RED]),
    }),
    "endobench": (endobench, {
        "1": ("Which organ?", ("Colon", "Stomach", "Oesophagus"), ("C",), [RED]),
        "2": ("Which organ?", ("Colon", "Stomach"), ("A",), [GREEN]),
    }),
    "pathmmu": (pathmmu, {
        "2": ("What uptake in a.png?", OPTIONS, ("B",), [RED]),
        "3": ("What uptake in b.png?", OPTIONS, ("D",), [GREEN]),
        "4": ("What uptake in b.png?", OPTIONS, ("A",), [GREEN]),
    }),
    "pathmmu-tiny": (pathmmu, {"3": ("What uptake in b.png?", OPTIONS, ("D",), [GREEN])}),
    "gmai-mmbench": (gmai, {
        "1": ("Which organ?", ("Colon", "Stomach", "Liver"), ("C",), [RED]),
        "2": ("Which organ?", ("Colon", "Stomach", "Liver", "Lung", "E. coli"), ("E",), [GREEN]),
    }),
    "coloneval": (coloneval, {
        "1": ("What is it?", (), (), [GREEN]),
        "2": ("How large?", ("0mm < polyp < 6mm", "polyp ≥ 6mm"), ("B",), [GREEN]),
        "3": ("Which technique?", ("Linked Color Imaging (LCI)", "Narrow Band Imaging (NBI)", "White Light"), ("B",),
              [RED]),
        "4": ("Is there a polyp?", (), (), [RED]),
    }),
    "colonpert": (colonpert, {
        "1": ("Which technique?", ("Linked Color Imaging (LCI)", "Narrow Band Imaging (NBI)", "White Light"), ("B",),
              [RED]),
        "2": ("How large?", ("0mm < polyp < 6mm", "polyp ≥ 6mm"), ("B",), [GREEN]),
    }),
}  # fmt: skip
ROWS = {"mmmu-pro-med": 3}  # one of the copy's rows is left out


def task_of(name: str, **changes: Any) -> TableTask:
    task: TableTask = build({**load_option("task", name), **changes}, f"task {name}")
    return task


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(name: str, folder: Path, **changes: Any) -> tuple[TableTask, LoadedTask]:
    folder.mkdir(exist_ok=True)
    SETS[name][0](folder)
    split = load_option("task", name)["split"]
    given = {"path": str(folder), "counts": {split: ROWS.get(name, len(SETS[name][1]))}, **changes}
    task = task_of(name, **given)
    return task, task.load()


def essence(sample: Sample) -> tuple[Any, ...]:
    seen = [open_image(ref).convert("RGB").getpixel((3, 3)) for ref in sample.images]
    return sample.question, sample.choices, sample.letters, seen


def test_every_benchmark_on_the_table_task_has_a_case_here() -> None:
    targets = {name: load_option("task", name)["target"] for name in options("task")}
    assert {name for name, t in targets.items() if t.endswith(":TableTask")} - {"table"} == set(SETS)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("cache")
def test_rows_of_the_released_form_are_read(name: str, tmp_path: Path) -> None:
    task, loaded = load(name, tmp_path / "copy")
    assert {s.id: essence(s) for s in loaded.samples} == SETS[name][1]
    plain = {"Is there a polyp?": CLOSED}
    assert all(s.answer_type == (CHOICE if s.choices else plain.get(s.question, OPEN)) for s in loaded.samples)
    assert loaded.name == name
    for sample in loaded.samples:  # every image is shown, and every option with its letter
        places = [part for message in task.messages(sample) for part in message.content]
        assert sorted(p.index for p in places if isinstance(p, ImagePlace)) == list(range(len(sample.images)))
        text = "".join(p if isinstance(p, str) else f"<image {p.index + 1}>" for p in places)
        for letter, choice in zip("ABCDEFGHIJ", sample.choices, strict=False):
            assert f"\n{letter}. {choice}" in text or f"\n({letter}) {choice}" in text
        assert text.count("Answer Choices") == 0


@pytest.mark.few(3)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("cache")
def test_a_copy_with_other_counts_is_refused_unless_allowed(name: str, tmp_path: Path) -> None:
    published = load_option("task", name)["counts"]
    n = published[load_option("task", name)["split"]]
    with pytest.raises(DataError, match=rf"{name} .*this copy has \d rows, the published set {n}\..*allow_counts"):
        load(name, tmp_path / "copy", counts=published)
    _, loaded = load(name, tmp_path / "again", counts=published, allow_counts=True)
    assert any("not comparable with published ones" in note for note in loaded.notes)


@pytest.mark.parametrize("name", SETS)
def test_each_names_its_source_and_protocols_that_exist(name: str) -> None:
    config = load_option("task", name)
    assert {"about", "licence", "citation", "counts", "protocols", "baseline_protocols"} <= set(config)
    assert config["split"] in config["counts"]
    assert f"{config['counts'][config['split']]:,}" in config["about"]
    assert list(protocols_for(None, config)) == config["protocols"]
    assert config["name"] == name
    assert config.get("repo") or config.get("manual_download")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("cache")
def test_there_are_no_train_rows_and_test_rows_are_never_taken_for_them(name: str, tmp_path: Path) -> None:
    task, _ = load(name, tmp_path / "copy")
    with pytest.raises(DataError, match=rf"{name} has no train rows"):
        task.load_train()


@pytest.mark.usefixtures("cache")
def test_a_row_with_two_equal_options_is_left_out_and_counted(tmp_path: Path) -> None:
    _, loaded = load("mmmu-pro-med", tmp_path / "copy")
    (reason,) = loaded.skipped
    assert "two options are equal" in reason


@pytest.mark.usefixtures("cache")
def test_images_in_options_stand_where_the_options_name_them(tmp_path: Path) -> None:
    task, loaded = load("mmmu-pro-med", tmp_path / "copy")
    sample = next(s for s in loaded.samples if s.id == "test_Public_Health_2")
    (message,) = task.messages(sample)
    assert [p for p in message.content if isinstance(p, ImagePlace)] == [ImagePlace(1), ImagePlace(0)]


@pytest.mark.usefixtures("cache")
def test_a_part_of_pathmmu_runs_under_its_name_without_the_images_of_others(tmp_path: Path) -> None:
    task, _ = load("pathmmu", tmp_path / "copy")
    loaded = SelectedTask(task, Selection(where={"key_1": ("Atlas",)})).load()
    assert (loaded.name, len(loaded.samples)) == ("pathmmu[key_1=Atlas]", 1)


@pytest.mark.usefixtures("cache")
def test_the_tasks_of_coloneval_are_slices(tmp_path: Path) -> None:
    _, loaded = load("coloneval", tmp_path / "copy")
    assert [s.tags["file"] for s in loaded.samples] == ["Task11", "Task16", "Task6", "Task9"]


@pytest.mark.usefixtures("cache")
def test_frames_of_one_video_are_one_cluster(tmp_path: Path) -> None:
    _, loaded = load("medframeqa", tmp_path / "copy")
    assert (loaded.cluster, {s.image_id for s in loaded.samples}) == ("video_id", {"v1"})


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[Any, ...]]:
    import huggingface_hub

    asked: list[tuple[Any, ...]] = []

    def give(repo: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, repo_type, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    return asked


@pytest.mark.usefixtures("cache")
def test_without_a_path_the_pinned_files_of_the_hub_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, tmp_path / "commit")
    _, loaded = load("medxpertqa-mm", tmp_path / "commit", path=None)
    assert len(loaded.samples) == 2
    assert "TsinghuaC3I/MedXpertQA at commit commit" in loaded.notes
    revision = "7e7c465a68eb2b866926bfa59c8c9d17a8daba65"
    assert asked == [("TsinghuaC3I/MedXpertQA", "dataset", revision, ["MM/test.jsonl", "images.zip", "*.md"])]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task=omnimedvqa needs task\.path: .*QA_information"):
        task_of("omnimedvqa").load()
    with pytest.raises(DataError, match=r"no file MM/test\.jsonl in this folder"):
        task_of("medxpertqa-mm", path=str(tmp_path)).load()
    with pytest.raises(DataError, match=r"no such file or folder"):
        task_of("pmc-vqa", path=str(tmp_path / "nowhere")).load()


@pytest.mark.usefixtures("cache")
def test_another_split_or_subject_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pmc-vqa has no split validation; it has test\."):
        load("pmc-vqa", tmp_path / "copy", split="validation", counts={"test": 2}, allow_counts=True)
    with pytest.raises(DataError, match=r"No row has a subject of Music"):
        load("mmmu-pro-med", tmp_path / "pro", keep={"subject": "Music"})


@pytest.mark.parametrize("name", ["medxpertqa-mm", "table"])
@pytest.mark.usefixtures("cache")
def test_an_audit_does_not_find_the_rows_in_themselves(name: str, tmp_path: Path) -> None:
    """A table that names no split is read whole whatever split is asked for."""
    copy = tmp_path / "copy"
    load("medxpertqa-mm" if name == "medxpertqa-mm" else "endobench", copy)
    path = copy if name == "medxpertqa-mm" else copy / "EndoBench.tsv"
    others = other_splits(
        {"task": {**load_option("task", name), "path": str(path), "allow_counts": True}}, images=False
    )
    assert set(others) == {"train", "validation"}
    assert all(isinstance(why, str) and "split" in why for why in others.values())


def test_an_audit_finds_the_other_splits_of_a_table(tmp_path: Path) -> None:
    rows = [{"question": f"Is it {k}?", "answer": "yes", "split": s} for k, s in enumerate(["test", "train", "train"])]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    others = other_splits({"task": {**load_option("task", "table"), "path": str(tmp_path / "t.json")}}, images=False)
    train = others["train"]
    assert not isinstance(train, str)
    assert len(train.samples) == 2


def test_an_audit_of_a_file_takes_no_other_table_beside_it_for_its_split(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"question,answer\nCT in {name}?,yes\n", encoding="utf-8")
    config = {"task": {**load_option("task", "table"), "path": str(tmp_path / "a.csv")}}
    found = other_splits(config, images=False)
    assert found["validation"] == "the table does not say which split its rows are of"
    (tmp_path / "validation.csv").write_text("question,answer\nMRI?,no\n", encoding="utf-8")
    validation = other_splits(config, images=False)["validation"]
    assert not isinstance(validation, str)
    assert [s.question for s in validation.samples] == ["MRI?"]


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("set.csv", "question,answer\nCT?,yes\n")
    with pytest.raises(DataError, match=r"expected a table.* unpack it"):
        TableTask(path=str(tmp_path / "set.zip")).load(images=False)
