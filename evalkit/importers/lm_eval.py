"""Samples files of lmms-eval and of the lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.importers.base import Answer, Columns, Format, Raw, Record
from evalkit.importers.columns import override, read_columns
from evalkit.importers.prompts import prompt_text

_QUESTIONS = ("question", "query", "prompt", "input", "problem")


def read(raw: Raw, columns: Columns) -> tuple[list[Answer], list[str]]:
    """What the model said (`resps`, which is left out where it equals `filtered_resps`), not what a filter made of it.

    `doc_id` numbers the rows after the task's own filtering, so it is the dataset's numbering only by luck; the join
    checks it against the question, which lmms-eval keeps in `input` and lm-evaluation-harness in `doc`.
    """
    records = tuple(replace(r, fields=_with_answer_and_question(r)) for r in raw.records)
    known = Columns(id="doc_id", prediction="resps", question="question", reference="target")
    if not any(r.fields["question"] for r in records):
        known = replace(known, question=None)
    answers, notes = read_columns(replace(raw, records=records), override(known, columns))
    changed = sum(_inner(r.fields.get("resps")) != _inner(r.fields.get("filtered_resps")) for r in records)
    if changed and not columns.prediction:
        notes.append(
            f"{changed} rows have a filtered answer that differs from the model's; the model's is read "
            "(prediction=filtered_resps takes the filtered one)"
        )
    return answers, notes


def _with_answer_and_question(record: Record) -> Mapping[str, Any]:
    fields = record.fields
    said = fields["resps"] if "resps" in fields else fields.get("filtered_resps")
    doc = fields.get("doc")
    asked = (
        next((doc[k] for k in _QUESTIONS if isinstance(doc.get(k), str)), None) if isinstance(doc, Mapping) else None
    )
    return {**fields, "resps": said, "question": asked or prompt_text(fields.get("input"))}


def _inner(value: Any) -> Any:
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return value


def _has_doc(raw: Raw) -> bool:
    return "doc" in raw.keys


def _recognises(raw: Raw) -> bool:
    return raw.kind == "records" and {"doc_id", "target", "filtered_resps"} <= raw.keys


LMMS_EVAL = Format(
    about="lmms-eval, *_samples_*.jsonl (doc_id, target, input, resps, filtered_resps)",
    recognises=lambda raw: _recognises(raw) and not _has_doc(raw),
    read=read,
)
LM_EVAL = Format(
    about="lm-evaluation-harness, samples_*.jsonl (doc_id, doc, target, resps, filtered_resps)",
    recognises=lambda raw: _recognises(raw) and _has_doc(raw),
    read=read,
)
