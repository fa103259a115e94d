"""Reader of lighteval's details: parquet files with the columns `doc`, `model_response` and `metric`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.core.errors import DataError
from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, pick, read_columns
from evalkit.records.base import PackedRecords, RawFile, Record

_NAMES = (("doc", "model_response"), ("__doc__", "__model_response__"))  # the second in releases before 0.11
_COLUMNS = Columns(id="doc.id", prediction="prediction", question="question", reference="reference")


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per row: `model_response.text`, the text before lighteval takes the thought off it.

    The question is `doc.query`, the reference the choices of `doc.gold_index`, the id `doc.id`, which counts rows.
    """
    doc, response = next((names for names in _NAMES if raw.keys >= set(names)), _NAMES[0])
    records = PackedRecords(replace(r, fields=_fields(raw, r, doc, response)) for r in raw.records)
    return read_columns(replace(raw, records=records), override(_COLUMNS, columns))


def _fields(raw: RawFile, record: Record, doc: str, response: str) -> Mapping[str, Any]:
    asked, said = record.fields.get(doc), record.fields.get(response)
    if not isinstance(asked, Mapping) or not isinstance(said, Mapping):
        raise DataError(
            f"{raw.path}: row {record.row}: {doc} and {response} are no objects. Expected lighteval's details."
        )
    text = said.get("text")
    if text == [] and said.get("logprobs"):
        raise DataError(
            f"{raw.path}: row {record.row} has log-probabilities and no text: lighteval ranked the options and the "
            "model wrote no answer. Run the task in its generative form to score answers."
        )
    kept = {key: asked.get(key) for key in ("id", "task_name", "specific")}
    return {"doc": kept, "prediction": text, "question": pick(asked, "query"), "reference": _golds(asked)}


def _golds(doc: Mapping[str, Any]) -> list[Any] | None:
    """The gold answers: the choices that gold_index names, a number or a list of numbers."""
    choices, index = doc.get("choices"), doc.get("gold_index")
    places = index if isinstance(index, list) else [index]
    if not isinstance(choices, list):
        return None
    return [choices[i] for i in places if type(i) is int and 0 <= i < len(choices)] or None


FORMAT = Format(
    about="lighteval, details_*.parquet (doc, model_response, metric)",
    recognises=lambda raw: raw.kind == "records" and any(raw.keys >= set(names) for names in _NAMES),
    read=read,
)
