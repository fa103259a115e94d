"""Join of imported answers to the samples of a task.  Never by row order unless by=position is set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.reasoning import separate
from evalkit.core.types import Prediction
from evalkit.importers.base import Answer, AnswerFile, first_few
from evalkit.importers.evalkit_run import to_prediction
from evalkit.importers.text_match import (
    cannot_join_text,
    check_share,
    check_texts,
    comparable_text,
    ids_name_images,
    order_that_fits,
    question_in,
    unmatched_text,
)

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

_REPEATS = (
    "{rows} rows share {same} with another row and were paired in file order: totals are not affected, but the image "
    "and the slices of an answer may be wrong"
)
_METHODS = ("auto", "id", "question", "position")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResult:
    """Answers joined to the samples of a task.

    predictions: one for each sample, in task order; a sample without an answer has an error.
    by: "id", "order:NAME", "question" or "position".  n_matched: number of samples with an answer.
    unmatched: answers without a sample.  missing: ids of the samples without an answer.
    """

    predictions: tuple[Prediction, ...]
    by: str
    n_matched: int
    unmatched: tuple[Answer, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of samples and answers.  of: index of a sample -> its answer.  left: answers without a sample."""

    of: dict[int, Answer]
    left: list[Answer]
    notes: tuple[str, ...] = ()


def join(
    file: AnswerFile,
    task: LoadedTask,
    *,
    order: str | None = None,
    by: str = "auto",
    max_unmatched: float = 0.0,
    reasoning: str = "auto",
) -> JoinResult:
    """Join answers to the samples of `task`; returns one prediction per sample, in task order.

    order: a key of `task.order`: the ids in the file are row numbers (from 0) in that numbering of the rows.
    by: "id"; "question" (normalised question and reference, and the image if the ids name images; equal ones are paired
    in order, the k-th with the k-th); "position" (row k is sample k); "auto" (id if the ids are the task's, else
    question).
    max_unmatched: highest allowed value of (answers without a sample + samples without an answer) / samples.
    reasoning: "auto" splits thoughts off the answers, "keep" leaves the texts as they came (`evalkit.core.reasoning`).

    Raises:
        DataError: more than 2 % of the joined rows have another question or reference than their sample, or more rows
            than `max_unmatched` allows are not joined.
        ConfigError: unknown `order` or `by`.
    """
    _check_settings(task, order, by, max_unmatched)
    if order:
        method, pairs = f"order:{order}", _by_order(file, task, order)
    elif by == "position":
        method, pairs = by, _by_position(file, task)
    elif by == "id" or (by == "auto" and _ids_fit(file, task)):
        method, pairs = "id", _by_id(file, task)
    else:
        method, pairs = "question", _by_question(file, task, forced=by == "question")
    notes = check_texts(file, task, pairs.of, method)
    if not any(a.question or a.reference for a in pairs.of.values()):
        notes.append("the file has neither questions nor references, so the meaning of its ids could not be checked")
    missing = tuple(s.id for i, s in enumerate(task.samples) if i not in pairs.of)
    check_share(file, task, pairs.left, missing, max_unmatched, method)
    if pairs.left or missing:
        notes.append(unmatched_text(pairs.left, missing))
    no_answer = f"no answer in {Path(file.path).name}"
    predictions = tuple(
        separate(to_prediction(pairs.of[i], s.id), reasoning)
        if i in pairs.of
        else Prediction(sample_id=s.id, error=no_answer, finish_reason="error")
        for i, s in enumerate(task.samples)
    )
    return JoinResult(
        predictions=predictions, by=method, n_matched=len(pairs.of), unmatched=tuple(pairs.left), missing=missing,
        notes=(*pairs.notes, *notes),
    )  # fmt: skip


def _check_settings(task: LoadedTask, order: str | None, by: str, max_unmatched: float) -> None:
    if by not in _METHODS:
        raise ConfigError(f"Unknown setting by={by}. {did_you_mean(by, _METHODS)}")
    if order and order not in task.order:
        known = (
            did_you_mean(order, task.order)
            if task.order
            else "This form of the task has no other numbering of its rows."
        )
        raise ConfigError(f"task.order={order}: {task.name} ({task.form}) has no such numbering. {known}")
    if order and by not in ("auto", "id"):
        raise ConfigError(f"task.order={order} joins by row number, so by={by} contradicts it. Leave one of them out.")
    if not 0 <= max_unmatched <= 1:
        raise ConfigError(f"max_unmatched={max_unmatched}: expected a number between 0 and 1.")
    if not task.samples:
        raise DataError(f"task {task.name} has no samples, so there is nothing to join answers to.")


def _ids_fit(file: AnswerFile, task: LoadedTask) -> bool:
    """Whether the ids are those of the task: they are unique and at least half of them exist there.

    Some row numbers match by chance: a fifth of the numbers 0..450 are ids of VQA-RAD's test rows.
    """
    ids = [a.id for a in file.answers]
    known = {s.id for s in task.samples}
    hits = sum(i in known for i in ids)
    if None in ids or len(set(ids)) < len(ids):
        return False
    return hits > 0 and (hits * 2 >= len(ids) or not any(a.question for a in file.answers))


