"""Join of imported answers to the samples of a task, by what identifies a row.

In this order: the task's ids in any column, row numbers that the texts confirm, the image with question and reference,
question and reference alone.  Row order decides only between rows that nothing else tells apart, and the result says
how many these are.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.reasoning import cut_unmarked, separate
from evalkit.core.types import Prediction
from evalkit.importers.base import Answer
from evalkit.importers.identify import Placed, by_ids, by_row_numbers, image_columns, position_agrees
from evalkit.importers.packed_answers import NOWHERE, AnswerFile
from evalkit.importers.pairs import Pairs
from evalkit.importers.text_match import (
    MAX_MISMATCH,
    cannot_join_text,
    check_share,
    check_texts,
    comparable_text,
    loose_text,
    order_that_fits,
    question_in,
    unmatched_text,
)
from evalkit.records.base import first_few

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

_METHODS = ("auto", "id", "question", "position")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResult:
    """Answers joined to the samples of a task.

    predictions: one for each sample, in task order; a sample without an answer has an error.
    by: "id", "id:COLUMN", "rows:COLUMN", "order:NAME", "question" or "position".  n_matched: number of samples with an
    answer.  unmatched: answers without a sample.  missing: ids of the samples without an answer.
    warnings: what may put an answer to the wrong sample, with the setting that would settle it.
    """

    predictions: PackedPredictions
    by: str
    n_matched: int
    unmatched: tuple[Answer, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
    by: "id"; "question" (normalised question and reference, and the image if a column names it; equal ones are paired
    in order, the k-th with the k-th); "position" (row k is sample k); "auto" (id if a column has the task's ids, else
    row numbers if the texts agree, else question).
    max_unmatched: highest allowed value of (answers without a sample + samples without an answer) / samples.
    reasoning: "auto" splits thoughts off the answers, "keep" leaves the texts as they came (`evalkit.core.reasoning`).

    Raises:
        DataError: more than 2 % of the joined rows have another question or reference than their sample, or more rows
            than `max_unmatched` allows are not joined.
        ConfigError: unknown `order` or `by`.
    """
    _check_settings(task, order, by, max_unmatched)
    method, pairs = _paired(file, task, order, by)
    notes = check_texts(file, task, pairs.samples, method)
    answers = file.answers
    if not any(k != NOWHERE and (answers.questions[k] or answers.references[k]) for k in pairs.answers):
        notes.append("the file has neither questions nor references, so the meaning of its ids could not be checked")
    ids = tuple(column_values(task.samples, "id"))
    missing = tuple(name for i, name in enumerate(ids) if not pairs.has(i))
    left = tuple(answers[k] for k in pairs.left)
    check_share(file, task, left, missing, max_unmatched, method)
    if left or missing:
        notes.append(unmatched_text(left, missing))
    no_answer = f"no answer in {Path(file.path).name}"
    predictions = PackedPredictions(ids)
    for i, name in enumerate(ids):
        predictions[i] = (
            separate(answers.prediction(pairs.answers[i], name), reasoning)
            if pairs.has(i)
            else Prediction(sample_id=name, error=no_answer, finish_reason="error")
        )
    cut_unmarked(predictions, reasoning)
    return JoinResult(
        predictions=predictions, by=method, n_matched=pairs.n, unmatched=left,
        missing=missing, notes=(*pairs.notes, *notes), warnings=pairs.warnings,
    )  # fmt: skip


def _paired(file: AnswerFile, task: LoadedTask, order: str | None, by: str) -> tuple[str, Pairs]:
    """The method of the join, and its pairs."""
    if order:
        return f"order:{order}", _by_order(file, task, order)
    if by == "position":
        return by, _by_position(file, task)
    if by == "question":
        return by, _by_question(file, task, forced=True)
    ids = by_ids(file, task)
    if by == "id":
        return (ids.by, _by_places(file, task, ids)) if ids else ("id", _by_id(file, task))
    if ids is None or ids.share < 1 - MAX_MISMATCH:
        rows = by_row_numbers(file, task)
        if rows is not None:
            return rows.by, _by_rows(file, task, rows)
    return (ids.by, _by_places(file, task, ids)) if ids else ("question", _by_question(file, task, forced=False))


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


def _by_id(file: AnswerFile, task: LoadedTask) -> Pairs:
    place = {name: i for i, name in enumerate(column_values(task.samples, "id"))}
    return _by_key(file, task, lambda k: place.get(file.answers.ids[k] or "", NOWHERE))


