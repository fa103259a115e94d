"""Answers with a label of people and one of the judge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core.errors import DataError
from evalkit.judge.human_labels import LabelLine, Labels
from evalkit.judge.items import ItemResult

VERDICT_LABELS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """The labels of one answer: human (the majority of the raters), each rater's, the judge's.

    weight: how many answers it stands for; 1 for a random draw.
    """

    image_id: str
    model: str
    human: float
    raters: tuple[float, ...]
    judge: float
    weight: float = 1.0


class _AnswerKey(NamedTuple):
    """A sample and the model that answered."""

    sample_id: str
    model: str


def labelled_answers(
    labels: Labels, items: Mapping[str, ItemResult] | None, model: str | None
) -> tuple[list[LabelledAnswer], Counter[str]]:
    """The answers with labels of both sides, and the number of the others by reason."""
    grouped: dict[_AnswerKey, list[LabelLine]] = {}
    for line in labels.lines:
        grouped.setdefault(_AnswerKey(line.sample_id, line.model), []).append(line)
    answers: list[LabelledAnswer] = []
    left_out: Counter[str] = Counter()
    for (sample_id, answered_by), lines in grouped.items():
        if model is not None and items is not None and answered_by not in ("", model):
            left_out["of another model than the run's"] += 1
            continue
        for column, values in (("judge", {x.judge for x in lines}), ("weight", {x.weight for x in lines})):
            if len(values) > 1:
                raise DataError(f"sample {sample_id!r}: the column {column} has different values for one answer.")
        raters = tuple(line.human for line in lines if line.human is not None)
        human = majority(raters)
        if human is None:
            left_out["people are split" if raters else "people cannot tell"] += 1
            continue
        item = items.get(sample_id) if items is not None else None
        value = judge_value(item, labels.scale) if items is not None else lines[0].judge
        if value is None:
            left_out["no judgment, or the judge cannot tell"] += 1
            continue
        image = item.image_id if item is not None else lines[0].image_id
        answers.append(
            LabelledAnswer(
                image_id=image, model=answered_by, human=human, raters=raters, judge=value, weight=lines[0].weight
            )
        )
    return answers, left_out


def majority(values: Sequence[float]) -> float | None:
    """The most frequent value; None without values, and where two are equally frequent."""
    ranked = Counter(values).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def judge_value(item: ItemResult | None, scale: str) -> float | None:
    """A judged item as a label: the verdict nearest to its mean credit, or its score rounded; None without a score."""
    if item is None or item.status != "judged":
        return None
    if scale == "verdict":
        return min(VERDICT_LABELS, key=lambda v: (abs(v - item.candidate), v))
    return float(math.floor(item.candidate + 0.5))
