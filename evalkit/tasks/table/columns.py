"""Columns of a table: guessed by the names that are usual, or named by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.types import LETTERS

# Usual names, most usual first; compared in lower case without spaces, dashes and underscores.
USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "index", "qid", "questionid", "sampleid", "uid", "idx"),
    "question": ("question", "query", "questiontext", "prompt", "problem", "input"),
    "answer": (
        "answer", "answers", "correctanswer", "correct", "answerlabel", "gold", "goldanswer", "groundtruth", "gt",
        "gtanswer", "reference", "references", "target", "label", "cop",
    ),
    "image": (
        "image", "images", "imagepath", "imagepaths", "imgpath", "img", "imagename", "imgname", "imagefile", "filename",
        "figurepath", "filepath", "picture", "path",
    ),
    "choices": ("choices", "options", "multiplechoice", "candidates"),
    "type": ("answertype", "type", "questiontype"),
    "split": ("split", "partition", "fold"),
    "language": ("language", "lang", "qlang"),
}  # fmt: skip
REQUIRED = ("question", "answer")
# A column of a single letter behind these many (N, P) is no option that others are missing before.
_LETTER_COLUMNS = 8
_NUMBERED_IMAGE = re.compile(r"(?:image|img|picture)(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """The column of each field, None where the table has none.

    images: one column, or several whose images follow each other.  choices: one column with all options, or one column
    an option.
    """

    question: str
    answer: str
    id: str | None = None
    images: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    type: str | None = None
    split: str | None = None
    language: str | None = None

    def described(self, names: Sequence[str], others: Mapping[str, str]) -> str:
        """One line that says how each column is read, for the user.  others: column -> what it is used for."""
        used: dict[str, str] = dict(others)
        parts = [f"question = {self.question}", f"answer = {self.answer}"]
        parts += [f"image = {', '.join(self.images)}"] if self.images else ["no image column"]
        parts += [f"choices = {', '.join(self.choices)}"] if self.choices else []
        for field in ("id", "type", "split", "language"):
            parts += [f"{field} = {name}"] if (name := getattr(self, field)) else []
        parts += [f"{what} = {name}" for name, what in others.items()]
        taken = {self.question, self.answer, *self.images, *self.choices, self.id, self.type, self.split}
        rest = [n for n in names if n and n not in taken | {self.language} | set(used)]
        return "columns: " + ", ".join(parts) + (f"; not read: {', '.join(rest)}" if rest else "")


def choose(names: Sequence[str], given: Mapping[str, object], where: str) -> TableColumns:
    """Choose the columns of a table with columns `names`.

    Args:
        given: `task.columns`: field -> name of a column, or a list of names for image and choices; null for none.

    Raises:
        ConfigError: a field or a named column is unknown.
        DataError: no column for the question or the answer, or two that are equally usual.
    """
    fields = {**{k: v for k, v in given.items() if k != "images"}}
    if "images" in given:
        fields["image"] = given["images"]
    if unknown := [f for f in fields if f not in USUAL]:
        raise ConfigError(f"Unknown field task.columns.{unknown[0]}. {did_you_mean(str(unknown[0]), tuple(USUAL))}")
    named = {field: _named(field, value, names, where) for field, value in fields.items()}
    # The column of the choices may be that of the question.
    taken = {column for field, columns in named.items() for column in columns if field != "choices" or len(columns) > 1}
    found = {field: named[field] if field in named else _guess(field, names, taken, where) for field in USUAL}
    for field in REQUIRED:
        if not found[field]:
            raise DataError(
                f"{where}: no column for the {field}; the table has {', '.join(n for n in names if n) or 'none'}. Name "
                f"it with task.columns.{field}=NAME."
            )
    if found["question"] == found["answer"]:
        raise ConfigError(f"task.columns: {found['question'][0]} is named as the question and as the answer.")
    one = {field: columns[0] if columns else None for field, columns in found.items()}
    return TableColumns(
        question=str(one["question"]),
        answer=str(one["answer"]),
        id=one["id"],
        images=found["image"],
        choices=found["choices"],
        type=one["type"],
        split=one["split"],
        language=one["language"],
    )


def _named(field: str, value: object, names: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns that a setting names for a field; none for null.  Raises ConfigError for an unknown one."""
    if value is None or value == "":
        return ()
    columns = [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
    if len(columns) > 1 and field not in ("image", "choices"):
        raise ConfigError(f"task.columns.{field} must be one column, not {len(columns)}.")
    for column in columns:
        if column not in names:
            raise ConfigError(
                f"task.columns.{field}={column}: {where} has no such column. {did_you_mean(column, names)}"
            )
    if doubled := sorted({column for column in columns if columns.count(column) > 1}):
        raise ConfigError(f"task.columns.{field}={columns}: the column {doubled[0]} is named twice.")
    ends = [_plain(column)[-1:] for column in columns]
    if field == "choices" and ends != sorted(ends) and set(ends) == set(LETTERS.lower()[: len(ends)]):
        raise ConfigError(f"task.columns.choices={columns}: these columns are not in the order of their letters.")
    return tuple(columns)


def _guess(field: str, names: Sequence[str], taken: set[str], where: str) -> tuple[str, ...]:
    """The columns of a field by their usual names; none where there are none.  Raises DataError for two."""
    free = [n for n in names if n and n not in taken]
    by_name: dict[str, list[str]] = {}
    for name in free:
        by_name.setdefault(_plain(name), []).append(name)
    if field == "choices" and (columns := _option_columns(by_name, where)):
        return columns
    if field == "image" and (columns := _image_columns(by_name)):
        return columns
    for usual in USUAL[field]:
        found = by_name.get(usual, [])
        if len(found) > 1:
            raise DataError(
                f"{where}: the columns {' and '.join(found)} could both be the {field}. Name one with "
                f"task.columns.{field}=NAME."
            )
        if found:
            return (found[0],)
    return ()


def _option_columns(by_name: Mapping[str, Sequence[str]], where: str) -> tuple[str, ...]:
    """Columns A, B, C ..., or option_a, choice_b ..., or option_1, option_2 ...: at least two, in order, of one style.

    Raises:
        DataError: one is missing, but a later one is there.
    """
    letters = LETTERS.lower()
    styles = [[prefix + letter for letter in letters] for prefix in ("", "option", "choice", "opt", "op", "answer")]
    for prefix in ("option", "choice", "opt", "op", "answer", "distractor"):
        styles += [[f"{prefix}{start + k}" for k in range(len(letters))] for start in (0, 1)]
    for names in styles:
        there = [len(by_name.get(name, ())) == 1 for name in names]
        n = there.index(False) if False in there else len(there)
        if n < 2:
            continue
        if True in there[n : _LETTER_COLUMNS if names is styles[0] else None]:
            later = by_name[names[there.index(True, n)]][0]
            run = ", ".join(by_name[name][0] for name in names[:n])
            raise DataError(
                f"{where}: the columns {run} and {later} look like options, and there is no {names[n].upper()}. Name "
                f"the options with task.columns.choices=[NAME,NAME], or rename {later}."
            )
        return tuple(by_name[name][0] for name in names[:n])
    return ()


def _image_columns(by_name: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Columns image_1, image_2 ... in the order of their numbers, where there is more than one."""
    numbered = [(int(m[1]), found[0]) for name, found in by_name.items() if (m := _NUMBERED_IMAGE.fullmatch(name))]
    return tuple(name for _, name in sorted(numbered)) if len(numbered) > 1 else ()


def _plain(name: str) -> str:
    """A name as names are compared: lower case, without spaces, dashes, dots and underscores."""
    return re.sub(r"[\s_\-.]+", "", name).lower()
