"""Multiple-choice questions in several orders of their options, for choices.shuffle."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError
from evalkit.core.types import CHOICE, Sample
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.selection import part_name

# The tag with the number of an order, "0" for the order of the data; its values make slices.
ORDER_TAG = "choice_order"
MOST_ORDERS = 24
_MARK = "#order="


class ChoiceOrdersTask:
    """A task whose multiple-choice questions are asked once in each of several orders; all others are asked once."""

    def __init__(self, task: Task, orders: int, seed: int = 0) -> None:
        if not 2 <= orders <= MOST_ORDERS:
            raise ConfigError(
                f"choices.shuffle={orders} is invalid; expected a number of orders from 2 to {MOST_ORDERS}, or null."
            )
        self._task = task
        self._orders = orders
        self._seed = seed

    def load(self, *, images: bool = True) -> LoadedTask:
        """The rows with one sample for each order; see `evalkit.tasks.base.Task`.

        Raises:
            ConfigError: there is no multiple-choice row.
        """
        loaded = self._task.load(images=images)
        choices = [s for s in loaded.samples if s.answer_type == CHOICE]
        if not choices:
            raise ConfigError(
                f"choices.shuffle={self._orders}: {loaded.name} ({loaded.split}) has no multiple-choice row, so there "
                "are no options to order. Leave the setting out."
            )
        samples = tuple(one for sample in loaded.samples for one in in_orders(sample, self._orders, self._seed))
        seed = f".{self._seed}" if self._seed else ""
        note = f"{len(choices)} multiple-choice questions are asked in {self._orders} orders of their options"
        if fewer := sum(math.factorial(len(s.choices)) < self._orders for s in choices):
            note += f"; {fewer} have fewer orders than that and are asked once in each"
        return replace(
            loaded,
            name=part_name(loaded.name, f"orders={self._orders}{seed}"),
            samples=samples,
            notes=(*loaded.notes, note),
            order={},
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def in_orders(sample: Sample, orders: int, seed: int) -> Iterator[Sample]:
    """A multiple-choice sample in different orders of its options, first its own; any other sample as it is.

    The orders of a sample depend on its id, its number of options and the seed alone: with more orders the first ones
    stay, and their answers are found again.
    """
    if sample.answer_type != CHOICE:
        yield sample
        return
    for number, places in enumerate(_permutations(len(sample.choices), orders, f"{seed}:{sample.id}")):
        yield replace(
            sample,
            id=f"{sample.id}{_MARK}{number}" if number else sample.id,
            choices=tuple(sample.choices[k] for k in places),
            tags={**sample.tags, ORDER_TAG: str(number)},
        )


def _permutations(n: int, wanted: int, seed: str) -> list[tuple[int, ...]]:
    """Different orders of n places, the natural one first; fewer than wanted where there are no more."""
    found = {tuple(range(n)): None}
    draw = random.Random(seed)
    while len(found) < min(wanted, math.factorial(n)):
        found.setdefault(tuple(draw.sample(range(n), n)))
    return list(found)


def question_of(sample: Sample) -> str:
    """The id that a sample has in the data, whatever its order."""
    number = sample.tags.get(ORDER_TAG, "0")
    return sample.id if number == "0" else sample.id.removesuffix(f"{_MARK}{number}")


def is_ordered(samples: Sequence[Sample]) -> bool:
    """Whether the samples are of a task in several orders."""
    return any(ORDER_TAG in tags for tags in column_values(samples, "tags"))
