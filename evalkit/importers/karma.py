"""Reader of KARMA's answers: its cache table `inference_results`, exported from DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import DataError
from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.records.base import PackedRecords, RawFile, first_few

_KEYS = frozenset(("dataset_row_hash", "model_output", "ground_truth_output", "config_hash"))
_COLUMNS = Columns(id="cache_key", prediction="model_output", reference="ground_truth_output")


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per row: `model_output`, which KARMA stores after its own extraction ("Final Answer: X" gives X).

    Raises:
        DataError: the table has the answers of several models or data sets.
    """
    parts = sorted({(str(r.fields.get("dataset_name")), str(r.fields.get("config_hash"))) for r in raw.records})
    if len(parts) > 1:
        raise DataError(
            f"{raw.path}: the table has {len(parts)} runs (dataset_name and config_hash): "
            f"{first_few([' '.join(p) for p in parts], 3)}. Export the rows of one config_hash only: in duckdb, COPY "
            "(FROM inference_results WHERE config_hash = '...') TO 'karma.parquet'."
        )
    records = PackedRecords(replace(r, fields=_with_metadata(r.fields)) for r in raw.records)
    answers, notes, id_column = read_columns(replace(raw, records=records), override(_COLUMNS, columns))
    notes.append(
        "KARMA stores what it extracted from an answer, and no row for an answer without text, so such rows are missing"
    )
    return Answers(answers, notes, id_column)


def _with_metadata(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its metadata read as JSON: the ids of the data set are there."""
    stored = fields.get("dataset_row_metadata")
    if not isinstance(stored, str) or not stored.startswith("{"):
        return fields
    try:
        return {**fields, "dataset_row_metadata": json_text.loads(stored)}
    except ValueError:
        return fields


FORMAT = Format(
    about="KARMA, its table inference_results exported from DuckDB as parquet, CSV or JSON (model_output)",
    recognises=lambda raw: raw.kind == "records" and raw.keys >= _KEYS,
    read=read,
)
