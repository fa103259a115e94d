"""ColonINST's JSON as released, and as the authors' inference script writes it back with a `prediction` turn.

A record is `{"id": "SOURCE/SPLIT/CLASS FOLDER/FILE", "image": stem, "conversations": [human, gpt]}`.  Source: the data
guideline of ai4colonoscopy/IntelliScope.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
# What the official evaluator appends behind the array under --write_to_json, once a run.
_EVALUATED = re.compile(r'\s*,\s*(?=\{\s*"eval_result")')

# How the file name tells the video, by source: the part before the frame number.  PolypGen and Kvasir-Capsule as
# listed in the data guideline; SUN, KUMC and Nerthus as those sets name their own frames.
_SEQUENCES = {
    "PolypGen": re.compile(r"(\d+)_endocv2021_positive_\d+", re.IGNORECASE),
    "Kvasir-Capsule": re.compile(r"([0-9a-f]{12,})_\d+", re.IGNORECASE),
    "SUN": re.compile(r"(.+?)[_-]?image[_-]?\d+", re.IGNORECASE),
    "KUMC": re.compile(r"(.+)_\d+"),
    "Nerthus": re.compile(r"(bowel_\d+_score_\d-\d)_\d+", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One dialogue: the path of its image below Positive-images (with /), the question after the image, the answer."""

    path: str
    question: str
    answer: str

    @property
    def source(self) -> str:
        """The set that the image comes from, as the path spells it."""
        return self.path.split("/", 1)[0]

    @property
    def cluster(self) -> str:
        """What the image is not independent of: its source and video where the path tells it, else itself."""
        parts = self.path.split("/")
        stem = parts[-1].rsplit(".", 1)[0]
        found = _SEQUENCES[self.source].fullmatch(stem) if self.source in _SEQUENCES else None
        # A folder more than source/split/class is a video's.
        extra = "/".join(parts[3:-1])
        sequence = extra or (found[1] if found else "")
        return f"{self.source}:{sequence}" if sequence else self.path

    @property
    def kind(self) -> str:
        """Which of the four tasks a dialogue is, by its content."""
        if read_box(self.answer):
            return "rec"
        if read_box(self.question):
            return "reg"
        return "cap" if self.question in CAP_QUESTIONS else "cls"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """The dialogues of a file.  answered: it also holds predictions."""

    path: Path
    records: tuple[Record, ...]
    answered: bool


def read_records(path: Path) -> RecordFile:
    """The dialogues of a released JSON file or of a predictions file in the authors' format.

    Raises:
        DataError: not such a file, cut short, or an item without exactly one question and one answer.
    """
    items = _items(path)
    records = tuple(_record(item, f"{path}: item {number}") for number, item in enumerate(items, start=1))
    if not records:
        raise DataError(f"{path}: an empty list. Expected ColonINST's records.")
    answered = any(t.get("from") == "prediction" for item in items for t in _turns(item) if isinstance(t, Mapping))
    return RecordFile(path=path, records=records, answered=answered)


def _items(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: not UTF-8 ({problem.reason} at byte {problem.start}). Copy it again.") from problem
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from problem
    decoder = json.JSONDecoder()
    start = len(text) - len(text.lstrip())
    try:
        items, end = decoder.raw_decode(text, start)
        while appended := _EVALUATED.match(text, end):
            _, end = decoder.raw_decode(text, appended.end())
    except ValueError as problem:
        raise DataError(
            f"{path}: not valid JSON ({problem}). The authors' inference script leaves such a file when it was stopped "
            "or resumed; how many answers are missing cannot be known, so run the inference again."
        ) from problem
    if text[end:].strip():
        raise DataError(
            f"{path}: text follows the end of the JSON ({text[end:].strip()[:60]!r}). Only the evaluation results that "
            "the official evaluator appends are expected there."
        )
    if not isinstance(items, list):
        raise DataError(f"{path}: holds {type(items).__name__}, expected ColonINST's list of records.")
    return items


def _turns(item: Any) -> list[Any]:
    found = item.get("conversations", item.get("conversatons")) if isinstance(item, Mapping) else None
    return found if isinstance(found, list) else []


def _record(item: Any, where: str) -> Record:
    said: dict[str, str] = {}
    for turn in _turns(item):
        who, value = (turn.get("from"), turn.get("value")) if isinstance(turn, Mapping) else (None, None)
        if who in said:
            raise DataError(f"{where} has several turns from {who!r}; expected one question and one answer.")
        if who in ("human", "gpt"):
            if not isinstance(value, str):
                raise DataError(f"{where}: the turn from {who!r} is {type(value).__name__}, expected a text.")
            said[who] = value
    path = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(path, str) or not path.strip() or set(said) != {"human", "gpt"}:
        raise DataError(
            f"{where} is not a record of ColonINST: expected an id (the image's path) and conversations with one turn "
            "from 'human' and one from 'gpt'."
        )
    if not said["gpt"].strip():
        raise DataError(f"{where} ({path}): the reference answer is empty.")
    question = said["human"].removeprefix(IMAGE_MARK).removeprefix("\n").removesuffix(f"\n{IMAGE_MARK}")
    return Record(path=path.replace("\\", "/"), question=question, answer=said["gpt"])


def unique_ids(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """One id a row of (path, question, answer): the path, and for the second row of a path "PATH#2", and so on.

    Ten released paths stand for two dialogues each.  They are numbered by their texts and not by their place, so that
    a file in another order has the same ids.

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
    """The class that a dialogue is about; None where neither its words nor its path tell it.

    CLS, REG: the answer.  REC: what the question asks for.  CAP: the class folder of the path (EDD2020 has none).
    """
    if kind in ("cls", "reg"):
        return record.answer
    if kind == "rec":
        found = _REC_QUESTION.fullmatch(record.question.strip())
        return found["category"] if found else None
    parts = record.path.split("/")
    return parts[2].replace("_", " ") if len(parts) > 3 and parts[2] != "all-images" else None


def most_common_kind(records: Sequence[Record]) -> str:
    """The task that most dialogues of a file belong to."""
    return Counter(record.kind for record in records).most_common(1)[0][0]


def most_common_folder(records: Sequence[Record]) -> str:
    """The second part of most paths, in lower case: train, val or test; "" where paths have no such part."""
    folders = Counter(parts[1].lower() if len(parts := r.path.split("/")) > 2 else "" for r in records)
    return folders.most_common(1)[0][0]
