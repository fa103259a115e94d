"""Checks that joined answers and samples belong together, by comparing their questions and references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evalkit.core.columns import column_values
from evalkit.core.errors import DataError
from evalkit.core.remembered import remembered
from evalkit.core.types import Sample
from evalkit.importers.base import Answer
from evalkit.importers.packed_answers import NOWHERE, AnswerFile
from evalkit.records.base import first_few

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

MAX_MISMATCH = 0.02  # highest share of joined rows whose question or reference may differ (reworded releases)


@remembered
def comparable_text(text: str | None) -> str | None:
    """A text in the form in which texts are compared: without "<image>", case-folded, white space as single spaces."""
    return None if text is None else " ".join(text.replace("<image>", " ").casefold().split())


def loose_text(text: str | None) -> str | None:
    """`comparable_text` without a space before a question mark, in which releases of one set differ."""
    return None if text is None else (comparable_text(text) or "").replace(" ?", "?")


def question_in(text: str | None, known: set[str | None]) -> str | None:
    """The task's question inside a prompt: the whole prompt, one of its lines, or a part up to a question mark."""
    whole = comparable_text(text)
    if whole is None or text is None or whole in known:
        return whole
    lines = [comparable_text(line) for line in text.replace("<image>", " ").split("\n")]
    heads = [whole[: i + 1] for i, c in enumerate(whole) if c in "?？."]
    return next((c for c in (*lines, *reversed(heads)) if c and c in known), whole)


def agrees(asked: str | None, reference: str | None, question: str, references: Sequence[str]) -> bool:
    """Whether the question and the reference of an answer are those of a sample; a prompt may contain more text."""
    if asked is not None and asked != question:
        prompt, wanted = loose_text(asked) or "", loose_text(question) or ""
        if prompt != wanted and not (wanted and wanted in prompt):
            return False
    return reference is None or comparable_text(reference) in {comparable_text(r) for r in references}


def agreeing(file: AnswerFile, task: LoadedTask, places: Sequence[int]) -> Iterator[bool]:
    """Whether the texts of each answer are those of its sample; nothing for an answer without one.

    Args:
        places: index of the sample for each answer, or NOWHERE.
    """
    questions, references = (tuple(column_values(task.samples, name)) for name in ("question", "references"))
    for asked, reference, place in zip(file.answers.questions, file.answers.references, places, strict=True):
        if place != NOWHERE:
            yield agrees(asked, reference, questions[place], references[place])


def order_that_fits(file: AnswerFile, task: LoadedTask) -> str | None:
    """The task's numbering of rows (a key of `task.order`) under which the file's ids fit and the texts agree."""
    by_id = {s.id: s for s in task.samples} if task.order else {}
    for name, rows in task.order.items():
        pairs = [
            (k, by_id[rows[int(i)]])
            for k, i in enumerate(file.answers.ids)
            if i is not None and i.isdecimal() and int(i) < len(rows) and rows[int(i)] in by_id
        ]
        enough = len(pairs) >= (1 - MAX_MISMATCH) * len(file.answers)
        if enough and sum(not _agrees(file, k, s) for k, s in pairs) <= MAX_MISMATCH * len(pairs):
            return name
    return None


def _agrees(file: AnswerFile, place: int, sample: Sample) -> bool:
    return agrees(file.answers.questions[place], file.answers.references[place], sample.question, sample.references)


def check_texts(file: AnswerFile, task: LoadedTask, places: Sequence[int], method: str) -> list[str]:
    """Compare the texts of the joined rows; a note for a few differences, DataError above MAX_MISMATCH.

    places: index of the sample for each answer, or NOWHERE.
    """
    placed = ((k, i) for k, i in enumerate(places) if i != NOWHERE)
    unlike = [pair for pair, same in zip(placed, agreeing(file, task, places), strict=True) if not same]
    if not unlike:
        return []
    different = [(file.answers[k], task.samples[i]) for k, i in unlike[:3]]
    n, of = len(unlike), sum(i != NOWHERE for i in places)
    shown = "; ".join(
        f"row {a.row} (id {a.id}) has {a.question!r} -> {a.reference!r}, sample {s.id} has {s.question!r} -> "
        f"{s.references[0]!r}"
        for a, s in different
    )
    if n <= MAX_MISMATCH * of:
        return [f"{n} of {of} rows differ in text between file and task, joined anyway: {shown}"]
    order = order_that_fits(file, task)
    advice = (
        f"The ids are row numbers of another numbering: use task.order={order}."
        if order and method == "id"
        else (
            "The ids of the file refer to other rows than those of the task: check the task, its split and its form, "
            "or use by=question."
        )
    )
    raise DataError(
        f"{file.path}: joined by {method}, {n} of {of} rows have another question or reference than "
        f"the sample: {shown}. {advice}"
    )


def check_share(
    file: AnswerFile, task: LoadedTask, left: Sequence[Answer], missing: Sequence[str], limit: float, method: str
) -> None:
    """Raise DataError if the unmatched answers and samples are more than the share `limit` of the samples."""
    n = len(task.samples)
    share = (len(left) + len(missing)) / n
    if share > limit:
        order = order_that_fits(file, task) if method == "id" else None
        advice = f" The ids fit as row numbers: task.order={order} may be needed." if order else ""
        raise DataError(
            f"{file.path}: joined by {method} to the {n} samples of {task.name} ({task.split}), "
            f"{unmatched_text(left, missing)}. That is {share:.1%} of the samples; max_unmatched allows "
            f"{limit:.1%}. Check the task, its split and its settings, or raise max_unmatched: samples without an "
            f"answer count as unscored.{advice}"
        )


def unmatched_text(left: Sequence[Answer], missing: Sequence[str]) -> str:
    """Text for messages: the answers without a sample and the samples without an answer."""
    counts = Counter(a.id for a in left)
    rows = [f"row {a.row}" + (f" (id {a.id})" if a.id is not None and counts[a.id] == 1 else "") for a in left]
    parts = [f"{len(left)} answers belong to no sample: {first_few(rows)}"] if left else []
    parts += [f"{len(missing)} samples have no answer: {first_few(missing)}"] if missing else []
    return " and ".join(parts)


def cannot_join_text(file: AnswerFile, task: LoadedTask) -> str:
    """Text of the error for a file that can be joined neither by id nor by question."""
    ids = [i for i in file.answers.ids if i is not None]
    problem = (
        f"its ids ({first_few(ids, 3)} …) are not those of {task.name} ({first_few([s.id for s in task.samples], 3)} …)"
        if ids
        else "it has no ids"
    )
    order = order_that_fits(file, task)
    fits = f" The ids would fit as row numbers with task.order={order}." if order else ""
    return (
        f"{file.path}: {problem}, and it has no questions, so answers cannot be assigned to samples. Name the columns "
        "with id=NAME or question=NAME, or use by=position to join row k with sample k if the file is in the order of "
        f"the task.{fits}"
    )