def _by_order(file: AnswerFile, task: LoadedTask, order: str) -> Pairs:
    rows = task.order[order]
    place = {name: i for i, name in enumerate(column_values(task.samples, "id"))}

    def sample_of(k: int) -> int:
        name = file.answers.ids[k]
        if name is None or not name.isdecimal():
            raise DataError(
                f"{file.path}: row {file.answers.row(k)} has the id {name!r}, and task.order={order} needs row "
                "numbers. Leave out task.order, or name the column with the row numbers with id=NAME."
            )
        number = int(name)
        return place.get(rows[number], NOWHERE) if number < len(rows) else NOWHERE

    return _by_key(file, task, sample_of)


def _by_key(file: AnswerFile, task: LoadedTask, sample_of: Callable[[int], int]) -> Pairs:
    """Pairs by a function from the place of an answer to that of its sample, or NOWHERE."""
    pairs, answers = Pairs.none(file, task), file.answers
    for k in range(len(answers)):
        sample = sample_of(k)
        if sample == NOWHERE:
            continue
        if pairs.has(sample):
            raise DataError(
                f"{file.path}: rows {answers.row(pairs.answers[sample])} and {answers.row(k)} both have the id "
                f"{answers.ids[k]!r} with different questions or references, so the id does not identify a sample. "
                "Name another column with id=NAME, or use by=question."
            )
        pairs.add(k, sample)
    return pairs


def _by_places(file: AnswerFile, task: LoadedTask, placed: Placed) -> Pairs:
    pairs, answers = Pairs.none(file, task), file.answers
    for k, sample in enumerate(placed.places):
        if sample == NOWHERE:
            continue
        if pairs.has(sample):
            raise DataError(
                f"{file.path}: rows {answers.row(pairs.answers[sample])} and {answers.row(k)} have the same id, as "
                "numbers. Name another column with id=NAME, or use by=question."
            )
        pairs.add(k, sample)
    return pairs


def _by_rows(file: AnswerFile, task: LoadedTask, placed: Placed) -> Pairs:
    pairs = _by_places(file, task, placed)
    column = placed.by.partition(":")[2]
    note = f"joined by the row numbers in column {column!r}, under which questions and references agree"
    with_reference = any(file.answers.references)
    alike = sum(len(g) for g in _groups(task, None, with_reference).values() if len(g) > 1)
    if alike:
        note += (
            f"; between {alike} of the {len(task.samples)} rows, which share {_shared(False, with_reference)} with "
            "another row, the number alone decides (a column with the task's ids, id=NAME, would settle it)"
        )
    return replace(pairs, notes=(note,))


def _by_position(file: AnswerFile, task: LoadedTask) -> Pairs:
    n = len(task.samples)
    if len(file.answers) != n:
        raise DataError(
            f"{file.path}: {len(file.answers)} answers and {n} samples of {task.name}; by=position needs equal numbers."
        )
    pairs = Pairs(array("q", range(n)), array("q", range(n)))
    if not (any(file.answers.questions) or any(file.answers.references)):
        checked = f"the file has no questions to check it, so the order decides all {n} rows"
    else:
        with_reference = any(file.answers.references)
        alike = sum(len(g) for g in _groups(task, None, with_reference).values() if len(g) > 1)
        if not alike:
            return replace(pairs, notes=("joined by row order (by=position)",))
        shared = _shared(False, with_reference)
        checked = f"it alone decides between {alike} of the {n} rows, which share {shared} with another row"
    warning = f"joined by row order (by=position): {checked}; a column with the task's ids, id=NAME, would settle it"
    return replace(pairs, warnings=(warning,))


_Key = tuple[str | None, ...]


def _groups(task: LoadedTask, images: Sequence[str] | None, with_reference: bool) -> dict[_Key, list[int]]:
    """The samples by image (if given), question and reference (if the file has them); one group for each reference."""
    groups: dict[_Key, list[int]] = defaultdict(list)
    for i, s in enumerate(task.samples):
        for reference in {comparable_text(r) for r in s.references} if with_reference else {None}:
            groups[images[i] if images else None, comparable_text(s.question), reference].append(i)
    return groups


