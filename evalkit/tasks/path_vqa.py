"""PathVQA (He et al. 2020, arXiv:2003.10286) in its released forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import CLOSED, OPEN
from evalkit.tasks.formats import (
    ImageFinder,
    Raw,
    Record,
    Rows,
    conversation_rows,
    field_of,
    is_conversation,
    json_files,
    names_split,
    parquet_files,
    parquet_rows,
)
from evalkit.tasks.vqa import VqaTask, unknown_form

FORMS = (
    "Hugging Face parquet, the original pvqa JSON (img_id, sentf, labelf), LLaVA-Med JSON, "
    "a JSON array of question and answer"
)

# (n, closed by yes/no) of the original and of the Hugging Face release, which leaves out duplicates.
_ORIGINAL = {"train": (19755, 9806), "validation": (6279, 3135), "test": (6761, 3391)}
_HUB = {"train": (19654, None), "validation": (6259, None), "test": (6719, 3362)}


class PathVqa(VqaTask):
    """Pathology questions made from captions: 6,719 test rows (6,761 in the original form) on 858 images.

    The original says nowhere whether a row is open or closed, and LLaVA-Med's label is the yes/no rule, so yesno is the
    natural closed_rule here.
    """

    def read(self, root: Path, split: str, images: bool) -> Rows:
        """See `VqaTask.read`.  Tag `repeats`: conflicting, duplicate or none, among the rows of one image."""
        found = self._read(root, split, images)
        return replace(found, rows=tuple(_marked(found.rows)))

    def _read(self, root: Path, split: str, images: bool) -> Rows:
        finder = ImageFinder(root) if images else None
        for path, records in json_files(root, split) if root.suffix != ".parquet" else ():
            if not (root.is_file() or names_split(path, split)):
                continue
            first = records[0]
            if {"img_id", "sentf", "labelf"} <= set(first):
                return Rows(form="pvqa-json", rows=tuple(_original(records, finder, path)))
            if is_conversation(first):
                return Rows(form="llava-med-json", rows=tuple(conversation_rows(records, finder, path, True)))
            if {"question", "answer"} <= set(first):
                return Rows(form="hf-json", rows=tuple(_flat(records, finder, path, split)))
        if files := parquet_files(root, split):
            rows = tuple(
                _row(f"hf-{split}-{number}", record, image_id, f"{files[0]}: row {number}", ref)
                for number, record, ref, image_id in parquet_rows(files)
            )
            return Rows(form="hf-parquet", rows=rows, order={"hf": tuple(r.id for r in rows)})
        _refuse_pickles(root)
        raise unknown_form(self.name, root, split, FORMS)

    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """See `VqaTask.expected`."""
        n, closed = (_HUB if form.startswith("hf-") else _ORIGINAL)[split]
        return ({"n": n} if closed is None else {"n": n, OPEN: n - closed, CLOSED: closed},)


def _marked(rows: Sequence[Raw]) -> Iterator[Raw]:
    """The rows with what others of the same image and question say: another answer, the same one, or nothing."""
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    keys = [(row.image_id, " ".join(row.question.lower().split()).replace(" ?", "?")) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        answers[key].append(row.answer.lower())
    for key, row in zip(keys, rows, strict=True):
        same = answers[key]
        kind = "none" if len(same) == 1 else "conflicting" if len(set(same)) > 1 else "duplicate"
        yield replace(row, tags={**row.tags, "repeats": kind})


def _refuse_pickles(root: Path) -> None:
    """The original questions are pickles, and a pickle runs code when it is read."""
    if root.is_dir() and (found := next(root.rglob("*.pkl"), None)):
        raise DataError(
            f"{found} is a pickle, which can run code when it is opened, so evalkit reads none. The same questions are "
            "in the authors' repository as JSON (baselines/method1/saved/lxmert/pvqa_test.json) and on the hub as "
            "parquet."
        )


def _original(records: Sequence[Record], finder: ImageFinder | None, path: Path) -> Iterator[Raw]:
    """One record an image; its questions and its answers are two lists of equal length."""
    for record in records:
        image = field_of(record, "img_id", f"{path}: a record")
        where = f"{path}: img_id {image!r}"
        try:
            questions, labels = record["sentf"]["pvqa"], record["labelf"]["pvqa"]
            answers = [next(iter(label.keys())) for label in labels]
        except (KeyError, TypeError, AttributeError, StopIteration) as problem:
            raise DataError(f"{where}: expected sentf.pvqa and labelf.pvqa, a label for each question.") from problem
        if len(questions) != len(answers):
            raise DataError(f"{where}: {len(questions)} questions and {len(answers)} answers.")
        for k, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            ref = finder.find(f"{image}.jpg") if finder else None
            yield _row(f"{image}-{k}", {"question": question, "answer": answer}, image, where, ref)


def _flat(records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str) -> Iterator[Raw]:
    for number, record in enumerate(records):
        row_id = str(record["qid"]) if "qid" in record else f"hf-{split}-{number}"
        image = record.get("img_id", record.get("image"))
        ref = None
        if finder and image is not None:
            name = str(image)
            ref = finder.find(name if "." in name else f"{name}.jpg")
        image_id = str(image) if image is not None else f"row{number}"
        yield _row(row_id, record, image_id, f"{path}: row {number}", ref)


def _row(row_id: str, record: Mapping[str, Any], image_id: str, where: str, ref: Any) -> Raw:
    question, answer = field_of(record, "question", where), field_of(record, "answer", where)
    words = question.split()
    return Raw(
        id=row_id,
        question=question,
        answer=answer,
        image_id=image_id,
        image=ref,
        tags={"question_type": words[0].lower().strip("?,.")} if words else {},
    )
