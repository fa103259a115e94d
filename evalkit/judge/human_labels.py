"""Human labels: a CSV or JSON Lines file, one line per answer and rater.

Columns: sample_id and label (also human or human_label); optional: judge (the judge's label, where no run is given),
model (the answering model), image_id (the cluster), rater, weight (how many answers a labelled one stands for, as
`judge sample` writes it; equal numbers for a random draw).
Labels are correct, partly, wrong and cannot_tell (also yes/no, true/false, 1/0), or scores of 1 to 10.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import DataError, did_you_mean
from evalkit.core.json_text import lines_of
from evalkit.judge.parse_response import HIGHEST, LOWEST
from evalkit.records.json_lines import LocatedObject, located_objects

WORDS = {
    "correct": 1.0,
    "right": 1.0,
    "yes": 1.0,
    "true": 1.0,
    "partly": 0.5,
    "partial": 0.5,
    "partially": 0.5,
    "wrong": 0.0,
    "incorrect": 0.0,
    "no": 0.0,
    "false": 0.0,
}
UNSURE = ("cannot_tell", "cannot tell", "unsure", "")
COLUMNS = ("sample_id", "label", "judge", "model", "image_id", "rater", "weight")
ALIASES = {"human": "label", "human_label": "label", "id": "sample_id", "question_id": "sample_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLine:
    """One rater's label of one answer.  Values: 1, 0.5 and 0 (verdicts) or 1 to 10 (scores); None for cannot tell."""

    sample_id: str
    model: str
    image_id: str
    rater: str
    human: float | None
    judge: float | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A label file.  scale: "verdict" or "score", inferred from its labels; has_judge, has_weights: it has the
    column.
    """

    scale: str
    lines: tuple[LabelLine, ...]
    has_judge: bool
    has_weights: bool = False


def read_labels(path: Path) -> Labels:
    """Read a label file.

    Raises:
        DataError: a column is missing, a label is invalid, or a rater labels an answer twice.
    """
    rows = _rows(path)
    scale = _scale(path, [row["label"] for _, row in rows])
    lines = [
        LabelLine(
            sample_id=_required(row, "sample_id", where),
            model=_plain(row.get("model")),
            image_id=_plain(row.get("image_id")) or _required(row, "sample_id", where),
            rater=_plain(row.get("rater")),
            human=read_label(row["label"], scale, where),
            judge=read_label(row["judge"], scale, where) if "judge" in row else None,
            weight=_weight(row["weight"], where) if "weight" in row else 1.0,
        )
        for where, row in rows
    ]
    repeated = [k for k, n in Counter((x.sample_id, x.model, x.rater) for x in lines).items() if n > 1]
    if repeated:
        raise DataError(
            f"{path}: {len(repeated)} answers are labelled twice by one rater, first sample {repeated[0][0]!r}. "
            "Several raters need a column rater, several answering models a column model."
        )
    columns = rows[0][1]
    return Labels(scale=scale, lines=tuple(lines), has_judge="judge" in columns, has_weights="weight" in columns)


def _weight(value: Any, where: str) -> float:
    number = _number(_plain(value))
    if number is None or not 0 < number < math.inf:
        raise DataError(f"{where}: the weight {value!r} is not a number above 0 (`judge sample` writes it).")
    return number


def read_label(value: Any, scale: str, where: str) -> float | None:
    """The value of a label; None for cannot tell.  Raises DataError for an invalid label."""
    text = _plain(value).lower()
    if text in UNSURE:
        return None
    if scale == "verdict":
        if text in ("1", "1.0", "0", "0.0"):
            return float(text)
        if text in WORDS:
            return WORDS[text]
        near = did_you_mean(text, ["correct", "partly", "wrong", "cannot_tell"])
        raise DataError(f"{where}: {value!r} is not a verdict. {near}")
    number = _number(text)
    if number is None or not LOWEST <= number <= HIGHEST:
        raise DataError(f"{where}: {value!r} is not a score from {LOWEST} to {HIGHEST}.")
    return number


def _scale(path: Path, values: Sequence[Any]) -> str:
    """ "score" where any label is a number above 1, else "verdict"."""
    numbers = [n for v in values if (n := _number(_plain(v).lower())) is not None]
    if any(n > 1 for n in numbers):
        if len(numbers) < sum(_plain(v).lower() not in UNSURE for v in values):
            raise DataError(f"{path}: the labels are partly scores and partly words; use one kind.")
        return "score"
    return "verdict"


def _rows(path: Path) -> list[LocatedObject]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"The label file {path} cannot be read ({problem}).") from problem
    if path.suffix.lower() == ".csv":
        # newline="": a cell keeps its own line breaks, and U+2028 or VT in a cell ends no line.
        lines = csv.DictReader(io.StringIO(text, newline=""))
        try:
            _check_header(path, lines.fieldnames or ())
            found = [LocatedObject(f"{path}:{lines.line_num}", line) for line in lines]
        except csv.Error as problem:
            raise DataError(
                f"{path}:{lines.line_num} cannot be read as CSV ({problem}). Repair that line."
            ) from problem
    else:
        found = list(located_objects(path, lines_of(text), "Labels are CSV or JSON Lines."))
    if not found:
        raise DataError(f"{path} has no labels.")
    return [_with_column_names(row) for row in found]


def _check_header(path: Path, names: Sequence[str]) -> None:
    repeated = sorted(name for name, n in Counter(n.strip() for n in names).items() if n > 1 and name)
    if repeated:
        raise DataError(f"{path}: the header contains {repeated[0]!r} more than once. Rename or delete one column.")


def _with_column_names(row: LocatedObject) -> LocatedObject:
    """The row with aliases of columns replaced by their names."""
    named = {ALIASES.get(str(k).strip(), str(k).strip()): v for k, v in row.content.items() if k is not None}
    for column in ("sample_id", "label"):
        if column not in named:
            raise DataError(f"{row.where}: the column {column} is missing. {did_you_mean(column, list(named))}")
    return LocatedObject(row.where, named)


def _required(row: Mapping[str, Any], column: str, where: str) -> str:
    value = _plain(row.get(column))
    if not value:
        raise DataError(f"{where}: {column} is empty.")
    return value


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else str(value).strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