def _shared(with_image: bool, with_reference: bool) -> str:
    parts = ["image"] * with_image + ["question"] + ["reference"] * with_reference
    return "the same " + " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _by_question(file: AnswerFile, task: LoadedTask, *, forced: bool) -> Pairs:
    """Pair the k-th answer with the k-th sample of the same question, reference and image, if a column names images."""
    if not any(file.answers.questions):
        raise DataError(cannot_join_text(file, task))
    suggestion = order_that_fits(file, task)
    if suggestion and not forced:
        raise DataError(
            f"{file.path}: its ids are not those of {task.name} but row numbers in another numbering of the same rows, "
            f"under which the questions agree. Use task.order={suggestion}, or by=question to join by the texts alone."
        )
    columns = image_columns(file, task)[:3]
    ways = [_by_texts(file, task, column, images, forced=forced) for column, images in columns]
    if all(NOWHERE in way.samples for way in ways) and not any(column == file.id_column for column, _ in columns):
        # A column with other names of images than the task's must not keep rows apart that their texts join.
        ways.append(_by_texts(file, task, "", None, forced=forced))
    return max(ways, key=lambda way: way.n)


def _by_texts(
    file: AnswerFile, task: LoadedTask, column: str, images: Sequence[str | None] | None, *, forced: bool
) -> Pairs:
    with_reference = any(file.answers.references)
    groups = _groups(task, [s.image_id for s in task.samples] if images else None, with_reference)
    _check_repeats(file, task, groups, with_reference=with_reference, forced=forced)
    known = {key[1] for key in groups}
    pairs = Pairs.none(file, task)
    for k, (question, reference) in enumerate(zip(file.answers.questions, file.answers.references, strict=True)):
        key = (
            images[k] if images else None,
            question_in(question, known),
            comparable_text(reference) if with_reference else None,
        )
        places = groups[key] if key in groups else _loosely(key, groups)
        free = next((i for i in places if not pairs.has(i)), None)
        if free is not None:
            pairs.add(k, free)
    notes = []
    if images:
        notes.append(
            f"column {column!r} names images, so answers were joined by image, question"
            + (" and reference" if with_reference else "")
        )
    elif any(file.answers.ids):
        notes.append(f"the file's ids are not those of {task.name} and were not used")
    warnings = _order_warning(file, task, groups, pairs, bool(images), with_reference)
    return replace(pairs, notes=tuple(notes), warnings=warnings)


def _loosely(key: _Key, waiting: Mapping[_Key, Sequence[int]]) -> Iterator[int]:
    """The samples whose question differs from that of a key in the space before a question mark only."""
    image, question, reference = key
    for other, places in waiting.items():
        if other[0] == image and other[2] == reference and loose_text(other[1]) == loose_text(question):
            yield from places


def _order_warning(
    file: AnswerFile,
    task: LoadedTask,
    groups: Mapping[_Key, Sequence[int]],
    pairs: Pairs,
    with_image: bool,
    with_reference: bool,
) -> tuple[str, ...]:
    """The warning for rows that only their order tells apart; nothing without such rows."""
    repeated = [group for group in groups.values() if len(group) > 1]
    if not repeated:
        return ()
    rows = len({i for group in repeated for i in group})
    answered = [{file.answers.text(pairs.answers[i]) for i in group if pairs.has(i)} for group in repeated]
    differ = len({i for g, texts in zip(repeated, answered, strict=True) if len(texts) > 1 for i in g})
    order = "the file is in the task's order" if position_agrees(file, task) else "the file is in another order"
    order = order if len(file.answers) == len(task.samples) else "the file does not have all rows"
    return (
        f"{rows} of the {len(task.samples)} rows share {_shared(with_image, with_reference)} with another row and were "
        f"paired in file order, the k-th with the k-th ({order}; for {differ} of them the answers differ): the image, "
        "the slices and the flips of such an answer may be another row's. A column with the task's ids settles it: "
        + ("id=NAME" if with_image else "id=NAME, or one with the images: image_id=NAME"),
    )


def _check_repeats(
    file: AnswerFile,
    task: LoadedTask,
    groups: Mapping[_Key, Sequence[int]],
    *,
    with_reference: bool,
    forced: bool,
) -> None:
    """Raise DataError for questions that occur with different gold answers, if nothing tells them apart."""
    repeated = [group for group in groups.values() if len(group) > 1]
    ambiguous = [
        g for g in repeated if len({frozenset(map(comparable_text, task.samples[i].references)) for i in g}) > 1
    ]
    if ambiguous and not with_reference and not forced:
        examples = first_few([repr(task.samples[g[0]].question) for g in ambiguous], 3)
        raise DataError(
            f"{file.path}: {len(ambiguous)} questions occur in {task.name} more than once with different gold answers "
            f"({examples}), and the file has neither the task's ids nor references to tell them apart. Add a column "
            "with one of them, or use by=question to pair equal questions in file order."
        )
