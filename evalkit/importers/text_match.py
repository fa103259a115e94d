"""Whether answers and samples are about the same rows: the texts are compared wherever rows meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evalkit.core.errors import DataError
from evalkit.core.types import Sample
from evalkit.importers.base import Answer, AnswerFile, named

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

MAX_MISMATCH = 0.02  # share of joined rows whose question or reference may read differently (reworded releases)


def normal(text: str | None) -> str | None:
    """A text as it is compared: without "<image>", case folded, white space as single spaces."""
    return None if text is None else " ".join(text.replace("<image>", " ").casefold().split())


def question_in(text: str | None, known: set[str | None]) -> str | None:
    """The task's question inside a prompt: all of it, one of its lines, or what ends with a question mark."""
    whole = normal(text)
    if whole is None or text is None or whole in known:
        return whole
    lines = [normal(line) for line in text.replace("<image>", " ").split("\n")]
    heads = [whole[: i + 1] for i, c in enumerate(whole) if c in "?？."]
    return next((c for c in (*lines, *reversed(heads)) if c and c in known), whole)


def ids_name_images(file: AnswerFile, task: LoadedTask) -> bool:
    images = {s.image_id for s in task.samples}
    return sum(a.id in images for a in file.answers) * 2 >= len(file.answers) and len(images) > 1


def agrees(answer: Answer, sample: Sample) -> bool:
    """Whether question and reference of an answer are the sample's; a prompt may hold more than the question."""
    theirs, ours = normal(answer.question), normal(sample.question) or ""
    if theirs is not None and theirs != ours and not (ours and ours in theirs):
        return False
    return answer.reference is None or normal(answer.reference) in {normal(r) for r in sample.references}


def order_that_fits(file: AnswerFile, task: LoadedTask) -> str | None:
    """The numbering of the task in which the file's ids are row numbers and the texts agree, if there is one."""
    by_id = {s.id: s for s in task.samples}
    for name, rows in task.order.items():
        met = [
            (a, by_id[rows[int(a.id)]])
            for a in file.answers
            if a.id is not None and a.id.isdecimal() and int(a.id) < len(rows) and rows[int(a.id)] in by_id
        ]
        enough = len(met) >= (1 - MAX_MISMATCH) * len(file.answers)
        if enough and sum(not agrees(a, s) for a, s in met) <= MAX_MISMATCH * len(met):
            return name
    return None


def check_texts(file: AnswerFile, task: LoadedTask, of: Mapping[int, Answer], way: str) -> list[str]:
    unlike = [(a, task.samples[i]) for i, a in of.items() if not agrees(a, task.samples[i])]
    if not unlike:
        return []
    shown = "; ".join(
        f"row {a.row} (id {a.id}) has {a.question!r} -> {a.reference!r}, sample {s.id} has {s.question!r} -> "
        f"{s.references[0]!r}"
        for a, s in unlike[:3]
    )
    if len(unlike) <= MAX_MISMATCH * len(of):
        return [f"{len(unlike)} of {len(of)} rows read differently in file and task, joined all the same: {shown}"]
    order = order_that_fits(file, task)
    advice = (
        f"The ids are row numbers of another numbering: say task.order={order}."
        if order and way == "id"
        else (
            "The ids of the file number other rows than those of the task: check the task, its split and its form, "
            "or say by=question."
        )
    )
    raise DataError(
        f"{file.path}: joined by {way}, {len(unlike)} of {len(of)} rows have another question or reference than the "
        f"sample: {shown}. {advice}"
    )


def check_share(
    file: AnswerFile, task: LoadedTask, left: Sequence[Answer], missing: Sequence[str], limit: float, way: str
) -> None:
    n = len(task.samples)
    share = (len(left) + len(missing)) / n
    if share > limit:
        order = order_that_fits(file, task) if way == "id" else None
        advice = f" The ids fit row numbers: perhaps task.order={order} is meant." if order else ""
        raise DataError(
            f"{file.path}: joined by {way} to the {n} samples of {task.name} ({task.split}), "
            f"{lacking(left, missing)}. That is {share:.1%} of n, max_unmatched allows {limit:.1%}: check the task, "
            "its split and its settings, or raise max_unmatched; samples without an answer are then counted as "
            f"unscored.{advice}"
        )


def lacking(left: Sequence[Answer], missing: Sequence[str]) -> str:
    counts = Counter(a.id for a in left)
    rows = [f"row {a.row}" + (f" (id {a.id})" if a.id is not None and counts[a.id] == 1 else "") for a in left]
    parts = [f"{len(left)} answers belong to no sample: {named(rows)}"] if left else []
    parts += [f"{len(missing)} samples have no answer: {named(missing)}"] if missing else []
    return " and ".join(parts)


def no_way(file: AnswerFile, task: LoadedTask) -> str:
    ids = [a.id for a in file.answers if a.id is not None]
    what = (
        f"its ids ({named(ids, 3)} …) are not those of {task.name} ({named([s.id for s in task.samples], 3)} …)"
        if ids
        else "it has no ids"
    )
    order = order_that_fits(file, task)
    fits = f" The ids would fit task.order={order}, as row numbers." if order else ""
    return (
        f"{file.path}: {what}, and it has no questions, so nothing says which sample an answer belongs to. Name the "
        "columns with id=NAME or question=NAME; by=position joins row k with sample k, if you know that the order "
        f"is the task's.{fits}"
    )
