"""Reader of VLMEvalKit prediction tables: xlsx, tsv or json with `index`, `question`, `answer` and `prediction`."""

from __future__ import annotations

from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.records.base import RawFile


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per row: `prediction`, verbatim.  Adds a note if the harness has split off `thinking`."""
    reference = "answer" if "answer" in raw.records.names else None
    known = Columns(id="index", prediction="prediction", question="question", reference=reference)
    answers, notes, id_column = read_columns(raw, override(known, columns))
    thoughts = sum(bool(r.fields.get("thinking")) for r in raw.records)
    if thoughts:
        notes.append(f"{thoughts} rows have reasoning in the column 'thinking', which is not part of the answer")
    return Answers(answers, notes, id_column)


FORMAT = Format(
    about="VLMEvalKit, *.xlsx, *.tsv or *.json (index, question, answer, prediction)",
    recognises=lambda raw: raw.kind == "records" and {"index", "question", "prediction"} <= raw.keys,
    read=read,
)
