"""Reader of ColonINST's JSON, as released or with the `prediction` turns that the authors' inference script adds.

A record is `{"id": "SOURCE/SPLIT/CLASS FOLDER/FILE", "image": stem, "conversations": [human, gpt]}`.  Reference: the
data guideline of ai4colonoscopy/IntelliScope.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.boxes import read_box
from evalkit.core.errors import DataError

KINDS = ("cls", "reg", "rec", "cap")
IMAGE_MARK = "<image>"

CAP_QUESTIONS = frozenset(
    {
        "Describe what you see in the image.",
        "Interpret what the image shows.",
        "Detail the visual elements in the image.",
        "Explain the image's visuals thoroughly.",
        "Offer a thorough explanation of the image.",
    }
)
_REC_QUESTION = re.compile(
    r"(?:where is the location of|could you give the position of|could you specify the location of"
    r"|please specify the coordinates of|where is) (?P<category>.+?)(?: located)?[?.]",
    re.IGNORECASE,
)
# Text that the official evaluator appends after the array with --write_to_json, once per run.
_EVALUATED = re.compile(r'\s*,\s*(?=\{\s*"eval_result")')

# Patterns of file names, by source; the group is the video, the part before the frame number.  PolypGen and
# Kvasir-Capsule as listed in the data guideline; SUN, KUMC and Nerthus by the frame names of those sets.
_SEQUENCES = {
    "PolypGen": re.compile(r"(\d+)_endocv2021_positive_\d+", re.IGNORECASE),
    "Kvasir-Capsule": re.compile(r"([0-9a-f]{12,})_\d+", re.IGNORECASE),
    "SUN": re.compile(r"(.+?)[_-]?image[_-]?\d+", re.IGNORECASE),
    "KUMC": re.compile(r"(.+)_\d+"),
    "Nerthus": re.compile(r"(bowel_\d+_score_\d-\d)_\d+", re.IGNORECASE),
}
# Sources whose images are frames of videos that neither paths nor names tell.
UNKNOWN_VIDEOS = frozenset({"CVC-ClinicDB", "CVC-ColonDB", "ETIS", "ETIS-Larib", "PICCOLO"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One dialogue: path of its image below Positive-images (with /), question without image mark, and answer."""

    path: str
    question: str
    answer: str

    @property
    def source(self) -> str:
        """The set that the image comes from: the first part of the path."""
        return self.path.split("/", 1)[0]

    @property
    def cluster(self) -> str:
        """Id of the group of dependent images: source and video if the path names a video, else the path."""
        parts = self.path.split("/")
        stem = parts[-1].rsplit(".", 1)[0]
        found = _SEQUENCES[self.source].fullmatch(stem) if self.source in _SEQUENCES else None
        # A folder below source/split/class is a video.
        extra = "/".join(parts[3:-1])
        sequence = extra or (found[1] if found else "")
        return f"{self.source}:{sequence}" if sequence else self.path

    @property
    def kind(self) -> str:
        """The task of the dialogue (cls, reg, rec or cap), inferred from its content."""
        if read_box(self.answer):
            return "rec"
        if read_box(self.question):
            return "reg"
        return "cap" if self.question in CAP_QUESTIONS else "cls"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """The dialogues of a file.  answered: the file also contains predictions."""

    path: Path
    records: tuple[Record, ...]
    answered: bool


def read_records(path: Path) -> RecordFile:
    """Read a released JSON file or a predictions file in the authors' format.

    Raises:
        DataError: the file has another format or is truncated, or an item does not have exactly one question and one
            answer.
    """
    items = _items(path)
    records = tuple(_record(item, f"{path}: item {number}") for number, item in enumerate(items, start=1))
    if not records:
        raise DataError(f"{path} is an empty list. Expected ColonINST's records.")
    answered = any(t.get("from") == "prediction" for item in items for t in _turns(item) if isinstance(t, Mapping))
    return RecordFile(path=path, records=records, answered=answered)


