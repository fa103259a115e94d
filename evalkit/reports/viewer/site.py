"""The pages and files of the viewer by address; the server answers with them, `write_site` writes them.

| address | content |
|---|---|
| `index.html` | the list of runs; `runs.json` has its lines |
| `run.html?run=A` | the page of a run, or of up to six side by side (`?run=A&run=B`) |
| `heads/RUN.json` | what a run's page shows before its samples: small and at hand |
| `data/RUN.json` | the content of a run's page |
| `pairs/A/B.json` | the paired differences, B minus A, for names in order |
| `pictures/KEY-K.jpg` | the pictures of a sample, scaled down |
| `board.html` | the leaderboard of the folder; `board-TASK.html` has the tables of a task |
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.boxes import read_box
from evalkit.core.errors import DataError, EvalkitError, StoreError
from evalkit.core.types import ImageRef, Sample
from evalkit.reports.leaderboard import TrainingExposure
from evalkit.reports.run_page import page_data, paired_differences
from evalkit.reports.run_page.data import MAX_SIDE_BY_SIDE, Picture, difference_record, page_head, picture_key
from evalkit.reports.run_page.page import page_shell, scaled_down
from evalkit.reports.viewer.board import INDEX, PREFIX, board_of, stored_results
from evalkit.reports.viewer.list_page import list_page, run_records, script
from evalkit.reports.viewer.run_list import RunList, Stamp
from evalkit.runs.verify import StoredRun

HTML, JSON, JPEG = "text/html; charset=utf-8", "application/json", "image/jpeg"


class Document(NamedTuple):
    """What is at an address."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What pages need besides the folders of the runs.

    samples: the samples of a run with the pictures that its model saw; raises EvalkitError where they cannot be read.
    exposure: the training exposure of a run's model, for the board; None for a run that no board has.
    has_pictures: whether pictures are shown.
    """

    samples: Callable[[Path], Sequence[Sample]]
    exposure: Callable[[StoredRun], TrainingExposure | None]
    has_pictures: bool = True


class Site:
    """The viewer's pages over a list of runs.  Nothing is written; an address names runs of the list and nothing else.

    is_live: whether the list is asked for again while runs go on; False for static files.
    """

    def __init__(self, runs: RunList, source: Source, *, is_live: bool) -> None:
        self.runs = runs
        self._source = source
        self._is_live = is_live
        self._lock = Lock()  # two requests for one thing make it once
        self._pictures: dict[str, tuple[ImageRef, ...]] = {}
        self._data = lru_cache(MAX_SIDE_BY_SIDE)(self._made_data)
        self._pair = lru_cache(256)(self._made_pair)
        self._board = lru_cache(1)(self._made_board)
        self._picture = lru_cache(512)(lambda ref: scaled_down(ref).jpeg)

    def find(self, address: str) -> Document | None:
        """The document at an address; None where there is none.

        Raises:
            EvalkitError: it cannot be made, because a run is damaged or a file cannot be read.
        """
        try:
            return self._found(address)
        except OSError as problem:
            name = Path(str(problem.filename or address)).name
            raise StoreError(f"{name} of a run cannot be read: {problem.strerror or problem}.") from problem

    def _found(self, address: str) -> Document | None:
        match address.split("/"):
            case [""] | ["index.html"]:
                return Document(list_page(self._records()).encode("utf-8", "backslashreplace"), HTML)
            case ["runs.json"]:
                return Document(_json(self._records()), JSON)
            case ["run.html"]:
                return Document(_run_page().encode("utf-8"), HTML)
            case [file] if file == INDEX or (file.startswith(PREFIX) and file.endswith(".html")):
                page = self._board_pages().get(file)
                return None if page is None else Document(page, HTML)
            case ["heads", file] if (name := _name(file)) and (run := self.runs.finished(name)):
                head = page_head(run)
                return Document(_json(self._with_shown_notes(head)), JSON)
            case ["data", file] if (name := _name(file)) and self.runs.finished(name):
                with self._lock:
                    return Document(self._data(name, self.runs.stamp(name)), JSON)
            case ["pairs", first, file] if (second := _name(file)) and in_order(first) < in_order(second):
                if self.runs.finished(first) and self.runs.finished(second):
                    with self._lock:
                        stamps = (self.runs.stamp(first), self.runs.stamp(second))
                        return Document(self._pair(first, second, stamps), JSON)
            case ["pictures", file]:
                return self._picture_at(file)
        return None

    def addresses(self) -> Iterator[str]:
        """Every address, pictures last: they are known once the data of their runs are made."""
        yield from ("index.html", "runs.json", "run.html", INDEX)
        with suppress(EvalkitError):  # which the board's own address raises too
            yield from (name for name in self._board_pages() if name != INDEX)
        done = [run for run in self.runs.lines() if run.state == "done"]
        yield from (f"{kind}/{run.name}.json" for run in done for kind in ("heads", "data"))
        groups: dict[tuple[str, str, str], list[str]] = {}
        for run in done:
            groups.setdefault((run.task, run.split, run.data), []).append(run.name)
        for names in groups.values():
            yield from (f"pairs/{a}/{b}.json" for a, b in combinations(sorted(names, key=in_order), 2))
        yield from (f"pictures/{key}-{k}.jpg" for key, refs in self._pictures.items() for k in range(len(refs)))

    def shown(self, text: str) -> str:
        """A message without the place of the runs on this machine, which pages that others read do not say."""
        root = str(self.runs.root)
        return text.replace(f"{root}{os.sep}", "").replace(root, self.runs.root.name)

    def _with_shown_notes(self, data: dict[str, Any]) -> dict[str, Any]:
        for run in data["runs"]:
            run["notes"] = [self.shown(note) for note in run["notes"]]
        return data

    def _records(self) -> dict[str, Any]:
        records = run_records(self.runs.lines())
        return {"live": self._is_live, "folder": self.runs.root.name, "now": time.time(), **records}

    def _finished(self) -> list[Path]:
        return [path for name in self.runs.folders() if (path := self.runs.finished(name)) is not None]

    def _stamps(self) -> tuple[Stamp, ...]:
        stored = tuple((p.name, s.st_mtime_ns, s.st_size) for p in stored_results(self.runs.root) for s in [p.stat()])
        return (*(self.runs.stamp(path.name) for path in self._finished()), stored)

    def _made_data(self, name: str, stamp: Stamp) -> bytes:
        del stamp  # part of the key under which the result is kept
        run = self.runs.folders()[name]
        samples: Sequence[Sample] = ()
        note = ""
        try:
            samples = self._source.samples(run)
        except EvalkitError as problem:
            note = "warning: no pictures and no slices of samples, because the data cannot be read"
            if self._is_live:
                note += f": {problem}"
            else:  # the reason names folders of this machine, which static files do not
                console.warn(f"{name}: no pictures and no slices, because its data cannot be read: {problem}")
        data = page_data([run], {s.id: s for s in samples}, self._addressed(samples))
        data["remarks"] += [note] if note else []
        return _json(self._with_shown_notes(data))

    def _addressed(self, samples: Sequence[Sample]) -> dict[str, Picture]:
        """The pictures of samples by address; opened only where boxes are drawn over them, whose unit is a pixel."""
        if not self._source.has_pictures:
            return {}
        has_boxes = any(read_box(s.references[0]) for s in samples)
        found: dict[str, Picture] = {}
        for s in samples:
            if not s.images or (key := picture_key(s)) in found:
                continue
            name = hashlib.sha256(repr(s.images).encode("utf-8", "backslashreplace")).hexdigest()[:24]
            try:
                size = scaled_down(s.images[0]).original_size if has_boxes else None
            except DataError:
                continue
            self._pictures[name] = s.images
            found[key] = Picture(addresses=tuple(f"pictures/{name}-{k}.jpg" for k in range(len(s.images))), size=size)
        return found

    def _made_pair(self, first: str, second: str, stamps: tuple[Stamp, Stamp]) -> bytes:
        del stamps
        folders = self.runs.folders()
        found = paired_differences([folders[first], folders[second]])
        return _json(difference_record(found._replace(incomparable=self.shown(found.incomparable))))

    def _board_pages(self) -> dict[str, bytes]:
        with self._lock:
            return self._board(self._stamps())

    def _made_board(self, stamps: tuple[Stamp, ...]) -> dict[str, bytes]:
        del stamps
        pages = board_of(self._finished(), self._source.exposure)
        return {name: text.encode("utf-8", "backslashreplace") for name, text in pages.items()}

    def _picture_at(self, file: str) -> Document | None:
        key, _, number = file.removesuffix(".jpg").partition("-")
        refs = self._pictures.get(key, ())
        # Compared as text: a number of thousands of digits is none that Python reads.
        if not file.endswith(".jpg") or number not in map(str, range(len(refs))):
            return None
        return Document(self._picture(refs[int(number)]), JPEG)


def _run_page() -> str:
    """The page of runs, whose script reads their files: first the numbers, then the samples."""
    return page_shell("await numbersOf()", script("load.js"), "index.html", "await withSamples(D)")


def _name(file: str) -> str:
    """The name of a run in the name of its file; empty for every other file."""
    return file.removesuffix(".json") if file.endswith(".json") else ""


def in_order(name: str) -> bytes:
    """The key by which a browser sorts texts."""
    return name.encode("utf-16-be", "surrogatepass")


def _json(content: Any) -> bytes:
    # Half a surrogate pair has no UTF-8 form; its escape is JSON.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