def _by_id(file: AnswerFile, task: LoadedTask) -> _Pairs:
    place = {s.id: i for i, s in enumerate(task.samples)}
    return _by_key(file, lambda a: place.get(a.id) if a.id is not None else None)


def _by_order(file: AnswerFile, task: LoadedTask, order: str) -> _Pairs:
    rows = task.order[order]
    place = {s.id: i for i, s in enumerate(task.samples)}

    def sample_of(answer: Answer) -> int | None:
        if answer.id is None or not answer.id.isdecimal():
            raise DataError(
                f"{file.path}: row {answer.row} has the id {answer.id!r}, and task.order={order} needs row numbers. "
                "Leave out task.order, or name the column with the row numbers with id=NAME."
            )
        number = int(answer.id)
        return place.get(rows[number]) if number < len(rows) else None

    return _by_key(file, sample_of)


def _by_key(file: AnswerFile, sample_of: Callable[[Answer], int | None]) -> _Pairs:
    of: dict[int, Answer] = {}
    left: list[Answer] = []
    for answer in file.answers:
        i = sample_of(answer)
        if i is None:
            left.append(answer)
        elif i in of:
            raise DataError(
                f"{file.path}: rows {of[i].row} and {answer.row} both have the id {answer.id!r} with different "
                "questions or references, so the id does not identify a sample. Name another column with id=NAME, or "
                "use by=question."
            )
        else:
            of[i] = answer
    return _Pairs(of, left)


def _by_position(file: AnswerFile, task: LoadedTask) -> _Pairs:
    if len(file.answers) != len(task.samples):
        raise DataError(
            f"{file.path}: {len(file.answers)} answers and {len(task.samples)} samples of {task.name}; by=position "
            "needs equal numbers."
        )
    return _Pairs(dict(enumerate(file.answers)), [], ("joined by row order (by=position)",))


def _by_question(file: AnswerFile, task: LoadedTask, *, forced: bool) -> _Pairs:
    """Pair the k-th answer with the k-th sample of the same question and reference (and image, if ids name images)."""
    if not any(a.question for a in file.answers):
        raise DataError(cannot_join_text(file, task))
    suggestion = order_that_fits(file, task)
    if suggestion and not forced:
        raise DataError(
            f"{file.path}: its ids are not those of {task.name} but row numbers in another numbering of the same rows, "
            f"under which the questions agree. Use task.order={suggestion}, or by=question to join by the texts alone."
        )
    with_image = ids_name_images(file, task)
    with_reference = any(a.reference for a in file.answers)
    waiting: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for i, s in enumerate(task.samples):
        for reference in {comparable_text(r) for r in s.references} if with_reference else {None}:
            waiting[s.image_id if with_image else None, comparable_text(s.question), reference].append(i)
    notes = _check_repeats(file, task, waiting, with_reference=with_reference, forced=forced)
    known = {key[1] for key in waiting}
    of: dict[int, Answer] = {}
    left: list[Answer] = []
    for answer in file.answers:
        key = (
            answer.id if with_image else None,
            question_in(answer.question, known),
            comparable_text(answer.reference) if with_reference else None,
        )
        free = next((i for i in waiting.get(key, ()) if i not in of), None)
        if free is None:
            left.append(answer)
        else:
            waiting[key].remove(free)
            of[free] = answer
    if with_image:
        notes.append("ids name images, so answers were joined by image, question and reference")
    elif any(a.id for a in file.answers):
        notes.append(f"the file's ids are not those of {task.name} and were not used")
    return _Pairs(of, left, tuple(notes))


def _check_repeats(
    file: AnswerFile,
    task: LoadedTask,
    waiting: dict[tuple[str | None, ...], list[int]],
    *,
    with_reference: bool,
    forced: bool,
) -> list[str]:
    """Check samples with the same question: a note if their gold answers agree, DataError if pairs could be wrong."""
    groups = [group for group in waiting.values() if len(group) > 1]
    ambiguous = [g for g in groups if len({frozenset(map(comparable_text, task.samples[i].references)) for i in g}) > 1]
    if ambiguous and not with_reference and not forced:
        examples = first_few([repr(task.samples[g[0]].question) for g in ambiguous], 3)
        raise DataError(
            f"{file.path}: {len(ambiguous)} questions occur in {task.name} more than once with different gold answers "
            f"({examples}), and the file has neither the task's ids nor references to tell them apart. Add a column "
            "with one of them, or use by=question to pair equal questions in file order."
        )
    rows = sum(len(g) for g in groups)
    same = "the same question and reference" if with_reference else "the same question"
    return [_REPEATS.format(rows=rows, same=same)] if rows else []
