"""Options of closed questions from a file of their own, joined to a data set by question and answer.

MedVLThinker's (UCSC-VLAA/MedVLThinker-Eval on the hub) has the options that GPT-4o wrote for the closed questions of
VQA-RAD, SLAKE and PathVQA.  Its authors keep one list of options for a question with its answer, and so does this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import json_text
from evalkit.core.errors import DataError
from evalkit.core.types import CLOSED, LETTERS, Sample
from evalkit.records.base import Record, check_whole, first_few
from evalkit.records.load import load

_FIELDS = ("question", "answer", "options")


class Asked(NamedTuple):
    """A question with its answer, in lower case with single spaces, by which rows are joined."""

    question: str
    answer: str


def with_options(samples: Sequence[Sample], path: Path, where: str) -> tuple[list[Sample], list[str]]:
    """The samples with the options of the file as choices of closed rows, and notes on what was joined.

    A closed row that the file does not have is left without options.

    Raises:
        DataError: the file cannot be read, has none of the closed rows, or two lists of options for one of them.
    """
    known = read_options(path)
    joined, lost, conflicts = [], [], []
    for sample in samples:
        if sample.answer_type == CLOSED:
            found = known.get(asked(sample.question, sample.references[0]), ())
            conflicts += [sample.id] if len(found) > 1 else []
            lost += [] if found else [sample.id]
            sample = replace(sample, choices=next(iter(found), ()))
        joined.append(sample)
    closed = sum(sample.answer_type == CLOSED for sample in samples)
    if conflicts:
        raise DataError(
            f"{path}: {len(conflicts)} closed rows of {where} have two lists of options there, for the same question "
            f"and answer: {first_few(conflicts)}. Expected one; keep the rows of one data set in the file."
        )
    if closed and len(lost) == closed:
        raise DataError(
            f"{path} has none of the {closed} closed questions of {where}: expected records with question, answer and "
            "options, the questions and answers as in the data set. Is it the file of another data set?"
        )
    note = f"options of {closed - len(lost)} of {closed} closed rows are those of {path.name}"
    return joined, [f"{note}; the other {len(lost)} have none: {first_few(lost)}" if lost else note]


def asked(question: str, answer: str) -> Asked:
    """The key of a row."""
    return Asked(*(" ".join(text.lower().split()) for text in (question, answer)))


def read_options(path: Path) -> Mapping[Asked, Sequence[tuple[str, ...]]]:
    """The different lists of options of each question with its answer.  Raises DataError, which names the row."""
    raw = load(path)
    check_whole(raw)
    if not raw.records:
        raise DataError(f"{path}: expected records with {', '.join(_FIELDS)}, one a question.")
    found: dict[Asked, dict[tuple[str, ...], None]] = defaultdict(dict)
    for record in raw.records:
        where = f"{path}: row {record.row}"
        question, answer = (_text(record, key, where) for key in ("question", "answer"))
        found[asked(question, answer)][_options(record.fields.get("options"), where)] = None
    return {key: tuple(lists) for key, lists in found.items()}


def _text(record: Record, key: str, where: str) -> str:
    value = record.fields.get(key)
    if not isinstance(value, str):
        raise DataError(f"{where}: {key} is {json_text.shown(value)}, expected a text.")
    return value


def _options(value: Any, where: str) -> tuple[str, ...]:
    """The texts of the options in the order of their letters, from an object or a list, or JSON text of one."""
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except ValueError as problem:
            raise DataError(f"{where}: options are no JSON ({problem}): {json_text.shown(value)}.") from None
    if isinstance(value, Mapping):
        lettered = {letter: text for letter, text in value.items() if text is not None}  # parquet fills up with null
        if sorted(lettered) != list(LETTERS[: len(lettered)]):
            raise DataError(
                f"{where}: options are lettered {', '.join(map(str, lettered))}, expected A, B, C and so on."
            )
        value = [lettered[letter] for letter in sorted(lettered)]
    if not isinstance(value, Sequence) or not 2 <= len(value) <= len(LETTERS):
        raise DataError(f"{where}: options are {json_text.shown(value)}, expected 2 to {len(LETTERS)} texts.")
    if odd := [text for text in value if not isinstance(text, str) or not text.strip()]:
        raise DataError(f"{where}: the option {json_text.shown(odd[0])} is no text.")
    return tuple(value)
