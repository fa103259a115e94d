"""Reader of LLaVA and LLaVA-Med answer files: JSON lines with `question_id`, `prompt` and `text`."""

from __future__ import annotations

from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.records.base import RawFile

_COLUMNS = Columns(id="question_id", prediction="text", question="prompt")


def read(raw: RawFile, columns: Columns) -> Answers:
    """One answer per line.  `prompt` is the question, the hint of options if any, and "<image>"; all of it is kept."""
    return read_columns(raw, override(_COLUMNS, columns))


FORMAT = Format(
    about="LLaVA / LLaVA-Med answers JSON lines (question_id, prompt, text)",
    recognises=lambda raw: raw.kind == "records" and {"question_id", "prompt", "text"} <= raw.keys,
    read=read,
)
