"""Columns of an answer file that identify its rows: the task's ids, row numbers, images.

A column is used for what its values say, checked against the questions and references of the rows, and not for its name
alone: `doc_id` is a row number in one tool's files and an id in another's.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from evalkit.core.columns import column_values
from evalkit.importers.packed_answers import NOWHERE, AnswerFile
from evalkit.importers.repeats import is_unique
from evalkit.importers.text_match import MAX_MISMATCH, agreeing

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

ID_NAMES = (
    "sample_id", "question_id", "qid", "id", "doc_id", "index", "idx", "uid", "sampleid", "questionid", "qid_unique",
)  # fmt: skip
_ROW_NAMES = (
    *ID_NAMES,
    "(unnamed)",
    "row",
    "row_id",
    "row_index",
    "row_number",
    "number",
    "no",
    "no.",
    "#",
    "unnamed:_0",
)
_IMAGE_NAME = re.compile(r"im(?:a)?ge?", re.IGNORECASE)  # image, img, imgs, imageid
_NUMBERED = re.compile(r"(\D*)(\d{1,15})")


class Column(NamedTuple):
    """A column of the file.  name: "" for the ids as the format reads them; values: one for each answer."""

    name: str
    values: Sequence[str | None]


class Placed(NamedTuple):
    """Answers placed by a column.  by: how, for the run's record.  places: index of the sample for each answer, or
    NOWHERE.

    share: share of the placed answers whose texts are those of their samples.
    """

    by: str
    places: Sequence[int]
    share: float


def columns(file: AnswerFile) -> Iterator[Column]:
    """The columns that may identify rows: the ids first, then the other short values, names that say id before others.

    Only the ids, if the user has named their column.
    """
    yield Column("", file.answers.ids)
    if file.named.id:
        return
    for name in sorted(file.answers.keys.names, key=_rank):
        yield Column(name, tuple(file.answers.keys.column(name)))


def plain(name: str) -> str:
    """The last part of a dotted column name, in lower case with underscores."""
    last = re.split(r"[./]", name)[-1] if name not in (".", "/") else name
    return last.strip().lower().replace(" ", "_").replace("-", "_")


@lru_cache(maxsize=1024)
def names_image(column: str) -> bool:
    """Whether a column's name says that it holds images or their names."""
    return bool(_IMAGE_NAME.search(plain(column)))


def _rank(name: str) -> tuple[int, int, str]:
    last = plain(name)
    return (ID_NAMES.index(last) if last in ID_NAMES else len(ID_NAMES), name.count("."), name)


def by_ids(file: AnswerFile, task: LoadedTask) -> Placed | None:
    """The answers placed by the task's ids: the column with unique values, half of them known, that agrees best.

    Some row numbers are ids by chance: a fifth of the numbers 0..450 are ids of VQA-RAD's test rows.  A column other
    than the ids is used only if its name says id or if the texts agree.
    """
    find = _SampleIds(task)
    asked = any(file.answers.questions)
    best: Placed | None = None
    for column in columns(file):
        if None in column.values or not is_unique(column.values):
            continue
        places = array("q", map(find, column.values))
        hits = len(places) - places.count(NOWHERE)
        if not hits or (hits * 2 < len(places) and (asked or column.name)):
            continue
        share = _agreement(file, task, places)
        if column.name and share < 1 - MAX_MISMATCH:
            continue
        if column.name and not asked and plain(column.name) not in ID_NAMES:
            continue
        placed = Placed(f"id:{column.name}" if column.name else "id", places, share)
        if best is None or _hits(placed) * placed.share > _hits(best) * best.share:
            best = placed
    return best


def by_row_numbers(file: AnswerFile, task: LoadedTask) -> Placed | None:
    """The answers placed by row numbers in the task's own order, from 0, from 1, or increasing; None without questions.

    The texts must agree: nothing else says that a number counts the task's rows.
    """
    if not any(file.answers.questions):
        return None
    for column in columns(file):
        if column.name and plain(column.name) not in _ROW_NAMES:
            continue
        numbers = _numbers(column.values)
        if numbers is None:
            continue
        n = len(task.samples)
        starts = (s for s in (0, 1) if s <= min(numbers) and max(numbers) < n + s)
        ways = [tuple(k - start for k in numbers) for start in starts]
        if len(numbers) == n:
            rank = {k: i for i, k in enumerate(sorted(numbers))}
            ways.append(tuple(rank[k] for k in numbers))
        placed = [
            Placed(f"rows:{column.name or file.id_column}", way, share)
            for way in dict.fromkeys(ways)
            if (share := _agreement(file, task, way)) >= 1 - MAX_MISMATCH
        ]
        placed.sort(key=lambda p: -p.share)
        # Two numberings that agree equally well say nothing, unless the numbers are complete.
        if placed and (len(placed) == 1 or len(numbers) == n or placed[0].share > placed[1].share):
            return placed[0]
    return None


