"""Tables as CSV that people open."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from evalkit.core.plain_text import spreadsheet_cell


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> str:
    """A table as CSV with a heading; a column that a record lacks is empty.

    >>> csv_text(["a", "b"], [{"a": "=1+1"}])
    "a,b\\n'=1+1,\\n"
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in record.items()} for record in records)
    return text.getvalue()
