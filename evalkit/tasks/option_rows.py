"""The rows whose options a model can be asked to rank, for scoring=loglikelihood."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import CHOICE, CLOSED, LETTERS, Sample
from evalkit.tasks.base import LoadedTask, Task
from evalkit.tasks.selection import part_name

# Values of the setting `task.option_rows`: rows with options alone, or closed rows answered yes or no as well.
OPTION_ROWS = ("choice", "choice+yes-no")
YES_NO = ("Yes", "No")
# How an option goes on from the prompt: by its letter, its number from 1, or its text.
CONTINUATIONS = ("letter", "number", "text")


class OptionRowsTask:
    """A task of which only the rows with options are used; the others are counted in a note, by kind."""

    def __init__(self, task: Task, rows: str) -> None:
        self._task = task
        self._rows = rows

    def load(self, *, images: bool = True) -> LoadedTask:
        """The rows with options; see `evalkit.tasks.base.Task`.

        Raises:
            DataError: there is none.
        """
        loaded = self._task.load(images=images)
        kept = tuple(s for s in loaded.samples if has_options(s, yes_no=self._rows == OPTION_ROWS[1]))
        others = [s for s in loaded.samples if not has_options(s, yes_no=self._rows == OPTION_ROWS[1])]
        if not others:
            return loaded
        counts = Counter(_kind(s) for s in others)
        first = {_kind(s): s.id for s in reversed(others)}
        kinds = ", ".join(f"{n} {kind}, first {first[kind]}" for kind, n in sorted(counts.items()))
        text = f"scoring=loglikelihood: {len(others)} of {len(loaded.samples)} rows have no options to rank ({kinds})"
        if not kept:
            raise DataError(
                f"{loaded.name} ({loaded.split}): {text}. It ranks the options of multiple-choice rows, and of yes/no "
                "rows with loglikelihood.yes_no=true; for other rows use scoring=generation."
            )
        kinds_kept = "+".join((CHOICE, CLOSED)[: 1 + (self._rows == OPTION_ROWS[1])])
        return replace(
            loaded,
            name=part_name(loaded.name, f"answer_type={kinds_kept}"),
            samples=kept,
            notes=(*loaded.notes, f"{text}, and are not asked"),
            order={},
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def _kind(sample: Sample) -> str:
    return (sample.answer_type or "unlabelled").lower()


def has_options(sample: Sample, *, yes_no: bool) -> bool:
    """Whether a row has options: those of multiple choice, or Yes and No of a closed row where they count as such."""
    return sample.answer_type == CHOICE or (yes_no and yes_no_answer(sample) != "")


def yes_no_answer(sample: Sample) -> str:
    """The right one of Yes and No of a closed row; empty for other rows and other answers."""
    if sample.answer_type != CLOSED:
        return ""
    golds = {reference.strip().rstrip(".").casefold() for reference in sample.references}
    return next((option for option in YES_NO if golds == {option.casefold()}), "")


def continuations(sample: Sample, kind: str) -> tuple[str, ...]:
    """The continuations of a row's options in order: letters, numbers or texts; Yes and No of a closed row.

    kind: one of CONTINUATIONS.

    Raises:
        DataError: a text is empty, so that there is nothing to score.
    """
    if sample.answer_type != CHOICE:
        return YES_NO
    if kind == "letter":
        return tuple(LETTERS[: len(sample.choices)])
    if kind == "number":
        return tuple(str(k + 1) for k in range(len(sample.choices)))
    if empty := [LETTERS[k] for k, text in enumerate(sample.choices) if not text.strip()]:
        raise DataError(
            f"Sample {sample.id}: its option {empty[0]} is empty, and an empty text has no log-probability. Score "
            "labels instead (loglikelihood.continuation=label), or leave such rows out (task.where)."
        )
    return tuple(text.strip() for text in sample.choices)