def image_columns(file: AnswerFile, task: LoadedTask) -> list[tuple[str, tuple[str | None, ...]]]:
    """The columns whose values name images of the task, with the image id for each answer, the best first."""
    find = _ImageIds(column_values(task.samples, "image_id"))
    if find.n < 2:
        return []
    if file.named.image:
        return [(file.named.image, tuple(find(image or "", numbers=True) for image in file.answers.images))]
    found = []
    for column in columns(file):
        if column.name and plain(column.name) in ID_NAMES:
            continue
        numbers = names_image(column.name)
        images = tuple(None if v is None else find(v, numbers=numbers) for v in column.values)
        hits = sum(i is not None for i in images)
        # The ids name images where a file has an answer for each image; a few of them may belong to another split.
        if hits * 2 >= len(images) if not column.name else hits >= (1 - MAX_MISMATCH) * len(images):
            found.append((hits, column.name, images))
    found.sort(key=lambda f: (-f[0], not names_image(f[1])))
    return [(name or file.id_column, images) for _, name, images in found]


def position_agrees(file: AnswerFile, task: LoadedTask) -> bool:
    """Whether the rows of the file are in the task's order, as far as their texts say."""
    return len(file.answers) == len(task.samples) and _agreement(file, task, range(len(file.answers))) == 1


def _hits(placed: Placed) -> int:
    return sum(p != NOWHERE for p in placed.places)


def _agreement(file: AnswerFile, task: LoadedTask, places: Sequence[int]) -> float:
    found = Counter(agreeing(file, task, places))
    return found[True] / found.total() if found else 0.0


def _numbers(values: Sequence[str | None]) -> list[int] | None:
    """The numbers of a column of unique numbers, also behind a common prefix (id0, id1 …); None for any other one."""
    found = [_NUMBERED.fullmatch(v) if v is not None else None for v in values]
    parts = [(m[1], int(m[2])) for m in found if m]
    if len(parts) < len(values) or len({prefix for prefix, _ in parts}) != 1 or len(set(parts)) < len(parts):
        return None
    return [number for _, number in parts]


class _SampleIds:
    """Places of the task's ids: exact, else as numbers (a sheet drops leading zeros, a data frame adds .0)."""

    def __init__(self, task: LoadedTask) -> None:
        self.exact = {name: i for i, name in enumerate(column_values(task.samples, "id"))}

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The places of ids that are the only one of their number."""
        count = Counter(_as_number(i) for i in self.exact)
        return {n: i for s, i in self.exact.items() if (n := _as_number(s)) is not None and count[n] == 1}

    def __call__(self, value: str | None) -> int:
        """The place of an id; NOWHERE where there is none."""
        if value is None:
            return NOWHERE
        place = self.exact.get(value)
        number = _as_number(value) if place is None else None
        if place is not None:
            return place
        return NOWHERE if number is None else self.numbers.get(number, NOWHERE)


def _as_number(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,15})(?:\.0+)?", text)
    return int(found[1]) if found else None


class _ImageIds:
    """Image ids of a task, found by whole names, ends of paths, names without extension, or numbers."""

    def __init__(self, ids: Iterable[str]) -> None:
        known = set(ids)
        self.n = len(known)
        self.known = known
        places: dict[str, set[str]] = defaultdict(set)
        numbers: dict[str, set[str]] = defaultdict(set)
        for image in known:
            for key in (*_ends(image), *_parts(image)):
                places[key].add(image)
            for number in re.findall(r"\d+", image):
                numbers[number.lstrip("0") or "0"].add(image)
        self.places = _only(places)
        self.numbers = _only(numbers)

    def __call__(self, value: str, *, numbers: bool) -> str | None:
        if value in self.known:
            return value
        bare = value.isdecimal()
        if not bare:
            for key in _ends(value):
                if key in self.places:
                    return self.places[key]
            found = {self.places[key] for key in _parts(value) if key in self.places}
            return found.pop() if len(found) == 1 else None
        return self.numbers.get(value.lstrip("0") or "0") if numbers else None


def _only(places: Mapping[str, set[str]]) -> dict[str, str]:
    return {key: next(iter(images)) for key, images in places.items() if len(images) == 1}


def _path(text: str) -> PurePosixPath:
    return PurePosixPath(text.replace("\\", "/").strip().lower())


def _ends(text: str) -> list[str]:
    """The ends of a path, the longest first, each with and without the extension of the file."""
    parts = [p for p in _path(text).parts if p != "/"]
    return [end for k in range(len(parts)) for end in ("/".join(parts[k:]), _stem("/".join(parts[k:])))]


def _parts(text: str) -> list[str]:
    return [_stem(p) for p in _path(text).parts if p != "/" and not p.isdecimal()]


def _stem(name: str) -> str:
    return re.sub(r"\.(?:jpe?g|png|bmp|tiff?|gif|webp|dcm|nii(?:\.gz)?)$", "", name)
