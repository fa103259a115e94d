"""Reader of the result files of MedEvalKit and MedVLMBench: plain lists without ids."""

from __future__ import annotations

from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.records.base import RawFile

_MEDEVALKIT = Columns(prediction="response", question="question", reference="answer")
_MEDVLMBENCH = Columns(prediction="prediction", question="qs", reference="answer")


def _read_medevalkit(raw: RawFile, columns: Columns) -> Answers:
    return read_columns(raw, override(_MEDEVALKIT, columns))


def _read_medvlmbench(raw: RawFile, columns: Columns) -> Answers:
    return read_columns(raw, override(_MEDVLMBENCH, columns))


MEDEVALKIT = Format(
    about="MedEvalKit, results.json (question, answer, response, correct)",
    recognises=lambda raw: raw.kind == "records" and {"question", "answer", "response", "correct"} <= raw.keys,
    read=_read_medevalkit,
)
MEDVLMBENCH = Format(
    about="MedVLMBench, predictions.json (image_path, question_type, qs, answer, prediction)",
    recognises=lambda raw: raw.kind == "records" and {"image_path", "qs", "answer", "prediction"} <= raw.keys,
    read=_read_medvlmbench,
)
