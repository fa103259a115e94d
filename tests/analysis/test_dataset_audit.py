"""The audit of a dataset copy: correct counts, and no count where a form has too little information."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from evalkit.analysis.dataset_audit import Finding, audit, render
from evalkit.core.errors import DataError
from evalkit.core.types import ImageRef, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import duplicate_key
from evalkit.tasks.path_vqa import PathVqa
from evalkit.tasks.slake import Slake
from evalkit.tasks.vqa_rad import VqaRad


def row(row_id: str, image_id: str, question: str, answer: str, kind: str = "OPEN", **tags: str) -> Sample:
    tags = {"answer_type": kind, **tags}
    return Sample(id=row_id, image_id=image_id, question=question, references=(answer,), tags=tags)


def split(*samples: Sample, name: str = "test", **more: object) -> LoadedTask:
    return LoadedTask(name="t", split=name, form="f", samples=samples, closed_rule="label", prompt="p", **more)


@dataclass
class Copy:
    test: LoadedTask
    train: LoadedTask | None = None

    def load(self, *, images: bool = True) -> LoadedTask:
        return self.test

    def load_train(self) -> LoadedTask:
        if self.train is None:
            raise DataError("there is none.")
        return self.train


def found(copy: object, images: bool = False) -> dict[str, Finding]:
    findings = audit(copy, images=images)
    assert len({f.check for f in findings}) == len(findings)
    return {f.check: f for f in findings}


TEST = split(
    row("1", "a", "Is it?", "yes", "CLOSED"),
    row("2", "a", "is  it ?", "YES", "CLOSED"),
    row("3", "a", "Is it?", "no", "CLOSED"),
    row("4", "a", "Which?", "left", "CLOSED"),
    row("5", "b", "Is it?", "no", leak="frame"),
    row("6", "b", "Which?", "left", leak="none"),
    skipped=("row 0: its answer is empty",),
    notes=("a note",),
)


def test_every_check_counts_what_is_there():
    train = split(row("9", "a", "which?", "Left"), row("10", "c", "How?", "no"), name="train")
    by = found(Copy(TEST, train))
    assert {check: f.count for check, f in by.items()} == {
        "rows": 6, "closed": 2, "left out": 1, "duplicates": 1, "conflicts": 1, "train images": 1, "train rows": 1,
        "train questions": 2, "train answers": 4, "leaks": 1,
    }  # fmt: skip
    assert "on 2 images" in by["rows"].text and "a note" in by["rows"].text
    assert "2 open and 4 closed by label, 2 and 4 by yes or no" in by["closed"].text
    assert by["conflicts"].text.endswith(
        "(3 rows), 1 of them with yes and no; one answer to each equals at most 83.3 % of all references"
    )
    assert "of 2 images" in by["train images"].text and "4 of 6 rows" in by["train images"].text
    assert by["duplicates"].examples == ("2 (a): 'is  it ?' -> 'YES'",)
    assert by["left out"].examples == ("row 0: its answer is empty",)
    assert by["leaks"].examples[0].startswith("5 (b)")


def test_a_clean_copy_has_no_findings_and_a_missing_train_split_is_reported():
    by = found(Copy(split(row("1", "a", "Is it?", "yes", "CLOSED"))))
    assert {c: f.count for c, f in by.items()} == {
        "rows": 1, "closed": 0, "duplicates": 0, "conflicts": 0, "train split": 0,
    }  # fmt: skip
    assert by["train split"].text == "not checked: there is none."


def test_generated_image_ids_are_never_compared():
    test = split(row("1", "row0", "Is it?", "yes"), row("2", "row1", "Is it?", "no"))
    train = split(row("3", "row0", "Is it?", "yes"), name="train")
    named = split(row("4", "row0", "Is it?", "yes"), row("5", "synpic1.jpg", "Is it?", "yes"), name="train")
    for own, other in ((test, train), (test, named), (named, train)):
        by = found(Copy(own, other))
        assert (by["train images"].count, by["train rows"].count) == (0, 0)
        assert "not comparable" in by["train images"].text and "not comparable" in by["train rows"].text
    assert found(Copy(test, train))["duplicates"].text.startswith("not comparable")
    assert found(Copy(test, train))["conflicts"].text.startswith("not comparable")


def with_image(sample: Sample, path: Path) -> Sample:
    return Sample(
        id=sample.id, image_id=sample.image_id, question=sample.question, references=sample.references,
        images=(ImageRef(kind="file", path=str(path)),), tags=sample.tags,
    )  # fmt: skip


def test_unusable_images_are_a_finding_even_when_none_is_left(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    good, gone = with_image(TEST.samples[0], tmp_path / "a.png"), with_image(TEST.samples[1], tmp_path / "b.png")
    some = found(Copy(split(good, gone)), images=True)["images"]
    assert (some.count, some.text) == (1, "rows without a usable image, of 2; 1 images differ")
    assert "row 2" in some.examples[0] and "b.png" in some.examples[0]
    none = found(Copy(split(gone)), images=True)["images"]
    assert none.count == 1 and "b.png" in none.examples[0]
    assert "images" not in found(Copy(split(gone)))


def test_an_image_that_shows_nothing_is_a_finding(tmp_path):
    made = {
        "black": Image.new("L", (4, 4), 0),
        "nearly black": Image.new("RGB", (4, 4), (15, 3, 0)),  # 12 bits of a channel read as 16
        "transparent": Image.new("RGBA", (4, 4), (200, 100, 50, 0)),
        "transparent palette": Image.new("P", (4, 4), 0),
        "white": Image.new("1", (4, 4), 1),
        "blue": Image.new("RGB", (4, 4), (0, 0, 255)),
        "a dark image": Image.linear_gradient("L").point([v // 12 for v in range(256)]),
        "half transparent": Image.new("RGBA", (4, 4), (200, 100, 50, 255)),
    }
    made["half transparent"].putpixel((0, 0), (0, 0, 0, 0))
    paths = {name: tmp_path / f"{name}.png" for name in (*made, "gone")}
    for name, image in made.items():
        image.save(paths[name], **({"transparency": 0} if name == "transparent palette" else {}))
    rows = [with_image(row(name, name, "Q?", "a"), path) for name, path in paths.items()]
    empty = found(Copy(split(*rows)), images=True)["empty images"]
    assert empty.count == 6
    assert empty.text == "rows about an image that shows nothing: 2 black, 2 fully transparent, 2 of one colour"
    assert empty.examples[0] == "black (black): black" and empty.examples[2].endswith(": fully transparent")
    clean = found(Copy(split(rows[6])), images=True)["empty images"]
    assert (clean.count, clean.text) == (0, "rows about an image that shows nothing")


def test_case_space_and_the_space_before_a_question_mark_make_no_different_text():
    assert duplicate_key(" What  IS\tit ?") == duplicate_key("what is it?")
    assert duplicate_key("is it") != duplicate_key("is it?")


def test_the_text_shows_counts_and_examples():
    text = render([Finding(check="rows", count=2, text="rows"), Finding(check="x", count=0, text="y", examples=("z",))])
    assert [line.split() for line in text.splitlines()] == [["rows", "2", "rows"], ["x", "0", "y"], ["e.g.", "z"]]


@pytest.mark.data
def test_the_known_faults_of_vqa_rad_are_found(shared):
    by = found(VqaRad(name="v", path=str(shared / "vqa-rad/osf")))
    assert by["closed"].count == 21
    assert by["train images"].count == 202 and "of 203 images" in by["train images"].text
    assert "446 of 451 rows" in by["train images"].text
    assert by["train rows"].count == 1 and "synpic31955" in by["train rows"].examples[0]
    assert by["leaks"].count == 284


@pytest.mark.data
def test_the_known_faults_of_slake_are_found(shared):
    by = found(Slake(name="s", path=str(shared / "slake")))
    assert by["closed"].count == 61
    assert (by["train images"].count, by["duplicates"].count, by["conflicts"].count) == (0, 0, 0)
    # 997 letter for letter, one more but for white space or case.
    assert (by["train questions"].count, by["train answers"].count) == (998, 1059)


@pytest.mark.slow
@pytest.mark.data
def test_the_known_faults_of_path_vqa_are_found(shared):
    by = found(PathVqa(name="p", path=str(shared / "pathvqa/hf"), closed_rule="yesno"))
    assert by["duplicates"].count == 608
    assert by["conflicts"].count == 236
    assert "(951 rows), 3 of them with yes and no; one answer to each equals at most 91.8 %" in by["conflicts"].text
    assert by["train images"].count == 0 and "names no images" in by["train images"].text


def test_multiple_choice_rows_are_in_neither_meaning_of_closed() -> None:
    from evalkit.analysis.dataset_audit import _closed_rules
    from evalkit.core.types import Sample
    from evalkit.tasks.base import LoadedTask

    def made(number: int, gold: str, kind: str, choices: tuple[str, ...] = ()) -> Sample:
        tags = {"answer_type": kind}
        return Sample(id=str(number), image_id="i", question="?", references=(gold,), choices=choices, tags=tags)

    rows = (made(0, "yes", "CHOICE", ("yes", "no")), made(1, "yes", "CLOSED"), made(2, "lung", "OPEN"))
    task = LoadedTask(name="t", split="test", form="made", samples=rows, closed_rule="label", prompt="p@0")
    found = _closed_rules(task)
    assert found.count == 0
    assert "1 open and 1 closed by label, 1 and 1 by yes or no; 1 rows of multiple choice are neither" in found.text
