"""Reader of the samples files of lmms-eval and lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.importers.prompts import prompt_text
from evalkit.records.base import PackedRecords, RawFile, Record

_QUESTIONS = ("question", "query", "prompt", "input", "problem")


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per line: the unfiltered answer, `resps`, or `filtered_resps` where `resps` is left out as equal.

    `doc_id` numbers the rows after the task's own filtering, so it need not be the dataset's numbering; the join checks
    it against the question, which lmms-eval stores in `input` and lm-evaluation-harness in `doc`.
    """
    records = PackedRecords(replace(r, fields=_with_answer_and_question(r)) for r in raw.records)
    known = Columns(id="doc_id", prediction="resps", question="question", reference="target")
    if not any(r.fields["question"] for r in records):
        known = replace(known, question=None)
    answers, notes, id_column = read_columns(replace(raw, records=records), override(known, columns))
    changed = sum(_inner(r.fields.get("resps")) != _inner(r.fields.get("filtered_resps")) for r in records)
    if changed and not columns.prediction:
        notes.append(
            f"{changed} rows have a filtered answer that differs from the unfiltered one; the unfiltered one was read "
            "(prediction=filtered_resps reads the filtered one)"
        )
    return Answers(answers, notes, id_column)


def _with_answer_and_question(record: Record) -> Mapping[str, Any]:
    fields = record.fields
    answer = fields["resps"] if "resps" in fields else fields.get("filtered_resps")
    doc = fields.get("doc")
    question = (
        next((doc[k] for k in _QUESTIONS if isinstance(doc.get(k), str)), None) if isinstance(doc, Mapping) else None
    )
    return {**fields, "resps": answer, "question": question or prompt_text(fields.get("input"))}


def _inner(value: Any) -> Any:
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return value


def _has_doc(raw: RawFile) -> bool:
    return "doc" in raw.keys


def _recognises(raw: RawFile) -> bool:
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
