"""Shared readers for the released forms of VQA datasets: locating files, normalising types, building samples.

A form is recognised by the keys of its records, never by the file name; only the split is read from file names,
because most releases do not store it anywhere else.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import json_text
from evalkit.core.errors import DataError, first_line
from evalkit.core.parquet import open_parquet, parquet_records
from evalkit.core.types import CLOSED, OPEN, ImageRef, Sample
from evalkit.tasks.image_finder import ImageFinder
from evalkit.tasks.prompts import options_in

Record = Mapping[str, Any]

# The MEVF releases and others use different names for the validation split.
SPLIT_NAMES = {"train": ("train",), "validation": ("val", "valid", "validate", "validation", "dev"), "test": ("test",)}
# Suffix that LLaVA-Med's answer files append to a question.
_HINT = re.compile(r"\s*(?:Please choose from the following two options: \[[^\]]*\])\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row of any form, with normalised types.

    label: the dataset's own OPEN or CLOSED, None if it has none.  verbatim: the question with the file's white space.
    """

    id: str
    question: str
    answer: str
    image_id: str
    image: ImageRef | None = None
    label: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    verbatim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """The rows of one split in file order.  order: see `LoadedTask`.  notes: facts about the copy, for the user."""

    form: str
    rows: tuple[RawRow, ...]
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def text_of(value: Any, where: str) -> str:
    """A field as text: numbers converted, white space (tabs included) as single spaces, the string "None" unchanged.

    Raises:
        DataError: null, a list, an object, or NaN (which the string "None" becomes in a table read by pandas).
    """
    not_finite = isinstance(value, float) and not math.isfinite(value)
    if not_finite or isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where} is {value!r}; expected text.")
    return " ".join(str(value).split())


def field_of(record: Record, key: str, where: str) -> str:
    """A required field as text.

    Raises:
        DataError: it is missing or not text.
    """
    if key not in record:
        raise DataError(f"{where} has no field {key!r}; it has {', '.join(map(str, record)) or 'none'}.")
    return text_of(record[key], f"{where}: {key}")


def optional(value: Any) -> str | None:
    """An optional field as text; None if it is absent, empty or "NULL" (as VQA-RAD writes it)."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "NULL")):
        return None
    return " ".join(str(value).split())


def label_of(value: Any, where: str) -> str | None:
    """OPEN or CLOSED, ignoring case and outer spaces; None if the field is absent.

    Raises:
        DataError: any other value.
    """
    if value is None:
        return None
    label = str(value).strip().upper()
    if label not in (OPEN, CLOSED):
        raise DataError(f"{where}: answer_type is {value!r}; expected OPEN or CLOSED.")
    return label


def is_yes_or_no(answer: str) -> bool:
    """Whether a gold answer is yes or no: the definition of closed under closed_rule=yesno."""
    return answer.strip().lower().rstrip(".") in ("yes", "no")


def duplicate_key(text: str) -> str:
    """Key for finding duplicate questions and answers: lower case, single spaces, none before a question mark."""
    return " ".join(text.lower().split()).replace(" ?", "?")


class JsonFile(NamedTuple):
    """A JSON array of records and the file that it is in."""

    path: Path
    records: list[Any]


def json_files(path: Path, split: str) -> Iterator[JsonFile]:
    """The JSON arrays in a file, or in a folder and its direct subfolders; files named after the split come first.

    Raises:
        DataError: the path does not exist, or the given file or a file named after the split is damaged.
    """
    if path.is_file():
        yield JsonFile(path, _array(path))
        return
    if not path.is_dir():
        raise DataError(f"task.path={path}: no such file or folder.")
    found = [p for pattern in ("*.json", "*/*.json") for p in sorted(path.glob(pattern))]
    for candidate in sorted(found, key=lambda p: (not names_split(p, split), str(p))):
        try:
            content = _json(candidate)
        except DataError:
            if names_split(candidate, split):
                raise
            continue  # dataset folders also contain unrelated files (detection.json, notes)
        if _is_array(content):
            yield JsonFile(candidate, content)


class Form(NamedTuple):
    """A released form of a split that was found in a copy.  files: what it is read from; read: reads its rows."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], SplitRows]


def only_form(forms: Iterable[Form], name: str, root: Path, split: str, known: str) -> Form:
    """The only form of a split in a copy.  Files with equal bytes are one.

    Args:
        known: the forms that the task reads, for the message.

    Raises:
        DataError: the copy has the split in no form that is known, or in several forms or files; names them.
    """
    found = list(forms)
    if not found:
        inside = sorted(p.name for p in root.iterdir())[:8] if root.is_dir() else [root.name]
        raise DataError(
            f"{name}: no {split} split in a known form at {root} (found: {', '.join(inside) or 'nothing'}). "
            f"Known forms: {known}."
        )
    if len(found) > 1:
        first: dict[tuple[bytes, ...], Form] = {}
        for form in found:
            first.setdefault(tuple(hashlib.sha256(f.read_bytes()).digest() for f in form.files), form)
        found = list(first.values())
    if len(found) > 1:
        shown = ", ".join(f"{form.name} ({_below(form.files[0], root)})" for form in found)
        kinds = "several released forms" if len({form.name for form in found}) > 1 else "several different files"
        raise DataError(
            f"{name}: {root} holds {kinds} of the {split} split: {shown}. They can differ in rows, ids and labels, so "
            "none is chosen. Set task.path to the folder or file of one of them."
        )
    return found[0]


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _array(path: Path) -> list[Any]:
    content = _json(path)
    if not _is_array(content):
        raise DataError(f"{path} is not a JSON array of records.")
    return list(content)


