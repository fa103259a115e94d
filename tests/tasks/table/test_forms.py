"""One table in every form: the same samples, and through the command line the same numbers."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.images import open_image
from evalkit.core.types import CHOICE, CLOSED, OPEN, Sample
from evalkit.tasks.table.task import TableTask

ROWS: list[dict[str, Any]] = [
    {"image": "img/a.png", "modality": "CT", "patient": "P1", "question": "Is it large?", "answer": "yes"},
    {"image": "img/a.png", "modality": "CT", "patient": "P1", "question": "Which modality?", "answer": "B",
     "A": "MRI", "B": "CT", "C": "PET"},
    {"image": "img/b.png", "modality": "MRI", "patient": "P1", "question": "What  organ\tis it?", "answer": "NA"},
    {"image": "img/b.png", "modality": "MRI", "patient": "P2", "question": "Which modality?", "answer": "MRI",
     "A": "MRI", "B": "CT"},
]  # fmt: skip
NAMES = ["image", "modality", "patient", "question", "answer", "A", "B", "C"]


def draw(folder: Path) -> None:
    from PIL import Image

    (folder / "img").mkdir()
    for name, colour in (("a", (200, 10, 10)), ("b", (10, 200, 10))):
        Image.new("RGB", (20, 30), colour).save(folder / "img" / f"{name}.png")


def _csv(folder: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def in_base64(folder: Path) -> list[dict[str, Any]]:
    return [{**r, "image": base64.b64encode((folder / r["image"]).read_bytes()).decode()} for r in ROWS]


def write_csv(folder: Path) -> Path:
    (folder / "t.csv").write_text(_csv(folder, ROWS), encoding="utf-8")
    return folder / "t.csv"


def write_tsv(folder: Path) -> Path:
    (folder / "t.tsv").write_text(_csv(folder, in_base64(folder), "\t"), encoding="utf-8")
    return folder / "t.tsv"


def write_jsonl(folder: Path) -> Path:
    (folder / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS), encoding="utf-8")
    return folder / "t.jsonl"


def write_json(folder: Path) -> Path:
    rows = [{k: v for k, v in r.items() if k not in "ABC"} | {"options": [r[k] for k in "ABC" if k in r]} for r in ROWS]
    (folder / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "t.json"


def write_parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {**{k: r.get(k) for k in NAMES}, "image": {"bytes": (folder / r["image"]).read_bytes(), "path": r["image"]}}
        for r in ROWS
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "t.parquet")
    return folder / "t.parquet"


def write_xlsx(folder: Path) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(NAMES)
    for row in ROWS:
        book.active.append([row.get(name) for name in NAMES])
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def write_folder(folder: Path) -> Path:
    write_csv(folder).rename(folder / "test.csv")
    (folder / "train.csv").write_text(_csv(folder, ROWS[:1]), encoding="utf-8")
    return folder


FORMS: dict[str, Callable[[Path], Path]] = {
    "csv": write_csv, "tsv, base64": write_tsv, "jsonl": write_jsonl, "json, list of options": write_json,
    "parquet, structs": write_parquet, "xlsx": write_xlsx, "folder": write_folder,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    draw(data)
    return data


def essence(sample: Sample) -> tuple[Any, ...]:
    return (
        sample.id, sample.question, sample.prompt_question, sample.references, sample.choices, sample.letters,
        dict(sample.tags), sample.image_id, [open_image(ref).getpixel((0, 0)) for ref in sample.images],
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(folder: Path, form: str) -> None:
    path = FORMS[form](folder)
    task = TableTask(path=str(path), cluster="patient", tags=["modality"])
    loaded = task.load()
    red, green = (200, 10, 10), (10, 200, 10)
    first = 2 if form in ("tsv, base64", "csv", "folder", "xlsx") else 1  # the number of a line, or of an object
    ids = [str(k + first) for k in range(4)]
    expected = [
        (ids[0], "Is it large?", "Is it large?", ("yes",), (), (),
         {"answer_type": CLOSED, "modality": "CT"}, "P1", [red]),
        (ids[1], "Which modality?", "Which modality?", ("CT",), ("MRI", "CT", "PET"), ("B",),
         {"answer_type": CHOICE, "modality": "CT"}, "P1", [red]),
        (ids[2], "What organ is it?", "What  organ\tis it?", ("NA",), (), (),
         {"answer_type": OPEN, "modality": "MRI"}, "P1", [green]),
        (ids[3], "Which modality?", "Which modality?", ("MRI",), ("MRI", "CT"), ("A",),
         {"answer_type": CHOICE, "modality": "MRI"}, "P2", [green]),
    ]  # fmt: skip
    assert [essence(s) for s in loaded.samples] == expected
    assert any("answer types (2 choice, 1 closed, 1 open)" in note for note in loaded.notes)


def test_without_a_cluster_column_the_image_is_the_cluster(folder: Path) -> None:
    by_path = TableTask(path=str(write_csv(folder))).load().samples
    assert [s.image_id for s in by_path] == ["img/a.png", "img/a.png", "img/b.png", "img/b.png"]
    by_bytes = TableTask(path=str(write_tsv(folder))).load().samples
    assert len({s.image_id for s in by_bytes}) == 2


def test_train_rows_come_from_the_split_of_the_folder_a_column_or_a_file(folder: Path) -> None:
    assert len(TableTask(path=str(write_folder(folder))).load_train().samples) == 1
    rows = [{**r, "split": "train" if k else "test"} for k, r in enumerate(ROWS)]
    (folder / "s.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    task = TableTask(path=str(folder / "s.jsonl"))
    assert (len(task.load().samples), len(task.load_train().samples)) == (1, 3)
    with pytest.raises(DataError, match=r"no row of the split validation.*holds test, train"):
        TableTask(path=str(folder / "s.jsonl"), split="validation").load()
    one = TableTask(path=str(write_jsonl(folder)))
    with pytest.raises(DataError, match=r"task\.train=FILE"):
        one.load_train()
    assert len(TableTask(path=str(write_jsonl(folder)), train=str(folder / "s.jsonl")).load_train().samples) == 3


@pytest.mark.parametrize("name", ["test.jsonl", "data-test-00000-of-00001.jsonl", "val.jsonl"])
def test_a_file_of_another_split_is_never_read_as_train_rows(folder: Path, name: str) -> None:
    path = write_jsonl(folder).rename(folder / name)
    with pytest.raises(DataError, match="has no train rows"):
        TableTask(path=str(path)).load_train()
    train = path.rename(folder / "train.jsonl")
    assert len(TableTask(path=str(train)).load_train().samples) == 4


def test_rows_of_several_files_follow_each_other(folder: Path) -> None:
    for name, rows in (("a", ROWS[:1]), ("b", ROWS[1:])):
        (folder / "parts").mkdir(exist_ok=True)
        (folder / "parts" / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    task = TableTask(path=str(folder), files=["parts/*.json"], name="parts")
    samples = task.load().samples
    assert [(s.id, s.references[0]) for s in samples] == [("1", "yes"), ("2", "CT"), ("3", "NA"), ("4", "MRI")]
    assert [open_image(s.images[0]).getpixel((0, 0)) for s in samples[:1]] == [(200, 10, 10)]
    (folder / "parts" / "c.json").write_text("[{", encoding="utf-8")
    with pytest.raises(DataError, match=r"c\.json"):
        task.load()


@pytest.mark.parametrize(
    ("keep", "n"), [({"modality": "CT"}, 2), ({"modality": ["CT", "MRI"]}, 4), ({"modality": "CT", "A": ["MRI"]}, 1)]
)
def test_rows_that_are_no_part_of_the_set_are_left_out(folder: Path, keep: dict[str, Any], n: int) -> None:
    path = str(write_csv(folder))
    assert len(TableTask(path=path, keep=keep, counts={"test": n}).load().samples) == n
    with pytest.raises(DataError, match=rf"this copy has {n} rows, the published set 9\."):
        TableTask(path=path, keep=keep, counts={"test": 9}).load()


def test_rows_that_are_left_out_as_bad_count_for_the_copy(folder: Path) -> None:
    rows = [*ROWS, {"question": "", "answer": "yes"}]
    (folder / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    loaded = TableTask(path=str(folder / "t.json"), counts={"test": 5}, on_bad_row="skip").load()
    assert (len(loaded.samples), len(loaded.skipped)) == (4, 1)


@pytest.mark.parametrize(("asked", "chosen"), [("validation", "validation"), ("val", "validation"), ("test", "test")])
def test_the_hub_split_of_the_very_name_comes_before_its_other_names(
    monkeypatch: pytest.MonkeyPatch, asked: str, chosen: str
) -> None:
    import datasets
    import huggingface_hub

    class Api:
        def dataset_info(self, repo: str, revision: str | None) -> Any:
            return type("Info", (), {"sha": "c0ffee"})

    def load_dataset(repo: str, subset: str | None, *, split: str, revision: str) -> Any:
        return datasets.Dataset.from_list([{"question": f"Is it {split}?", "answer": "yes"}])

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["dev", "validation", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (sample,) = TableTask(path="owner/name", split=asked).load().samples
    assert sample.question == f"Is it {chosen}?"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no question": ({"question": ""}, "row 1, question is empty"),
    "no answer": ({"answer": " "}, "row 1, answer is empty"),
    "a letter beyond": ({"A": "x", "B": "y", "answer": "C"}, "none of the options"),
    "a url": ({"image": "https://example.org/a.png"}, "is a URL"),
    "broken base64": ({"image": "A" * 80}, "no image"),
    "an object": ({"image": {"url": "x"}}, "without bytes and without a path"),
    "a type that is none": ({"type": "hard"}, "'hard' is no known type"),
    "a choice without options": ({"type": "mcq"}, "has no options"),
    "a list of lists": ({"answer": [["yes"]]}, "expected text or a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_an_error_that_names_it_or_is_left_out_and_counted(folder: Path, case: str) -> None:
    change, problem = BAD[case]
    rows = [{"question": "Is it?", "answer": "yes"} | change, {"question": "Is it?", "answer": "no"}]
    (folder / "b.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        TableTask(path=str(folder / "b.json")).load()
    loaded = TableTask(path=str(folder / "b.json"), on_bad_row="skip").load()
    assert len(loaded.samples) == 1
    assert len(loaded.skipped) == 1 and problem.split()[0] in loaded.skipped[0]


def test_numbers_of_options_need_to_be_clear(folder: Path) -> None:
    def table(answers: list[int]) -> str:
        rows = [{"question": "Which?", "options": ["CT", "MRI", "PET"], "answer": a} for a in answers]
        (folder / "n.json").write_text(json.dumps(rows), encoding="utf-8")
        return str(folder / "n.json")

    assert [s.references[0] for s in TableTask(path=table([0, 1])).load().samples] == ["CT", "MRI"]
    assert [s.references[0] for s in TableTask(path=table([3, 1])).load().samples] == ["PET", "CT"]
    for unclear in ([1, 2], [0, 3]):
        with pytest.raises(DataError, match="first_option"):
            TableTask(path=table(unclear)).load()
    assert [s.references[0] for s in TableTask(path=table([1, 2]), first_option=1).load().samples] == ["CT", "MRI"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"cluster": "patient_id"}, r"task.cluster=patient_id: .* no such column"),
        ({"tags": ["modalty"]}, r"no such column.*modality"),
        ({"tags": "modality"}, "must be a list"),
        ({"keep": {"modalty": "CT"}}, r"no such column.*modality"),
        ({"on_bad_row": "ignore"}, "task.on_bad_row=ignore"),
        ({"first_option": 2}, "task.first_option=2"),
        ({"prompt": "shrt"}, "task.prompt=shrt"),
        ({"template": "What?"}, "no field {question}"),
        ({"template": "{question} {contxt}"}, "unknown field {contxt}"),
        ({"template": "{question"}, "brace"),
    ],
)
def test_invalid_settings_are_refused(folder: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        TableTask(path=str(write_csv(folder)), **settings).load()


@pytest.mark.parametrize("path", ["nowhere.csv", "", None])
def test_a_path_that_is_nothing_is_refused(path: str | None) -> None:
    with pytest.raises(DataError, match=r"task\.path"):
        TableTask(path=path).load()


def test_wordings_name_their_text(folder: Path) -> None:
    path = str(write_csv(folder))
    plain = TableTask(path=path)
    own = TableTask(path=path, template="Q: {question}\n{options}\nAnswer:", system="You read images.")
    choice = own.load().samples[1]
    system, user = own.messages(choice)
    assert system.content == ("You read images.",)
    assert user.content[1:] == ("Q: Which modality?\nA. MRI\nB. CT\nC. PET\nAnswer:",)
    assert own.load().prompt.startswith("template@")
    assert plain.load().prompt.startswith("short+letters@")
    assert TableTask(path=path, prompt="letters").load().prompt.startswith("letters@")
    assert own.load().prompt != TableTask(path=path, template="Q: {question}").load().prompt


@pytest.mark.parametrize(
    ("spelled", "answer_type"),
    [
        *((word, OPEN) for word in ("Open-ended", "free text", "Free_Response", "FREE-FORM", "short answer")),
        *((word, CLOSED) for word in ("Yes/No", "y/n", "closed ended", "Binary")),
        *((word, CHOICE) for word in ("Multiple-Choice", "MCQ", "single choice")),
    ],
)
def test_a_type_of_answer_is_known_in_every_usual_spelling(folder: Path, spelled: str, answer_type: str) -> None:
    row = {"question": "Is it?", "answer": "yes", "answer_type": spelled}
    row |= {"options": ["yes", "no"]} if answer_type == CHOICE else {}
    (folder / "s.json").write_text(json.dumps([row]), encoding="utf-8")
    (sample,) = TableTask(path=str(folder / "s.json")).load().samples
    assert sample.answer_type == answer_type
