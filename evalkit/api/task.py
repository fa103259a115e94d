"""A data set: samples, requests, images; iterable, and a data set for torch's DataLoader."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

from evalkit.api.arguments import NoSuchSample, WrongType, as_path, shown
from evalkit.api.frames import is_frame, table_file
from evalkit.api.home import Home
from evalkit.api.words import as_words
from evalkit.cli.config import options
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, Message, Request, Sample
from evalkit.tasks.base import LoadedTask

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

TABLE = "table"
EXPECTED = "a name, the path of a table, a DataFrame, or what load_task returned"
# Endings of files that are a table of questions.
_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx")


class Example(TypedDict):
    """A sample as plain values.

    image: the first image as PIL, RGB and upright; None for a question without one.  images: all of them.
    prompt: the text that a model is asked, with the task's instructions and options; question: the question alone.
    """

    id: str
    image_id: str
    image: Image | None
    images: list[Image]
    question: str
    prompt: str
    references: tuple[str, ...]
    choices: tuple[str, ...]
    answer_type: str | None
    tags: dict[str, str]


class TaskData:
    """A split of a task as a sequence of examples; images are opened when an example is taken.

    settings: the words of the command line that choose it.  warnings: what may be wrong with the copy.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        messages: tuple[tuple[Message, ...], ...],
        settings: Mapping[str, Any],
        warnings: tuple[str, ...] = (),
        home: Home | None = None,
    ) -> None:
        self.loaded, self.messages, self.settings, self.warnings = loaded, messages, dict(settings), warnings
        self._home = home  # of a table that was given in Python

    @property
    def name(self) -> str:
        """The task's name in results."""
        return self.loaded.name

    @property
    def split(self) -> str:
        """The split."""
        return self.loaded.split

    @property
    def samples(self) -> Sequence[Sample]:
        """The questions with their gold answers, in the task's order."""
        return self.loaded.samples

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts that affect how the numbers are read."""
        return self.loaded.notes

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """What a model is asked, one a sample: messages, images and their digests.

        Every image is read once for its digest.  Decoding settings and weights are a model's: these requests have none.

        Raises:
            DataError: an image is missing or broken.
        """
        from evalkit.tasks.image_check import check_images

        digests: dict[Any, str] = {}
        if any(sample.images for sample in self.samples):
            digests = check_images(self.loaded).digests
        return tuple(
            Request(
                sample_id=sample.id,
                image_id=sample.image_id,
                question=sample.question,
                answer_type=sample.answer_type,
                messages=messages,
                images=sample.images,
                image_digests=tuple(digests[ref] for ref in sample.images),
                generation=Generation(),
                checkpoint="",
            )
            for sample, messages in zip(self.samples, self.messages, strict=True)
        )

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        from evalkit.core.images import open_image
        from evalkit.engines.function import question_of

        sample, messages = self._at(place)
        images = [open_image(ref) for ref in sample.images]
        return Example(
            id=sample.id,
            image_id=sample.image_id,
            image=images[0] if images else None,
            images=images,
            question=sample.prompt_question,
            prompt=question_of(messages),
            references=sample.references,
            choices=sample.choices,
            answer_type=sample.answer_type,
            tags=dict(sample.tags),
        )

    def _at(self, place: Any) -> tuple[Sample, tuple[Message, ...]]:
        try:
            number = index(place)
        except TypeError:
            raise WrongType(f"{shown(place)} is no place in a task; expected a whole number or a slice.") from None
        if not -len(self) <= number < len(self):
            raise NoSuchSample(f"{self.name} ({self.split}) has {len(self)} samples here, and no number {number}.")
        return self.samples[number], self.messages[number]

    def __iter__(self) -> Iterator[Example]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        return f"TaskData({self.name}, split {self.split}, {len(self)} samples, {self.loaded.form})"


def task_settings(
    task: str | os.PathLike[str] | pd.DataFrame | TaskData,
    path: str | os.PathLike[str] | None,
    home: Home,
    settings: Mapping[str, Any],
    limit: int | None = None,
) -> dict[str, Any]:
    """The words of the command line that choose a task and its limit; a loaded task has its own unless one is given.

    A text that is no registered task, and looks like a path or a hub id, is the place of a table (task=table).

    Raises:
        ConfigError: it is no task.
    """
    if isinstance(task, TaskData):
        if path is not None:
            raise ConfigError("path= is not possible with a loaded task, which knows its place.")
        return {**task.settings, **({} if limit is None else {"limit": limit})}
    return {**_place_of(task, path, home, settings), "limit": limit}


def _place_of(
    task: str | os.PathLike[str] | pd.DataFrame,
    path: str | os.PathLike[str] | None,
    home: Home,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The name of a task and the place of its data."""
    if is_frame(task):
        if path is not None:
            raise ConfigError("path= is not possible with a DataFrame, which is the data itself.")
        columns = dict(settings.get("task.columns") or {})
        columns |= {k.removeprefix("task.columns."): v for k, v in settings.items() if k.startswith("task.columns.")}
        return {"task": TABLE, "task.path": table_file(task, home, columns), "task.name": TABLE}
    if not isinstance(task, str | os.PathLike):
        raise WrongType(f"task={shown(task)} is not possible: expected {EXPECTED}.")
    given = os.fspath(as_path("task", task, EXPECTED))
    place = None if path is None else os.fspath(as_path("path", path, "the path of a copy of the data set, or None"))
    if isinstance(task, os.PathLike) or _is_place(given):
        if place is not None:
            raise ConfigError(f"The table is given twice: task={given} and path={place}.")
        return {"task": TABLE, "task.path": given}
    return {"task": task, **({} if place is None else {"task.path": place})}


def _is_place(task: str) -> bool:
    if task in options("task"):
        return False
    return "/" in task or task.lower().endswith(_ENDINGS) or Path(task).exists()


def load_task(
    task: str | os.PathLike[str] | pd.DataFrame = "phantom",
    path: str | os.PathLike[str] | None = None,
    *,
    limit: int | None = None,
    **settings: Any,
) -> TaskData:
    """Load a split of a task.

    >>> data = load_task("phantom", limit=3)
    >>> len(data), data[0]["image"].size, data[0]["question"] == data.samples[0].question
    (3, (72, 80), True)

    Args:
        task: the name of a registered task, the path of a table (CSV, JSON, Parquet …), or a DataFrame.
        path: of a local copy.
        limit: the first samples only.
        settings: others of `evalkit run`: `**{"task.split": "train"}`, sample=…

    Raises:
        ConfigError, DataError: the settings or the copy are not valid.
    """
    from evalkit.cli.factories import make_task, with_letters, with_sample
    from evalkit.cli.hydra_app import configuration
    from evalkit.pipeline.inputs import limited
    from evalkit.tasks.base import check_ids

    home = Home(None) if is_frame(task) else None
    chosen = task_settings(task, path, home or Home("."), settings, limit) | settings
    with console.captured(is_shown=False) as said:
        config = with_sample(with_letters(configuration("run", as_words(chosen))))
        made = make_task(config)
        loaded = made.load()
    check_ids(loaded)
    loaded = limited(loaded, config["limit"])
    messages = tuple(made.messages(sample) for sample in loaded.samples)
    return TaskData(loaded, messages, chosen, tuple(said.warnings), home)