def _json(path: Path) -> Any:
    try:
        return json_text.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as problem:
        raise DataError(f"{path} is not a JSON file: {problem}.") from problem


def _is_array(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and all(isinstance(r, dict) for r in content)


def parquet_files(path: Path, split: str) -> list[Path]:
    """The parquet files of a split, in the order of their names."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    found = [p for pattern in ("*.parquet", "*/*.parquet") for p in sorted(path.glob(pattern))]
    return [p for p in found if names_split(p, split)]


def names_split(path: Path, split: str) -> bool:
    """Whether a file is named after the split: test.json, pvqa_test.json, testset.json, test-00000-of-00001.parquet."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return any(word in (name, f"{name}set") for name in SPLIT_NAMES.get(split, (split,)) for word in words)


def parquet_forms(path: Path, split: str) -> list[tuple[Path, ...]]:
    """The parquet files of a split, one group for each folder: the parts of one form are in one folder."""
    folders: dict[Path, list[Path]] = {}
    for file in parquet_files(path, split):
        folders.setdefault(file.parent, []).append(file)
    return [tuple(files) for files in folders.values()]


class ParquetRow(NamedTuple):
    """A row of a Hugging Face parquet file: its number in the split, its text fields, its image and the image's id."""

    number: int
    record: Record
    image: ImageRef | None
    image_id: str


def parquet_rows(files: Sequence[Path]) -> Iterator[ParquetRow]:
    """Rows of Hugging Face parquet files, read a few at a time.

    The image id is the digest of the image bytes, because these forms do not name images.  Rows with the same image
    (most have one) share one reference, so that it is checked and stored once.

    Raises:
        DataError: a file is not parquet, or is damaged.
    """
    number = 0
    refs: dict[str, ImageRef] = {}
    for path in files:
        for inside, record in enumerate(_parquet_records(path)):
            image = record.pop("image", None)
            content = image.get("bytes") if isinstance(image, dict) else image
            if content is not None and not isinstance(content, bytes):
                raise DataError(f"{path}: row {inside}: the column image contains no image bytes.")
            image_id = hashlib.sha256(content).hexdigest()[:16] if content else f"row{number}"
            if content:
                refs.setdefault(image_id, ImageRef(kind="parquet", path=str(path), member=f"image:{inside}"))
            yield ParquetRow(number, record, refs.get(image_id), image_id)
            number += 1


def _parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow

    try:
        with open_parquet(path) as table:
            yield from parquet_records(table)
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        raise DataError(f"{path} cannot be read as parquet: {first_line(problem)}.") from problem


def is_conversation(record: Record) -> bool:
    """Whether a record has LLaVA's conversation layout; early LLaVA-Med files misspell the key."""
    return "id" in record and ("conversations" in record or "conversatons" in record)


def conversation_rows(
    records: Sequence[Record], images: ImageFinder | None, path: Path, first_word_type: bool = False
) -> Iterator[RawRow]:
    """The rows of LLaVA-Med's converted JSON: id, image, answer_type, a human turn and a gpt turn."""
    for number, record in enumerate(records):
        where = f"{path}: record {number} (id {record.get('id')!r})"
        turns = record.get("conversations", record.get("conversatons"))
        try:
            question, answer = (next(t["value"] for t in turns if t["from"] == who) for who in ("human", "gpt"))
        except (TypeError, KeyError, StopIteration, RuntimeError) as problem:
            raise DataError(f"{where}: expected one turn from human and one from gpt, each with a value.") from problem
        text = _HINT.sub("", text_of(question, where).replace("<image>", " ").strip())
        image = text_of(record.get("image", ""), where)
        kind = optional(record.get("question_type")) or (text.split()[0].lower() if first_word_type and text else None)
        yield RawRow(
            id=str(record["id"]),
            question=" ".join(text.split()),
            verbatim=_HINT.sub("", str(question).replace("<image>", "").strip()),
            answer=text_of(answer, where),
            image_id=image or f"row{number}",
            image=images.find(image) if images and image else None,
            label=label_of(record.get("answer_type"), where),
            tags={"question_type": kind} if kind else {},
        )


def samples_of(rows: Iterable[RawRow], closed_rule: str, name: str) -> tuple[list[Sample], list[str]]:
    """Build samples under a closed rule; also returns a message for each row left out because it has no answer.

    Repeated ids get #2, #3 ... in file order.  Raises DataError for a row without a question.
    """
    samples: list[Sample] = []
    skipped: list[str] = []
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    for row in rows:
        seen[row.id] += 1
        sample_id = row.id
        while sample_id in taken:
            seen[row.id] += sample_id != row.id
            sample_id = f"{row.id}#{seen[row.id]}"
        taken.add(sample_id)
        if not row.question:
            raise DataError(f"{name}: row {sample_id} has no question.")
        if not row.answer:
            skipped.append(f"row {sample_id}: its answer is empty")
            continue
        kind = row.label if closed_rule == "label" else (CLOSED if is_yes_or_no(row.answer) else OPEN)
        tags = {**row.tags, **({"answer_type": kind} if kind else {})}
        samples.append(
            Sample(
                id=sample_id,
                image_id=row.image_id,
                question=row.question,
                references=(row.answer,),
                images=(row.image,) if row.image else (),
                choices=options_in(row.question) if kind == CLOSED else (),
                tags=tags,
                verbatim="" if (verbatim := row.verbatim.strip()) == row.question else verbatim,
            )
        )
    return samples, skipped
