"""PathVQA (He et al. 2020, arXiv:2003.10286) in its released forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import CLOSED, OPEN
from evalkit.tasks.formats import (
    Form,
    RawRow,
    Record,
    SplitRows,
    conversation_rows,
    duplicate_key,
    field_of,
    is_conversation,
    json_files,
    names_split,
    only_form,
    parquet_forms,
    parquet_rows,
)
from evalkit.tasks.image_finder import ImageFinder
from evalkit.tasks.vqa import VqaTask

FORMS = (
    "Hugging Face parquet, the original pvqa JSON (img_id, sentf, labelf), LLaVA-Med JSON, "
    "a JSON array of question and answer"
)

# (n, closed by yes/no) of the original release and of the Hugging Face release, which omits duplicates.
_ORIGINAL = {"train": (19755, 9806), "validation": (6279, 3135), "test": (6761, 3391)}
_HUB = {"train": (19654, None), "validation": (6259, None), "test": (6719, 3362)}


class PathVqa(VqaTask):
    """Pathology questions made from captions: 6,719 test rows (6,761 in the original form) on 858 images.

    The original has no open/closed label, and LLaVA-Med's label is the yes/no rule, so yesno is the natural closed_rule
    here.
    """

    def read(self, root: Path, split: str, images: bool) -> SplitRows:
        """See `VqaTask.read`.  Tag `repeats`: conflicting, duplicate or none, within the rows of an image."""
        found = self._read(root, split, images)
        return replace(found, rows=tuple(_tag_repeats(found.rows)))

    def _read(self, root: Path, split: str, images: bool) -> SplitRows:
        forms = list(self._forms(root, split, images))
        if not forms:
            _refuse_pickles(root)
        return only_form(forms, self.name, root, split, FORMS).read()

    def _forms(self, root: Path, split: str, images: bool) -> Iterator[Form]:
        finder = ImageFinder(root, split) if images else None
        for path, records in json_files(root, split) if root.suffix != ".parquet" else ():
            if not (root.is_file() or names_split(path, split)):
                continue
            first = records[0]
            if {"img_id", "sentf", "labelf"} <= set(first):
                yield _form("pvqa-json", path, partial(_original, records, finder, path))
            elif is_conversation(first):
                yield _form("llava-med-json", path, partial(conversation_rows, records, finder, path, True))
            elif {"question", "answer"} <= set(first):
                yield _form("hf-json", path, partial(_flat, records, finder, path, split))
        for files in parquet_forms(root, split):
            yield Form("hf-parquet", files, partial(_parquet, files, split))

    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """See `VqaTask.expected`."""
        n, closed = (_HUB if form.startswith("hf-") else _ORIGINAL)[split]
        return ({"n": n} if closed is None else {"n": n, OPEN: n - closed, CLOSED: closed},)


def _form(name: str, path: Path, rows: Callable[[], Iterator[RawRow]]) -> Form:
    return Form(name, (path,), lambda: SplitRows(form=name, rows=tuple(rows())))


def _parquet(files: Sequence[Path], split: str) -> SplitRows:
    rows = tuple(
        _row(f"hf-{split}-{number}", record, image_id, f"{files[0]}: row {number}", ref)
        for number, record, ref, image_id in parquet_rows(files)
    )
    return SplitRows(form="hf-parquet", rows=rows, order={"hf": tuple(r.id for r in rows)})


def _tag_repeats(rows: Sequence[RawRow]) -> Iterator[RawRow]:
    """Tag each row by the answers of other rows with the same image and question: conflicting, duplicate or none."""
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    keys = [(row.image_id, duplicate_key(row.question)) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        answers[key].append(row.answer.lower())
    for key, row in zip(keys, rows, strict=True):
        repeats = answers[key]
        kind = "none" if len(repeats) == 1 else "conflicting" if len(set(repeats)) > 1 else "duplicate"
        yield replace(row, tags={**row.tags, "repeats": kind})


def _refuse_pickles(root: Path) -> None:
    """Raise DataError if the original pickles are there: reading a pickle can run code."""
    if root.is_dir() and (found := next(root.rglob("*.pkl"), None)):
        raise DataError(
            f"{found} is a pickle. evalkit reads no pickles, because opening one can run code. The same questions are "
            "available as JSON in the authors' repository (baselines/method1/saved/lxmert/pvqa_test.json) and as "
            "parquet on the Hugging Face hub."
        )


def _original(records: Sequence[Record], finder: ImageFinder | None, path: Path) -> Iterator[RawRow]:
    """Rows of the original form: one record per image, its questions and answers in two lists of equal length."""
    for record in records:
        image = field_of(record, "img_id", f"{path}: a record")
        where = f"{path}: img_id {image!r}"
        try:
            questions, labels = record["sentf"]["pvqa"], record["labelf"]["pvqa"]
            answers = [next(iter(label.keys())) for label in labels]
            if not isinstance(questions, list):
                raise TypeError("a text is no list of questions")
        except (KeyError, TypeError, AttributeError, StopIteration) as problem:
            raise DataError(
                f"{where}: expected sentf.pvqa and labelf.pvqa with a label for each question."
            ) from problem
        if len(questions) != len(answers):
            raise DataError(f"{where}: {len(questions)} questions but {len(answers)} answers.")
        for k, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            ref = finder.find(f"{image}.jpg") if finder else None
            yield _row(f"{image}-{k}", {"question": question, "answer": answer}, image, where, ref)


def _flat(records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str) -> Iterator[RawRow]:
    for number, record in enumerate(records):
        row_id = str(record["qid"]) if "qid" in record else f"hf-{split}-{number}"
        image = record.get("img_id", record.get("image"))
        ref = None
        if finder and image is not None:
            name = str(image)
            ref = finder.find(name if "." in name else f"{name}.jpg")
        image_id = str(image) if image is not None else f"row{number}"
        yield _row(row_id, record, image_id, f"{path}: row {number}", ref)


def _row(row_id: str, record: Mapping[str, Any], image_id: str, where: str, ref: Any) -> RawRow:
    question, answer = field_of(record, "question", where), field_of(record, "answer", where)
    words = question.split()
    return RawRow(
        id=row_id,
        question=question,
        verbatim=str(record["question"]),
        answer=answer,
        image_id=image_id,
        image=ref,
        tags={"question_type": words[0].lower().strip("?,.")} if words else {},
    )