def _items(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: not UTF-8 ({problem.reason} at byte {problem.start}). Copy it again.") from problem
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from problem
    decoder = json_text.decoder()
    start = len(text) - len(text.lstrip())
    try:
        items, end = decoder.raw_decode(text, start)
        while appended := _EVALUATED.match(text, end):
            _, end = decoder.raw_decode(text, appended.end())
    except json_text.DoubledKeyError as problem:
        raise DataError(f"{path}: {problem}.") from problem
    except (ValueError, RecursionError) as problem:
        raise DataError(
            f"{path}: not valid JSON ({problem}). The authors' inference script leaves such a file when it is stopped "
            "or resumed. The number of missing answers is unknown, so run the inference again."
        ) from problem
    if text[end:].strip():
        raise DataError(
            f"{path}: text follows the end of the JSON ({text[end:].strip()[:60]!r}). Only the evaluation results that "
            "the official evaluator appends are expected there."
        )
    if not isinstance(items, list):
        raise DataError(f"{path}: the JSON is of type {type(items).__name__}, expected ColonINST's list of records.")
    return items


def _turns(item: Any) -> list[Any]:
    found = item.get("conversations", item.get("conversatons")) if isinstance(item, Mapping) else None
    return found if isinstance(found, list) else []


def _record(item: Any, where: str) -> Record:
    turns: dict[str, str] = {}
    for turn in _turns(item):
        who, value = (turn.get("from"), turn.get("value")) if isinstance(turn, Mapping) else (None, None)
        if not isinstance(who, str):
            continue
        if who in turns:
            raise DataError(f"{where} has several turns from {who!r}; expected one question and one answer.")
        if who in ("human", "gpt"):
            if not isinstance(value, str):
                raise DataError(
                    f"{where}: the value of the turn from {who!r} is of type {type(value).__name__}, expected text."
                )
            turns[who] = value
    path = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(path, str) or not path.strip() or set(turns) != {"human", "gpt"}:
        raise DataError(
            f"{where} is not a record of ColonINST: expected an id (the image's path) and conversations with one turn "
            "from 'human' and one from 'gpt'."
        )
    if not turns["gpt"].strip():
        raise DataError(f"{where} ({path}): the reference answer is empty.")
    question = turns["human"].removeprefix(IMAGE_MARK).removeprefix("\n").removesuffix(f"\n{IMAGE_MARK}")
    return Record(path=path.replace("\\", "/"), question=question, answer=turns["gpt"])


def unique_ids(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """An id for each row of (path, question, answer): the path, and "PATH#2" and so on for further rows of a path.

    Ten released paths have two dialogues each.  They are numbered in the order of their texts, not of the file, so
    that a reordered file gets the same ids.

    >>> unique_ids([("a", "q2", "x"), ("b", "q", "x"), ("a", "q1", "x")])
    ['a#2', 'b', 'a']
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, (path, _, _) in enumerate(rows):
        places[path].append(index)
    ids = [path for path, _, _ in rows]
    for path, indices in places.items():
        for rank, index in enumerate(sorted(indices, key=lambda i: (rows[i][1].strip(), rows[i][2].strip(), i))):
            if rank:
                ids[index] = f"{path}#{rank + 1}"
    return ids


def category_in(record: Record, kind: str) -> str | None:
    """The class of a dialogue; None if neither its text nor its path contains it.

    CLS, REG: the answer.  REC: the object named in the question.  CAP: the class folder of the path (EDD2020 has none).
    """
    if kind in ("cls", "reg"):
        return record.answer
    if kind == "rec":
        found = _REC_QUESTION.fullmatch(record.question.strip())
        return found["category"] if found else None
    parts = record.path.split("/")
    return parts[2].replace("_", " ") if len(parts) > 3 and parts[2] != "all-images" else None


def most_common_kind(records: Sequence[Record]) -> str:
    """The most frequent task among the dialogues."""
    return Counter(record.kind for record in records).most_common(1)[0][0]


def most_common_folder(records: Sequence[Record]) -> str:
    """The most frequent split folder in the paths, in lower case: train, val or test; "" if paths have none."""
    folders = Counter(parts[1].lower() if len(parts := r.path.split("/")) > 2 else "" for r in records)
    return folders.most_common(1)[0][0]
