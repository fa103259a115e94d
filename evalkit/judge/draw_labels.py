"""Answers of a judged run that people are to label: a random draw, or as many of each verdict or tag value.

The weight of an answer is how many answers it stands for.  It travels with the file, so that measures over the labels
hold for the whole run however they were drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.core.errors import ConfigError
from evalkit.core.plain_text import spreadsheet_cell
from evalkit.core.reasoning import separate
from evalkit.judge.items import ItemResult
from evalkit.judge.labelled_answers import judge_value
from evalkit.runs.schema import PredictionLine

VERDICT = "verdict"
COLUMNS = ("sample_id", "image_id", "question", "reference", "answer", "label", "rater", "weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnAnswer:
    """An answer to label, and its weight."""

    line: PredictionLine
    weight: float

    def row(self) -> dict[str, str]:
        """Its cells by COLUMNS, the answer without the model's thought; people fill in the label and the rater."""
        return {
            "sample_id": self.line.sample_id,
            "image_id": self.line.image_id,
            "question": spreadsheet_cell(self.line.question),
            "reference": spreadsheet_cell(" | ".join(self.line.references)),
            "answer": spreadsheet_cell(separate(self.line.prediction).text or ""),
            "label": "",
            "rater": "",
            "weight": f"{self.weight:.6g}",
        }


def draw_answers(
    lines: Sequence[PredictionLine], items: Sequence[ItemResult] | None, n: int, by: str | None, seed: int
) -> list[DrawnAnswer]:
    """n answers in random order, or all where there are fewer.

    Args:
        lines: the answers of the run; those without a text are not drawn, as no judge sees them.
        items: the judged answers, where the run has a judge: others are not drawn.
        by: None for a random draw; `verdict` or a tag of the judged answers for as many of each value.

    Raises:
        ConfigError: n is below 1, nothing can be drawn, or by= is no tag of the judged answers.
    """
    if n < 1:
        raise ConfigError(f"n={n} is not possible: expected 1 or more answers.")
    judged = {item.sample_id: item for item in items if item.status == "judged"} if items is not None else None
    answers = [x for x in lines if x.text and (judged is None or x.sample_id in judged)]
    if not answers:
        raise ConfigError("There is no answer to label: none has a text, or none has a judgment.")
    drawn = random.Random(seed)
    strata: dict[Hashable, list[PredictionLine]] = {}
    value_of = _values(judged, by)
    for line in answers:
        strata.setdefault(value_of(line), []).append(line)
    found = []
    for size, stratum in zip(_sizes([len(s) for s in strata.values()], n), strata.values(), strict=True):
        found += [DrawnAnswer(line=x, weight=len(stratum) / size) for x in drawn.sample(stratum, size)]
    drawn.shuffle(found)
    return found


def _values(judged: Mapping[str, ItemResult] | None, by: str | None) -> Callable[[PredictionLine], Hashable]:
    """The stratum of an answer."""
    if by is None:
        return lambda _: None
    if judged is None:
        raise ConfigError(f"by={by} needs a judged run: judge it first (`judge run=RUN judge=NAME`), or leave by= out.")
    if by == VERDICT:
        return lambda line: judge_value(judged[line.sample_id], "verdict") == 1.0
    if not any(by in item.tags for item in judged.values()):
        known = sorted({tag for item in judged.values() for tag in item.tags})
        raise ConfigError(f"by={by}: no judged answer has that tag. Known: {', '.join([VERDICT, *known])}.")
    return lambda line: judged[line.sample_id].tags.get(by, "")


def _sizes(available: Sequence[int], n: int) -> list[int]:
    """Answers to draw of each stratum: equal numbers, at least one, and all of a stratum that has fewer.

    >>> _sizes([100, 5, 100], 45), _sizes([3, 2], 100), _sizes([5, 5, 5], 2)
    ([20, 5, 20], [3, 2], [1, 1, 1])
    """
    sizes = [1] * len(available)
    left = min(n, sum(available)) - len(available)
    while left > 0:
        for place, most in enumerate(available):
            if left > 0 and sizes[place] < most:
                sizes[place] += 1
                left -= 1
    return sizes
