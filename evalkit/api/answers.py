"""Answers that a caller has: a list, a dict, a Series, a DataFrame, or a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from numbers import Number
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from evalkit.api.arguments import as_path
from evalkit.api.frames import is_frame, plain_frame
from evalkit.api.home import Home
from evalkit.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.core.types import Sample

# What a record says of answers without a file.
ORIGIN = "given in Python"
# Objects whose text is the value itself.
_WITH_TEXT = (Number, date, time, timedelta, PurePath, UUID)
EXPECTED = "expected a list in the task's order, a dict or Series of id to answer, a DataFrame, or the path of a file"


class AnswersFile(NamedTuple):
    """Answers as a file that `score` reads.

    settings: how its columns are named.  n: how many answers; None where the file was the caller's own.
    """

    path: Path
    settings: dict[str, Any]
    n: int | None


def as_file(answers: Any, samples: Sequence[Sample], home: Home, where: str) -> AnswersFile:
    """Answers as a file.

    Args:
        samples: of the task, in whose order a list is.
        where: the task, for messages.

    Raises:
        DataError: the answers are of another number than the samples, or one is no text.
    """
    if isinstance(answers, str | os.PathLike):
        return AnswersFile(as_path("answers", answers, "the path of a file or run"), {}, None)
    if is_frame(answers):
        return _of_frame(answers, home)
    if is_frame(answers, "Series"):
        answers = _of_series(answers)
    if isinstance(answers, Mapping):
        pairs = _of_mapping(answers)
    elif isinstance(answers, Iterable) and not isinstance(answers, bytes | bytearray | set | frozenset):
        pairs = _of_list(list(answers), samples, where)
    else:
        raise DataError(f"Answers of type {type(answers).__name__} are not possible: {EXPECTED}.")
    lines = [json.dumps({"id": i, "prediction": _answer(value, i)}, ensure_ascii=True) for i, value in pairs]
    settings = {"format": "plain", "by": "id", "id": "id", "prediction": "prediction"}
    return AnswersFile(_kept(lines, home), settings, len(lines))


def _kept(lines: Sequence[str], home: Home) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    return home.file("answers", f"{hashlib.sha256(content).hexdigest()[:16]}.jsonl", content)


def _of_list(answers: Sequence[Any], samples: Sequence[Sample], where: str) -> list[tuple[str, Any]]:
    if len(answers) != len(samples):
        raise DataError(
            f"There are {len(answers)} answers, and {where} has {len(samples)} samples: a list is in the task's order, "
            "one answer a sample (load_task(…).samples), None for a failed one. Where it is not, give a dict of id to "
            "answer."
        )
    return [(sample.id, answer) for sample, answer in zip(samples, answers, strict=True)]


def _of_mapping(answers: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for key, value in answers.items():
        plain = key.item() if hasattr(key, "item") and not isinstance(key, str) else key
        if not isinstance(plain, str | int) or isinstance(plain, bool) or not str(plain).strip():
            raise DataError(
                f"The id {key!r} of type {type(key).__name__} is not possible: expected a text or a number."
            )
        if (name := str(plain).strip()) in found:
            raise DataError(f"Two answers have the id {name!r}, once as a text and once as a number, or with spaces.")
        found[name] = value
    return list(found.items())


def _of_series(answers: pd.Series[Any]) -> Any:
    """A list where the index only counts, else id to answer.

    Raises:
        DataError: an id is there twice.
    """
    index = answers.index
    if type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1:
        return answers.tolist()
    if index.nlevels > 1:
        raise DataError("The index of a Series of answers must be the ids alone; it has several levels.")
    if not index.is_unique:
        doubled = index[index.duplicated()].unique()
        raise DataError(f"{len(doubled)} ids of the Series have two answers, first {doubled[0]!r}; keep one of each.")
    return dict(zip(index.tolist(), answers.tolist(), strict=True))


def _of_frame(frame: pd.DataFrame, home: Home) -> AnswersFile:
    """The table's columns are found by their names, as those of a file."""
    plain = plain_frame(frame, "The DataFrame of answers")
    rows = plain.to_dict("records")
    lines = []
    for number, row in enumerate(rows, start=1):
        try:
            lines.append(json.dumps({key: _plain(value) for key, value in row.items()}, ensure_ascii=True))
        except (TypeError, ValueError) as problem:
            raise DataError(f"Row {number} of the DataFrame of answers cannot be read: {problem}.") from None
    return AnswersFile(_kept(lines, home), {}, len(lines))


def _plain(value: Any) -> Any:
    """A cell as JSON has it; missing values of any kind are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "tolist") and not isinstance(value, str):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float) and value != value:
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    # An entry of its own, which no reader takes for an answer or an id: the text of bytes or of a reply is neither.
    return str(value) if isinstance(value, _WITH_TEXT) else {type(value).__name__: str(value)[:40]}


def _answer(value: Any, sample_id: str) -> str | int | float | None:
    """An answer as a file has it; None, NaN and NA are missing ones, which count as failed.

    Raises:
        DataError: neither a text nor a number.
    """
    plain = _plain(value) if not isinstance(value, Mapping | list | tuple) else value
    if plain is None or isinstance(plain, str) or (isinstance(plain, int | float) and not isinstance(plain, bool)):
        is_number = plain is value or hasattr(value, "item")  # and not another object's text
        if plain is None or is_number:
            return plain
    raise DataError(
        f"The answer to {sample_id!r} is {str(value)[:40]!r} of type {type(value).__name__}; expected a text, or None "
        "where there is none."
    )
