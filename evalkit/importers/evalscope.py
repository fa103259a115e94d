"""Reader of EvalScope's prediction and review files, JSON lines of `predictions/MODEL/` and `reviews/MODEL/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import DataError
from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import pick
from evalkit.importers.inspect_ai import sample_answer
from evalkit.importers.packed_answers import PackedAnswers
from evalkit.records.base import RawFile

_PREDICTIONS = frozenset(("index", "model_output", "messages"))
_REVIEWS = frozenset(("index", "sample_score"))


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per line: the model's own text, not what EvalScope extracted from it.

    `index` counts the rows of one subset, so files of several subsets may be joined to one; the ids of the data set are
    in `metadata`.  Review files have the targets, prediction files have the stop reasons and token counts.
    """
    del columns  # they are fixed
    if not {"model_output", "sample_score"} & set(raw.records.names):
        raise DataError(
            f"{raw.path}: no line has model_output or sample_score. Expected a file of predictions/ or reviews/ in an "
            "EvalScope output folder."
        )
    answers = PackedAnswers(sample_answer(raw, r.row, _as_log_sample(r.fields)) for r in raw.records)
    scored = "sample_score" in raw.records.names
    note = "a review file: it has no stop reasons, so answers that were cut are not seen; the predictions file has them"
    return Answers(answers, [note] if scored else [], "index")


def _as_log_sample(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A line in the form of an inspect sample, from which EvalScope took its messages and outputs."""
    score = pick(fields, "sample_score.score")
    is_review = isinstance(fields.get("sample_score"), Mapping)
    return {
        "id": fields.get("index"),
        "input": fields.get("messages") or fields.get("input"),
        "target": fields.get("target"),
        "output": {"completion": pick(score, "prediction")} if is_review else fields.get("model_output") or {},
        "metadata": pick(fields, "sample_score.sample_metadata") if is_review else fields.get("metadata"),
    }


FORMAT = Format(
    about="EvalScope, predictions/*/*.jsonl (index, model_output) or reviews/*/*.jsonl (index, sample_score)",
    recognises=lambda raw: raw.kind == "records" and (raw.keys >= _PREDICTIONS or raw.keys >= _REVIEWS),
    read=read,
    has_fixed_columns=True,
)
