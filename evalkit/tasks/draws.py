"""Samples of which several answers are drawn, for generation.n."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError
from evalkit.core.types import Sample
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.selection import part_name

# The tag with the number of a draw, from 0; its values make slices, one a draw.
DRAW_TAG = "answer_draw"
MOST_DRAWS = 1024
_MARK = "#draw="


class DrawsTask:
    """A task of whose every sample several answers are drawn: each is a sample of its own, next to the others."""

    def __init__(self, task: Task, n: int) -> None:
        if not 2 <= n <= MOST_DRAWS:
            raise ConfigError(f"generation.n={n} is invalid; expected a number of answers from 1 to {MOST_DRAWS}.")
        self._task = task
        self._n = n

    def load(self, *, images: bool = True) -> LoadedTask:
        """The rows, each once for every draw; see `evalkit.tasks.base.Task`."""
        loaded = self._task.load(images=images)
        return replace(
            loaded,
            name=part_name(loaded.name, f"n={self._n}"),
            samples=tuple(one for sample in loaded.samples for one in draws_of(sample, self._n)),
            notes=(*loaded.notes, f"{self._n} answers are drawn of each of {len(loaded.samples)} samples"),
            order={},
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def draws_of(sample: Sample, n: int) -> Iterator[Sample]:
    """The sample once for each draw; the first one keeps its id.

    >>> sample = Sample(id="7", image_id="a", question="CT?", references=("yes",))
    >>> [one.id for one in draws_of(sample, 3)]
    ['7', '7#draw=1', '7#draw=2']
    """
    for number in range(n):
        name = f"{sample.id}{_MARK}{number}" if number else sample.id
        yield replace(sample, id=name, tags={**sample.tags, DRAW_TAG: str(number)})


def draw_number(sample: Sample) -> int | None:
    """The number of a sample's draw; None where only one answer is drawn."""
    number = sample.tags.get(DRAW_TAG)
    return None if number is None else int(number)


def drawn_sample(sample: Sample) -> str:
    """The id that a sample has in the data, whatever its draw."""
    return drawn_id(sample.id, sample.tags)


def drawn_id(sample_id: str, tags: Mapping[str, str]) -> str:
    """The id in the data of a sample with these tags, whatever its draw."""
    number = tags.get(DRAW_TAG, "0")
    return sample_id if number == "0" else sample_id.removesuffix(f"{_MARK}{number}")


def id_in_data(sample_id: str) -> str:
    """The id in the data of a draw's id, for runs of several answers a sample.

    >>> id_in_data("7#draw=1"), id_in_data("7")
    ('7', '7')
    """
    base, mark, number = sample_id.rpartition(_MARK)
    return base if mark and number.isdigit() else sample_id


def is_drawn(samples: Sequence[Sample]) -> bool:
    """Whether several answers of each sample are drawn."""
    return any(DRAW_TAG in tags for tags in column_values(samples, "tags"))


def first_samples(samples: Sequence[Sample], n: int) -> Sequence[Sample]:
    """The first n samples of the data, each with all its draws."""
    tags = column_values(samples, "tags")
    starts = [place for place, of in enumerate(tags) if of.get(DRAW_TAG, "0") == "0"]
    return samples[: starts[n]] if n < len(starts) else samples


def task_without_draws(name: str) -> str:
    """The name of a task whatever the number of draws.

    >>> task_without_draws("slake[n=8]"), task_without_draws("slake[modality=CT,n=8]")
    ('slake', 'slake[modality=CT]')
    """
    whole, _, parts = name.removesuffix("]").partition("[")
    kept = [part for part in parts.split(",") if part and not (part.startswith("n=") and part[2:].isdigit())]
    return f"{whole}[{','.join(kept)}]" if kept else whole
