"""Reader of IntelliScope, ColonINST and Colon-X prediction files: conversations with a turn from "prediction"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.json_text import shown
from evalkit.core.types import LETTERS
from evalkit.importers.base import Answer, Answers, Columns, Format, answered
from evalkit.importers.columns import identifiers, objects
from evalkit.records.base import RawFile, Record, answer_text, as_id, as_text
from evalkit.tasks.coloninst_records import unique_ids
from evalkit.tasks.table.options import options_in_question


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per item, verbatim ("<|endoftext|>" included if the file has it).

    With --write_to_json the evaluator appends its result after the array, which is not valid JSON; it is ignored.
    """
    del columns  # they are fixed
    answers = [_answer(raw, record) for record in raw.records]
    if not any(a.text is not None for a in answers):
        raise DataError(
            f"{raw.path}: no conversation has a turn from 'prediction'; this is the dataset, not a model's answers."
        )
    judged = sum(any(t.get("from") == "prediction_ori" for t in objects(_turns(r.fields))) for r in raw.records)
    notes = [f"{judged} items have a referee's word beside the model's answer; the model's own was read"]
    return Answers(_with_unique_ids(answers), notes if judged else [])


def _with_unique_ids(answers: list[Answer]) -> list[Answer]:
    """The answers with the ids of the task: ten image paths of the set have two dialogues each."""
    rows = [(a.id or "", a.question or "", a.reference or "") for a in answers]
    return [a if a.id in (None, i) else replace(a, id=i) for a, i in zip(answers, unique_ids(rows), strict=True)]


def _answer(raw: RawFile, record: Record) -> Answer:
    where = f"{raw.path}: item {record.row}"
    turns: dict[str, Any] = {}
    for turn in objects(_turns(record.fields)):
        who = turn.get("from")
        if not isinstance(who, str):
            continue
        if who in turns:
            raise DataError(
                f"{where} has several turns from {shown(who)}. Expected one question, one answer and one prediction."
            )
        turns[who] = turn.get("value")
    # Colon-X's evaluator renames the model's turn where it asks a referee, and adds the referee's word as "prediction".
    own = "prediction_ori" if "prediction_ori" in turns else "prediction"
    text = answer_text(turns.get(own), f"{where}, {own}")
    text, error = answered(text) if own in turns else (None, "no prediction turn")
    question = (as_text(turns.get("human"), f"{where}, human") or "").replace("<image>", "").strip()
    question, reference = _without_options(question, as_text(turns.get("gpt"), f"{where}, gpt"), where)
    return Answer(
        row=record.row,
        id=_path(record.fields.get("id"), f"{where}, id"),
        question=question if turns.get("human") is not None else None,
        reference=reference,
        keys=identifiers({"image": record.fields.get("image")}),
        text=text,
        error=error,
    )


def _without_options(question: str, gold: str | None, where: str) -> tuple[str, str | None]:
    """Question and gold answer of Colon-X as its task has them: "… use? <A> CT, <B> MRI" and "<B> MRI" are "… use?" and
    "MRI"; others unchanged."""
    letter = re.match(r"<([A-Z])>", gold or "")
    if letter is None:
        return question, gold
    try:
        asked, options = options_in_question(question, where)
    except DataError:
        return question, gold
    place = LETTERS.index(letter[1])
    return (asked, options[place]) if place < len(options) else (question, gold)


def _path(value: Any, where: str) -> str | None:
    path = as_id(value, where)
    return None if path is None else path.replace("\\", "/")


def _turns(fields: Mapping[str, Any]) -> Any:
    found = fields.get("conversations", fields.get("conversatons"))  # an early release misspells the key
    return found if isinstance(found, list) else None


FORMAT = Format(
    about="IntelliScope, ColonINST, Colon-X, *_pred_*.json (conversations with a turn from 'prediction')",
    recognises=lambda raw: bool(raw.records) and all(_turns(r.fields) for r in raw.records[:20]),
    read=read,
    allows_tail=True,
    has_fixed_columns=True,
)
